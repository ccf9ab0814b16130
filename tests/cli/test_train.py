"""`train`, `evaluate`, `export`, `check`, `verify` and `report` as a user meets them."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.runs.building import build
from benchmarks.runs.settings import set_switches
from benchmarks.training.checkpoints import load_checkpoint
from models import registry
from tests.cli.conftest import RECIPE, code_of


@pytest.fixture
def deterministic():
    """Switches that a test turns on are off after it."""
    yield
    set_switches(deterministic=False)


def test_a_plugin_is_a_first_class_row(plugin, desk, capsys):
    assert code_of("list", "--json", "--plugin", plugin) == 0
    listed = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["tiny_mlp"]["params"] == 3072 * 8 + 8 + 8 * 10 + 10
    assert listed["one_kernel_resnet10_1"]["pair"] == "wide_resnet10_1"
    assert listed["one_kernel_resnet10_1"]["params_by_component"]["generator"] == 64 * 64 * 9
    forget_plugin()
    assert code_of("check", "one_kernel_resnet10_1", "--plugin", plugin) == 0
    assert "every check passed" in capsys.readouterr().out
    forget_plugin()
    assert desk.train("tiny_mlp", "one_kernel_resnet10_1", "--plugin", plugin) == 0
    assert desk.code_of("report") == 0
    assert "tiny_mlp" in desk.page() and "one_kernel_resnet10_1" in desk.page()
    assert len(desk.record("tiny_mlp")["code"]["plugin_sha256"]) == 64


def test_paths_begin_at_home_also_after_an_equals_sign(desk, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(desk.folder))
    folders = ["--results-dir=~/results", "--checkpoint-dir=~/checkpoints", "--data-dir=~/data"]
    command = ["train", "wide_resnet10_1", "--recipe=~/tiny.toml", "--flip", *folders]
    assert code_of(*command) == 0
    assert desk.record("wide_resnet10_1")["flip"] is True
    reports = ["report", "--results-dir=~/results", "--reports-dir=~/reports"]
    assert code_of(*reports) == 0 and desk.page()
    checkpoint = "~/checkpoints/digits/wide_resnet10_1/tiny-seed0.ckpt"
    assert code_of("evaluate", checkpoint, "--data-dir=~/data") == 0
    assert code_of("export", checkpoint, "~/weights.safetensors") == 0
    assert (desk.folder / "weights.safetensors").is_file()
    assert code_of("verify", *folders[:2]) == 0


def forget_plugin():
    registry.PLUGIN_MODELS.clear()
    registry.KERNELS.pop("one_kernel")


def broken_plugin(folder, name, classes):
    """A plugin whose model has `classes` outputs whatever the data set."""
    file = folder / "broken.py"
    file.write_text(
        "from torch import nn\nfrom models.registry import register_model\n"
        f"@register_model({name!r})\ndef broken(n):\n"
        f"    return nn.Sequential(nn.Flatten(), nn.Linear(3072, {classes}))\n"
    )
    return file


def test_check_says_what_is_wrong(own_models, tmp_path, capsys):
    plugin = broken_plugin(tmp_path, "broken", 10)
    assert code_of("check", "broken", "--plugin", plugin) == 1
    out = capsys.readouterr().out
    assert "(1, 10), not (1, 7)" in out and "checks failed" in out


def test_check_tries_two_numbers_of_classes(own_models, tmp_path, capsys):
    plugin = broken_plugin(tmp_path, "of_seven", 7)
    assert code_of("check", "of_seven", "--plugin", plugin) == 1
    out = capsys.readouterr().out
    assert "2 images and 12 classes give (2, 7)" in out and "1 check failed" in out


def test_a_model_with_the_wrong_output_is_not_trained(own_models, desk, capsys):
    plugin = broken_plugin(desk.folder, "misfit", 7)
    assert desk.code_of("train", "misfit", "--plugin", plugin) == 2
    message = "'misfit' makes (2, 7) of 2 images and 10 classes, not (2, 10)"
    assert message in capsys.readouterr().err
    assert not list((desk.folder / "results").rglob("*.json"))


BAD = """
import sys
import torch
from torch import nn
from models.registry import register_model


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(3072, classes)

    def forward(self, x):
        return self.layer(x.flatten(1))


@register_model("bad")
class Bad(Net):
    def forward(self, x):
        return super().forward(x) @ torch.zeros(3, 3)


@register_model("leaves")
class Leaves(Net):
    def forward(self, x):
        sys.exit(3)


register_model("good")(Net)
"""
PLACE = r"\(.*bad\.py, line 20\)"


@pytest.fixture
def bad(tmp_path, own_models):
    file = tmp_path / "bad.py"
    file.write_text(BAD)
    return file


def test_no_command_stops_at_the_first_bad_model(bad, desk, capsys):
    models, plugin = ("bad", "leaves", "good"), ("--plugin", bad)
    assert code_of("check", *models, *plugin) == 1
    out, err = capsys.readouterr()
    assert "good: every check passed" in out and "Traceback" not in err
    assert re.search(rf"FAIL  every parameter gets a gradient: RuntimeError: .* {PLACE}", out)
    assert desk.train(*models, *plugin) == 1
    out, err = capsys.readouterr()
    assert re.search(rf"failed: RuntimeError: .* {PLACE}", out) and "Traceback" not in err
    assert desk.record("good")["status"] == "ok"
    assert re.fullmatch(rf"RuntimeError: .* {PLACE}", desk.record("bad")["reason"])
    assert "SystemExit: 3 (" in desk.record("leaves")["reason"]
    assert code_of("check", "good", "nothing", *plugin) == 2
    assert "ok  " not in capsys.readouterr().out


@pytest.mark.parametrize("before", [True, False])
def test_the_traceback_is_shown_if_asked_for(bad, desk, capsys, before):
    command = ["train", "bad", "--plugin", bad, "--recipe", desk.recipe]
    command.insert(0 if before else 2, "--traceback")
    assert desk.code_of(*command) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "bad.py" in err


def test_an_error_of_a_users_code_is_a_failure_with_its_place(bad, desk, capsys):
    """Also where a command has one model only; a ValueError of the suite is wrong input."""
    assert desk.train("good", "--plugin", bad) == 0
    text = BAD.replace("self.layer = nn.Linear(3072, classes)", 'raise ValueError("not\\nnow")')
    bad.write_text(text)
    capsys.readouterr()
    assert desk.code_of("evaluate", desk.checkpoint("good"), "--plugin", bad) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(r"error: ValueError: not now \(.*bad\.py, line 11\)\n", err)
    assert desk.code_of("--traceback", "evaluate", "nowhere.ckpt") == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("error: checkpoint nowhere.ckpt")


def test_nothing_to_verify_is_said(tmp_path, capsys):
    folders = ("--results-dir", tmp_path / "resluts", "--checkpoint-dir", tmp_path)
    assert code_of("verify", *folders) == 2
    assert "no records or checkpoints under" in capsys.readouterr().err


def test_deterministic_runs_are_equal(desk, deterministic):
    weights = []
    for _ in range(2):
        assert desk.train("hyper_resnet10_1", "--deterministic") == 0
        assert desk.record("hyper_resnet10_1")["environment"]["deterministic"] is True
        assert torch.are_deterministic_algorithms_enabled()
        weights.append(load_checkpoint(desk.checkpoint("hyper_resnet10_1"))["model"])
        shutil.rmtree(desk.folder / "results" / "runs")
        shutil.rmtree(desk.folder / "checkpoints")
    first, second = weights
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_train_evaluate_export_resume(desk, capsys):
    assert desk.train("hyper_resnet10_1", "--seeds", "0-1") == 0
    assert desk.train("hyper_resnet10_1") == 0
    assert "done already" in capsys.readouterr().out
    record, checkpoint = desk.record("hyper_resnet10_1"), desk.checkpoint("hyper_resnet10_1")
    assert desk.code_of("evaluate", checkpoint) == 0
    assert f"test error {record['test_error']:.2f} %" in capsys.readouterr().out
    out = desk.folder / "plain.safetensors"
    assert code_of("export", checkpoint, "--materialize", out) == 0
    build("wide_resnet10_1", 10, seed=0).load_state_dict(load_file(out))


def test_another_recipe_of_one_name_is_refused(desk, capsys):
    assert desk.train("wide_resnet10_1") == 0
    desk.recipe.write_text(RECIPE + "crop_padding = 3\n")
    assert desk.train("wide_resnet10_1") == 2
    error = capsys.readouterr().err
    assert "recipe hash" in error and "crop_padding 1 there, 3 here" in error
    assert "--resume-changed" not in error
    desk.recipe.write_text(RECIPE + "[stored]\nlearning_rate = 0.07\n")
    assert desk.train("wide_resnet10_1") == 2
    assert "there, 0.07 here): give" in capsys.readouterr().err
    desk.recipe.write_text(RECIPE)
    assert desk.train("wide_resnet10_1", "--precision", "bf16") == 2
    assert "precision 'fp32' there, 'bf16' here" in capsys.readouterr().err


def test_a_changed_recipe_resumes_only_if_allowed(desk, capsys):
    desk.recipe.write_text(RECIPE.replace("epochs = 1", "epochs = 2"))
    assert desk.train("wide_resnet10_1", "--time-limit", "0.001") == 75
    assert desk.record("wide_resnet10_1")["status"] == "interrupted"
    desk.recipe.write_text(RECIPE)
    assert desk.train("wide_resnet10_1") == 2
    error = capsys.readouterr().err
    assert "epochs 2 there, 1 here" in error and "go on with --resume-changed" in error
    assert desk.train("wide_resnet10_1", "--resume-changed") == 0
    record = desk.record("wide_resnet10_1")
    (resumed,) = record["resumed"]
    assert resumed["step"] == 1 and resumed["differing"]["recipe"][1] == record["recipe"]["hash"]
    assert record["status"] == "ok" and len(record["history"]) == 1


def test_other_settings_resume_only_if_allowed(desk, capsys, deterministic):
    assert desk.train("wide_resnet10_1", "--time-limit", "0.001") == 75
    capsys.readouterr()
    assert desk.train("wide_resnet10_1", "--deterministic") == 2
    assert "deterministic False there, True here" in capsys.readouterr().err
    assert desk.train("wide_resnet10_1") == 0
    assert desk.record("wide_resnet10_1")["status"] == "ok"


def test_a_run_that_fails_leaves_a_record_and_the_rest_is_made(own_models, desk, capsys):
    @registry.register_model("breaks")
    def breaks(num_classes):
        raise RuntimeError("no | such\nlayer")

    assert desk.train("breaks", "wide_resnet10_1") == 1
    record = desk.record("breaks")
    assert record["status"] == "failed"
    assert re.fullmatch(
        r"RuntimeError: no \| such layer \(.*test_train\.py, line \d+\)", record["reason"]
    )
    assert record["flops_per_image"] is None and record["generator_flops"] is None
    other = desk.record("wide_resnet10_1")
    assert other["status"] == "ok"
    assert other["flops_per_image"] == 2 * other["macs_per_image"] > 0
    assert desk.code_of("report") == 0
