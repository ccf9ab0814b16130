"""Shared weights: written from a checkpoint, checked by `verify`, loaded by torch.hub."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import hubconf
from benchmarks.cli.main import main
from benchmarks.records import store
from benchmarks.runs import verify, weights
from benchmarks.runs.matrix import train
from benchmarks.runs.options import RunOptions
from benchmarks.training.recipes import RECIPES
from models import pretrained, registry
from tests.conftest import ROOT, one_line

COMMITTED = weights.find(ROOT / "results")
RECIPE = dataclasses.replace(RECIPES["demo"], name="short", epochs=1, batch_size=64)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parts[-2]}-{path.stem}")
def test_committed_weights_give_the_recorded_logits(path):
    """Through torch.hub, on images that scikit-learn bundles."""
    _, metadata = pretrained.read(path)
    name, which = path.parts[-2], f"{path.parts[-3]}/{path.stem}"
    model = torch.hub.load(str(ROOT), name, weights=which, source="local")
    config = model.pretrained_cfg
    logits = weights.probe(model, config["mean"], config["std"])
    torch.testing.assert_close(logits, torch.tensor(metadata["logits"]), rtol=1e-3, atol=1e-3)
    assert config["test_error"] == metadata["test_error"] < 50
    assert path.stat().st_size <= weights.LARGEST
    assert verify.problems(path, ROOT / "results", ROOT / "checkpoints") == []


def test_there_are_committed_weights():
    assert COMMITTED


def test_the_hub_has_every_listed_model():
    offered = {name for name in dir(hubconf) if callable(getattr(hubconf, name, None))}
    assert {name for name in offered if not name.startswith("_")} == set(registry.names())
    model = torch.hub.load(str(ROOT), "hyper_resnet16_1", num_classes=7, source="local")
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_weights_that_are_not_there():
    with pytest.raises(ValueError, match="cifar10-9980/epochs30-seed0") as error:
        torch.hub.load(str(ROOT), "hyper_resnet40_2", weights="mnist/epochs1", source="local")
    assert "no weights 'mnist/epochs1' of hyper_resnet40_2" in one_line(error)
    with pytest.raises(ValueError, match="num_classes is not allowed beside weights"):
        torch.hub.load(
            str(ROOT),
            "hyper_resnet40_2",
            weights="cifar10-9980/epochs30",
            num_classes=100,
            source="local",
        )


@pytest.fixture
def trained(tmp_path, few_are_loaded, digits):
    """A run on digits; gives its checkpoint and the folder of results."""
    options = RunOptions(results_dir=tmp_path / "results", checkpoint_dir=tmp_path / "checkpoints")
    train(["hyper_resnet10_1"], recipe=RECIPE, options=options)
    (checkpoint,) = options.checkpoint_dir.rglob("*.ckpt")
    return checkpoint, options.results_dir


def test_export_to_its_place_and_verify(trained, capsys):
    checkpoint, results_dir = trained
    folders = ["--results-dir", str(results_dir), "--checkpoint-dir", str(checkpoint.parents[2])]
    assert main(["export", str(checkpoint), *folders]) == 0
    (path,) = weights.find(results_dir)
    assert capsys.readouterr().out == f"{path}\n"
    model = pretrained.load("hyper_resnet10_1", "digits/short", results_dir / "weights")
    assert model.pretrained_cfg["recipe"] == "short" and not model.training
    assert main(["verify", *folders]) == 0
    assert "1 record, 1 checkpoint, 1 file of weights: nothing wrong" in capsys.readouterr().out


def test_what_is_wrong_with_weights_is_told(trained, few):
    checkpoint, results_dir = trained
    path = weights.publish(checkpoint, few, results_dir)
    record_path = store.run_files(results_dir)[0]
    record = store.load(record_path)
    record_path.unlink()
    assert list(weights.problems(path, results_dir)) == [
        "there is no record of a run that ended well"
    ]
    with pytest.raises(pretrained.WeightsError, match="no record"):
        weights.publish(checkpoint, few, results_dir)
    store.save(results_dir, record)
    other = results_dir / "weights" / "digits" / "wide_resnet10_1" / path.name
    other.parent.mkdir()
    shutil.copy(path, other)
    told = list(weights.problems(other, results_dir))
    assert told[0] == "it is of hyper_resnet10_1 on digits"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = b"\x7f" * 4000
    path.write_bytes(content)
    assert list(weights.problems(path, results_dir)) == [
        "its logits of the bundled images are others than it says"
    ]
    path.write_bytes(b"no weights")
    assert "cannot be read" in next(weights.problems(path, results_dir))


def test_weights_of_other_data_or_of_a_plugin_are_refused(trained, few, monkeypatch):
    other = dataclasses.replace(few, fingerprint=few.fingerprint | {"decoded_sha256": "e" * 64})
    with pytest.raises(pretrained.WeightsError, match="not trained on this digits: name its data"):
        weights.publish(trained[0], other, trained[1])
    monkeypatch.setattr(registry, "is_built_in", lambda name: False)
    with pytest.raises(pretrained.WeightsError, match="only built-in models are kept there"):
        weights.publish(trained[0], few, trained[1])


def test_large_weights_want_a_file(trained, few, monkeypatch):
    monkeypatch.setattr(weights, "LARGEST", 1000)
    with pytest.raises(pretrained.WeightsError, match="name a file to write"):
        weights.publish(trained[0], few, trained[1])


def test_a_damaged_record_does_not_end_the_verification(trained, few, capsys):
    checkpoint, results_dir = trained
    path = weights.publish(checkpoint, few, results_dir)
    record_path = store.run_files(results_dir)[0]
    record_path.write_text("{torn")
    assert main(["verify", "--results-dir", str(results_dir)]) == 1
    out = capsys.readouterr().out
    assert str(record_path) in out and "there is no record of a run that ended well" in out
    tensors, metadata = load_file(path), pretrained.read(path)[1]
    del metadata["model"]
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    save_file(tensors, path, texts)
    assert "cannot be read: 'model'" in next(weights.problems(path, results_dir))
