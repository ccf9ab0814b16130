"""The command line as a user meets it: real processes for what a process does, `main` for the rest."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

import run_bench
from benchmarks.measuring import timing
from benchmarks.runs import runner
from benchmarks.training.checkpoints import load_checkpoint
from models import registry
from tests.conftest import ROOT

PLUGIN = '''
import torch
from torch import nn

from models.kernels.protocol import KernelSource
from models.registry import register_kernels, register_model


@register_model("tiny_mlp", pair="wide_resnet10_1")
def tiny_mlp(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Linear(8, num_classes))


@register_kernels("one_kernel", rows={"one_kernel_resnet10_1": "wide_resnet10_1"})
class OneKernel(KernelSource):
    """Every kernel is a slice of one."""

    def __init__(self, shapes):
        super().__init__(shapes)
        self.weight = nn.Parameter(torch.randn(64, 64, 3, 3) * (2 / 576) ** 0.5)

    @staticmethod
    def count(shapes):
        return {"generator": 64 * 64 * 9}

    def forward(self):
        return [self.weight[: s.out_channels, : s.in_channels] for s in self.shapes]
'''
RECIPE = 'name = "tiny"\nbase = "smoke"\nepochs = 1\nbatch_size = 256\n'


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_PLUGINS", {})
    monkeypatch.setattr(registry, "KERNELS", dict(registry.KERNELS))
    file = tmp_path / "my_models.py"
    file.write_text(PLUGIN)
    return str(file)


@pytest.fixture
def places(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "published.csv").write_text(
        (ROOT / "results" / "published.csv").read_text()
    )
    return [
        "--results-dir",
        str(tmp_path / "results"),
        "--reports-dir",
        str(tmp_path / "reports"),
        "--checkpoint-dir",
        str(tmp_path / "checkpoints"),
        "--data-dir",
        str(tmp_path / "data"),
    ]


def rows(capsys):
    return {row["model"]: row for row in json.loads(capsys.readouterr().out)}


def test_list_and_cost_agree(capsys):
    assert run_bench.main(["list", "--json"]) == 0
    listed = rows(capsys)
    names = ["wide_resnet16_1", "hyper_resnet16_1_projection"]
    assert run_bench.main(["cost", *names, "--json"]) == 0
    assert rows(capsys) == {name: listed[name] for name in names}
    assert listed["hyper_resnet40_1"]["published"]["test_error"] == 8.02
    assert set(registry.PAPER_TABLE) <= set(listed)


@pytest.mark.slow
def test_cost_of_all(capsys):
    assert run_bench.main(["cost", "--json"]) == 0
    counted = rows(capsys)
    assert run_bench.main(["list", "--json"]) == 0
    assert counted == rows(capsys)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["cost", "wide_resnt40_1"], "unknown model 'wide_resnt40_1'; nearest: wide_resnet40_1"),
        (["check", "wide_resnet41_1"], "depth 41 is not 6n"),
        (["train", "wide_resnet10_1", "--dataset", "digit"], "'digit'"),
        (["train", "wide_resnet10_1", "--recipe", "smok"], "nearest: smoke"),
        (["train", "wide_resnet10_1", "--seeds", "-1"], "seeds from 0 on|expected one argument"),
        (["train", "wide_resnet10_1", "--seeds", "2-1"], "'2-1' is not allowed"),
        (["train", "wide_resnet10_1", "--time-limit", "0"], "'0' is not allowed"),
        (["train", "wide_resnet10_1", "--device", "tpu"], "tpu"),
        (["train", "wide_resnet10_1", "--dataset", "folder:/nowhere/at_all"], "at_all"),
        (["evaluate", "/nowhere.ckpt"], "/nowhere.ckpt"),
        (["list", "--plugin", "/nowhere.py"], "'/nowhere.py' is not a file"),
        (["report", "--dataset", "nothing"], "nothing"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, places):
    if arguments[0] in ("train", "evaluate", "report"):
        arguments = arguments + places
    done = subprocess.run(
        [sys.executable, "run_bench.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and re.search(message, done.stderr), (
        done.stderr
    )


def test_every_command_has_help():
    help_command = [sys.executable, "run_bench.py", "--help"]
    top = subprocess.run(help_command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    functions = {
        name.removesuffix("_command") for name in vars(run_bench) if name.endswith("_command")
    }
    assert {"train", "study", "reproduce"} < functions
    for name in functions:
        assert re.search(rf"^ +{name}\b", top, re.MULTILINE)
        with pytest.raises(SystemExit) as stop:
            run_bench.main([name, "--help"])
        assert stop.value.code == 0


def test_a_plugin_is_a_first_class_row(plugin, places, tmp_path, capsys):
    assert run_bench.main(["list", "--json", "--plugin", plugin]) == 0
    listed = rows(capsys)
    assert listed["tiny_mlp"]["params"] == 3072 * 8 + 8 + 8 * 10 + 10
    assert listed["one_kernel_resnet10_1"]["pair"] == "wide_resnet10_1"
    assert listed["one_kernel_resnet10_1"]["params_by_component"]["generator"] == 64 * 64 * 9
    registry._PLUGINS.clear()
    registry.KERNELS.pop("one_kernel")
    assert run_bench.main(["check", "one_kernel_resnet10_1", "--plugin", plugin]) == 0
    assert "every check passed" in capsys.readouterr().out
    registry._PLUGINS.clear()
    registry.KERNELS.pop("one_kernel")
    arguments = [
        "train",
        "tiny_mlp",
        "one_kernel_resnet10_1",
        "--recipe",
        str(tmp_path / "tiny.toml"),
        "--plugin",
        plugin,
    ]
    assert run_bench.main([*arguments, *places]) == 0
    assert run_bench.main(["report", *places]) == 0
    page = (tmp_path / "reports" / "digits" / "README.md").read_text()
    assert "tiny_mlp" in page and "one_kernel_resnet10_1" in page
    record = json.loads((tmp_path / "results/runs/digits/tiny_mlp/tiny-seed0.json").read_text())
    assert len(record["code"]["plugin_sha256"]) == 64


def test_check_says_what_is_wrong(plugin, tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from torch import nn\nfrom models.registry import register_model\n"
        "@register_model('broken')\ndef broken(n):\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n"
    )
    assert run_bench.main(["check", "broken", "--plugin", str(broken)]) == 1
    assert "(1, 10), not (1, 7)" in capsys.readouterr().out


def test_nothing_to_verify_is_said(tmp_path, capsys):
    assert (
        run_bench.main(
            [
                "verify",
                "--results-dir",
                str(tmp_path / "resluts"),
                "--checkpoint-dir",
                str(tmp_path),
            ]
        )
        == 2
    )
    assert "no records or checkpoints under" in capsys.readouterr().err


def test_a_model_with_the_wrong_output_is_not_trained(tmp_path, places, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from torch import nn\nfrom models.registry import register_model\n"
        "@register_model('misfit')\ndef misfit(n):\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 7))\n"
    )
    assert run_bench.main(["train", "misfit", "--plugin", str(broken), *places]) == 2
    assert (
        "'misfit' makes (2, 7) of 2 images and 10 classes, not (2, 10)" in capsys.readouterr().err
    )
    assert not list((tmp_path / "results").rglob("*.json"))


def test_deterministic_runs_are_equal(places, tmp_path):
    recipe, weights = ["--recipe", str(tmp_path / "tiny.toml"), "--deterministic"], []
    for _ in range(2):
        assert run_bench.main(["train", "hyper_resnet10_1", *recipe, *places]) == 0
        record = json.loads(
            (tmp_path / "results/runs/digits/hyper_resnet10_1/tiny-seed0.json").read_text()
        )
        assert (
            record["environment"]["deterministic"] is True
            and torch.are_deterministic_algorithms_enabled()
        )
        weights.append(
            load_checkpoint(tmp_path / "checkpoints/digits/hyper_resnet10_1/tiny-seed0.ckpt")[
                "model"
            ]
        )
        shutil.rmtree(tmp_path / "results")
        shutil.rmtree(tmp_path / "checkpoints")
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))
    runner.set_switches(deterministic=False)


def test_train_evaluate_export_resume(places, tmp_path, capsys):
    recipe = ["--recipe", str(tmp_path / "tiny.toml")]
    assert run_bench.main(["train", "hyper_resnet10_1", *recipe, "--seeds", "0-1", *places]) == 0
    assert run_bench.main(["train", "hyper_resnet10_1", *recipe, *places]) == 0
    assert "done already" in capsys.readouterr().out
    record = json.loads(
        (tmp_path / "results/runs/digits/hyper_resnet10_1/tiny-seed0.json").read_text()
    )
    checkpoint = str(tmp_path / "checkpoints/digits/hyper_resnet10_1/tiny-seed0.ckpt")
    assert run_bench.main(["evaluate", checkpoint, *places]) == 0
    assert f"test error {record['test_error']:.2f} %" in capsys.readouterr().out
    out = tmp_path / "plain.safetensors"
    assert run_bench.main(["export", checkpoint, str(out), "--materialize"]) == 0
    from safetensors.torch import load_file

    runner.build("wide_resnet10_1", 10, seed=0).load_state_dict(load_file(out))


def test_another_recipe_of_one_name_is_refused(places, tmp_path, capsys):
    recipe = ["--recipe", str(tmp_path / "tiny.toml")]
    assert run_bench.main(["train", "wide_resnet10_1", *recipe, *places]) == 0
    (tmp_path / "tiny.toml").write_text(RECIPE + "crop_padding = 3\n")
    assert run_bench.main(["train", "wide_resnet10_1", *recipe, *places]) == 2
    assert "recipe hash" in capsys.readouterr().err


def test_time_limit_stops_and_goes_on(places, tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("epochs = 1", "epochs = 3"))
    arguments = ["train", "wide_resnet10_1", "--recipe", str(tmp_path / "tiny.toml"), *places]
    assert run_bench.main([*arguments, "--time-limit", "0.001"]) == 75
    path = tmp_path / "results/runs/digits/wide_resnet10_1/tiny-seed0.json"
    assert json.loads(path.read_text())["status"] == "interrupted"
    assert run_bench.main(arguments) == 0
    assert json.loads(path.read_text())["status"] == "ok"


def test_a_changed_recipe_goes_on_only_if_allowed(places, tmp_path, capsys):
    arguments = ["train", "wide_resnet10_1", "--recipe", str(tmp_path / "tiny.toml"), *places]
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("epochs = 1", "epochs = 2"))
    assert run_bench.main([*arguments, "--time-limit", "0.001"]) == 75
    (tmp_path / "tiny.toml").write_text(RECIPE)
    assert run_bench.main(arguments) == 2
    assert "recipe hash" in capsys.readouterr().err
    assert run_bench.main([*arguments, "--resume-changed"]) == 0
    record = json.loads(
        (tmp_path / "results/runs/digits/wide_resnet10_1/tiny-seed0.json").read_text()
    )
    (resumed,) = record["resumed"]
    assert resumed["step"] == 1 and resumed["differing"]["recipe"][1] == record["recipe"]["hash"]
    assert record["status"] == "ok" and len(record["history"]) == 1


def test_other_settings_go_on_only_if_allowed(places, tmp_path, capsys):
    arguments = ["train", "wide_resnet10_1", "--recipe", str(tmp_path / "tiny.toml"), *places]
    assert run_bench.main([*arguments, "--time-limit", "0.001"]) == 75
    capsys.readouterr()
    assert run_bench.main([*arguments, "--deterministic"]) == 2
    assert "deterministic False there, True here" in capsys.readouterr().err
    runner.set_switches(deterministic=False)


def test_a_run_that_fails_leaves_a_record_and_the_rest_goes_on(
    places, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(registry, "_PLUGINS", {})

    @registry.register_model("breaks")
    def breaks(num_classes):
        raise RuntimeError("no | such\nlayer")

    recipe = ["--recipe", str(tmp_path / "tiny.toml")]
    assert run_bench.main(["train", "breaks", "wide_resnet10_1", *recipe, *places]) == 1
    record = json.loads((tmp_path / "results/runs/digits/breaks/tiny-seed0.json").read_text())
    assert (record["status"], record["reason"]) == ("failed", "RuntimeError: no | such")
    assert (tmp_path / "results/runs/digits/wide_resnet10_1/tiny-seed0.json").exists()
    assert run_bench.main(["report", *places]) == 0


@pytest.fixture
def short(monkeypatch):
    """The command line's protocol, shortened."""
    monkeypatch.setattr(timing, "ON_CPU", dataclasses.replace(timing.SHORT, window_s=0.05))
    return ["--json", "--precision", "fp32", "--compile", "off", "--batch-size", "32"]


def test_reproduce_stops_at_the_time_limit_goes_on_and_repeats_nothing(
    places, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(timing, "SHORT", dataclasses.replace(timing.SHORT, window_s=0.05))
    command = ["reproduce", "hyper_resnet10_1", "--recipe", str(tmp_path / "tiny.toml"), *places]
    assert run_bench.main([*command, "--time-limit", "0.001"]) == 75
    assert (
        not (tmp_path / "reports").exists() and not (tmp_path / "results" / "throughput").exists()
    )
    assert run_bench.main(command) == 0
    page = (tmp_path / "reports" / "digits" / "README.md").read_text()
    assert (
        "`hyper_resnet10_1`" in page
        and len(list((tmp_path / "results" / "throughput").rglob("*.json"))) == 1
    )
    capsys.readouterr()
    assert run_bench.main(command) == 0
    out = capsys.readouterr().out
    assert out.count("done already") == 1 and "images/s" not in out


def test_reproduce_times_what_ended_and_reports_the_rest(places, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "SHORT", dataclasses.replace(timing.SHORT, window_s=0.05))
    monkeypatch.setattr(registry, "_PLUGINS", {})

    @registry.register_model("breaks")
    def breaks(num_classes):
        raise RuntimeError("no layer")

    recipe = ["--recipe", str(tmp_path / "tiny.toml")]
    assert run_bench.main(["reproduce", "breaks", "wide_resnet10_1", *recipe, *places]) == 1
    assert [path.stem for path in (tmp_path / "results" / "throughput").rglob("*.json")] == [
        "wide_resnet10_1-batch256"
    ]
    assert "RuntimeError: no layer" in (tmp_path / "reports" / "digits" / "README.md").read_text()


def test_a_model_that_cannot_be_timed_leaves_the_rest(places, capsys, tmp_path, monkeypatch, short):
    monkeypatch.setattr(registry, "_PLUGINS", {})
    registry.register_model("refuses")(
        lambda num_classes: (_ for _ in ()).throw(RuntimeError("no\nlayer"))
    )
    assert run_bench.main(["throughput", "refuses", "wide_resnet10_1", *short, *places]) == 1
    out, err = capsys.readouterr()
    assert "error: refuses cannot be timed: RuntimeError: no layer\n" in err
    assert [record["model"] for record in json.loads(out)] == ["wide_resnet10_1"]


def test_throughput(places, capsys, tmp_path, short):
    assert run_bench.main(["throughput", "hyper_resnet10_1", *short, *places]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    kinds = {"training_step", "training_epoch", "inference_generated", "inference_materialized"}
    assert set(record["measurements"]) == kinds and record["batch_size"] == 32
    assert record["peak_memory_bytes"] > 2**20 and record["materialize_s"] > 0
    assert (
        record["compile_s"] is None
        and record["measurements"]["training_step"]["joules_per_image"] is None
    )
    (file,) = (tmp_path / "results" / "throughput").rglob("hyper_resnet10_1-batch32.json")
    assert json.loads(file.read_text()) == record


def test_throughput_of_a_pair(places, capsys, tmp_path, short):
    assert run_bench.main(["throughput", "--pair", "hyper_resnet10_1", *short, *places]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (
        record["pair"] == ["hyper_resnet10_1", "wide_resnet10_1"] and record["optimizer"] == "sgd"
    )
    for ratio in (record, *record["inference"].values()):
        assert ratio["ratio"]["low"] <= ratio["ratio"]["median"] <= ratio["ratio"]["high"]
        assert ratio["noisy"] == (not ratio["attempts"][-1]["passes"])
    assert set(record["inference"]) == {"generated", "materialized"}
    assert (
        file := next((tmp_path / "results" / "throughput").rglob("pair/*.json"))
    ) and json.loads(file.read_text()) == record


def test_profile(places, capsys, short):
    assert run_bench.main(["throughput", "hyper_resnet10_1", "--profile", *short, *places]) == 0
    rows = json.loads(capsys.readouterr().out)["hyper_resnet10_1"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    (forward,) = [row for row in rows if row["operator"] == "aten::mkldnn_convolution"]
    assert forward["calls_per_step"] == 7 and forward["share"] > 0.05


def test_compare(places, capsys, short):
    arguments = [option for option in places if option not in short]
    assert run_bench.main(["compare", "hyper_resnet10_1", *short, *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["descriptions"]) == {*record["step"]["rates"], *record["epoch"]["rates"]}
    assert all(
        r["median"] > 0 for kind in ("step", "epoch") for r in record[kind]["ratios"].values()
    )


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["throughput"], "--pair"),
        (["throughput", "--pair", "hyper_resnet10_1", "--profile"], "--profile"),
        (["throughput", "wide_resnet10_1", "--pair", "hyper_resnet10_1"], "--pair"),
        (["throughput", "--pair", "wide_resnet10_1"], "no plain pair"),
        (["compare", "wide_resnet10_1"], "hyper_resnet"),
        (["compare", "hyper_resnet20"], "hyper_resnet{depth}_{width}"),
        (["compare", "--batch-size", "0"], "'0'"),
    ],
)
def test_wrong_input_of_the_timing_commands(arguments, named, capsys):
    try:
        code = run_bench.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and named in capsys.readouterr().err
