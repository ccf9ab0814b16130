"""What becomes of a checkpoint after its run: test error and exported weights."""

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open

from benchmarks.data.batches import evaluation_batches
from benchmarks.runs.building import build
from benchmarks.runs.trained import evaluate_checkpoint, export
from benchmarks.training.checkpoints import (
    CHECKPOINT_VERSION,
    CheckpointError,
    load_checkpoint,
    write_checkpoint,
)
from benchmarks.training.objective import Evaluation, Normalize, evaluate
from models import registry
from tests.conftest import one_line
from tests.training.test_loop import CPU, trainer


@pytest.fixture
def trained(digits, tiny, tmp_path):
    """A HyperResNet after one step, and its checkpoint."""
    identity = {
        "model": "hyper_resnet10_1",
        "num_classes": 10,
        "dataset": digits.fingerprint["decoded_sha256"],
    }
    run, path = trainer(digits, tiny, identity=identity), tmp_path / "run.ckpt"
    run.step(next(run.learning.epoch(0, 0, 0)), 0)
    run.save(path)
    return run.model.eval(), path


def test_the_error_is_the_models_own(digits, trained):
    model, path = trained
    evaluation = Evaluation(model, Normalize(digits.mean, digits.std))
    loss, error, _ = evaluate(evaluation, evaluation_batches(digits.read_test(), 128), CPU)
    found = evaluate_checkpoint(path, digits, CPU)
    expected = {
        "model": "hyper_resnet10_1",
        "seed": 0,
        "dataset": "digits",
        "test_error": error,
        "test_loss": loss,
    }
    assert found == expected | {"same_data": True}
    other = dataclasses.replace(
        digits, fingerprint=digits.fingerprint | {"decoded_sha256": "0" * 64}
    )
    assert evaluate_checkpoint(path, other, CPU) == expected | {"same_data": False}


def test_a_data_set_of_other_classes_is_refused(digits, trained):
    with pytest.raises(CheckpointError) as error:
        evaluate_checkpoint(trained[1], dataclasses.replace(digits, num_classes=100), CPU)
    assert "has 10 classes, digits has 100" in one_line(error)


def test_classes_of_other_names_are_refused(digits, trained, tmp_path):
    named = dataclasses.replace(digits, outputs=tuple("abcdefghij"))
    state = load_checkpoint(trained[1])
    state["identity"]["outputs"] = named.outputs
    write_checkpoint(trained[1], state)
    assert evaluate_checkpoint(trained[1], named, CPU) == evaluate_checkpoint(
        trained[1], digits, CPU
    )
    other = dataclasses.replace(digits, outputs=tuple("abcdefghik"))
    with pytest.raises(CheckpointError) as error:
        evaluate_checkpoint(trained[1], other, CPU)
    assert "has a class 'j' where digits has 'k'" in one_line(error)
    export(trained[1], tmp_path / "out.safetensors", materialized=False)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert json.loads(file.metadata()["outputs"]) == list("abcdefghij")


@pytest.mark.parametrize("materialized", [False, True])
def test_exported_weights_make_the_same_network(digits, trained, tmp_path, materialized):
    model, path = trained
    count = export(path, tmp_path / "out.safetensors", materialized)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata() == {
            "model": "hyper_resnet10_1",
            "materialized": str(materialized).lower(),
        }
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    assert len(weights) == count
    network = build("wide_resnet10_1" if materialized else "hyper_resnet10_1", 10, seed=1)
    network.load_state_dict(weights)
    x, _, _ = next(iter(evaluation_batches(digits.validation, 8)))
    x = x.float()
    assert torch.equal(network.eval()(x), model(x))


class Tied(torch.nn.Module):
    """Two names for one weight."""

    def __init__(self, num_classes):
        super().__init__()
        self.one = torch.nn.Linear(3072, num_classes, bias=False)
        self.two = torch.nn.Linear(3072, num_classes, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.one(x.flatten(1)) + self.two(x.flatten(1))


def test_a_foreign_module(tmp_path, own_models):
    registry.register_model("tied")(Tied)
    state = {
        "version": CHECKPOINT_VERSION,
        "identity": {"model": "tied", "num_classes": 10},
        "model": Tied(10).state_dict(),
        "optimizers": [],
        "history": {},
    }
    write_checkpoint(tmp_path / "run.ckpt", state)
    assert export(tmp_path / "run.ckpt", tmp_path / "out.safetensors", materialized=False) == 2
    with pytest.raises(CheckpointError) as error:
        export(tmp_path / "run.ckpt", tmp_path / "out.safetensors", materialized=True)
    assert "Tied has no kernel source" in one_line(error)
    write_checkpoint(
        tmp_path / "run.ckpt", state | {"identity": {"model": "tied", "num_classes": 7}}
    )
    with pytest.raises(CheckpointError) as error:
        export(tmp_path / "run.ckpt", tmp_path / "out.safetensors", materialized=False)
    assert "does not fit 'tied' as it is now" in one_line(error)
