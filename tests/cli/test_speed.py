"""`reproduce`, `throughput` and `compare` as a user meets them."""

import json
import re

import pytest
import torch

from models import registry


@pytest.mark.slow
def test_reproduce_stops_at_the_time_limit_resumes_and_repeats_nothing(desk, capsys, short):
    command = ["reproduce", "hyper_resnet10_1", "--recipe", desk.recipe]
    assert desk.code_of(*command, "--time-limit", "0.001") == 75
    assert not (desk.folder / "reports").exists() and not desk.speeds()
    assert desk.code_of(*command) == 0
    assert "`hyper_resnet10_1`" in desk.page() and len(desk.speeds()) == 1
    capsys.readouterr()
    assert desk.code_of(*command) == 0
    out = capsys.readouterr().out
    assert out.count("done already") == 1 and "images/s" not in out


def test_reproduce_times_what_ended_and_reports_the_rest(own_models, desk, short):
    @registry.register_model("breaks")
    def breaks(num_classes):
        raise RuntimeError("no layer")

    recipe = ["--recipe", desk.recipe]
    assert desk.code_of("reproduce", "breaks", "wide_resnet10_1", *recipe) == 1
    assert [path.stem for path in desk.speeds()] == ["wide_resnet10_1-batch64"]
    assert "Runs that did not end well: 1 failed" in desk.page()


def test_a_model_that_cannot_be_timed_leaves_the_rest(own_models, desk, capsys, short):
    @registry.register_model("refuses")
    def refuses(num_classes):
        raise RuntimeError("no\nlayer")

    assert desk.code_of("throughput", "refuses", "wide_resnet10_1", *short) == 1
    out, err = capsys.readouterr()
    said = r"error: refuses cannot be timed: RuntimeError: no layer \(.*test_speed\.py, line \d+\)"
    assert re.fullmatch(said, err.strip())
    assert [record["model"] for record in json.loads(out)] == ["wide_resnet10_1"]


def test_a_profile_that_cannot_be_made_leaves_the_rest(own_models, desk, capsys, short):
    @registry.register_model("leaves")
    def leaves(num_classes):
        raise SystemExit("bye")

    arguments = ("leaves", "wide_resnet10_1", "--profile", *short)
    assert desk.code_of("throughput", *arguments) == 1
    out, err = capsys.readouterr()
    assert "error: leaves cannot be timed: SystemExit: bye (" in err
    assert list(json.loads(out)) == ["wide_resnet10_1"]


def test_a_foreign_module_that_does_not_compile_is_timed_eagerly(
    own_models, desk, capsys, short, monkeypatch
):
    @registry.register_model("prints")
    class Prints(torch.nn.Linear):
        def __init__(self, num_classes):
            super().__init__(3072, num_classes)

        def forward(self, x):
            if not self.training:  # found out after the steps were timed
                print("", end="")
            return super().forward(x.flatten(1))

    compiled = ["default" if option == "off" else option for option in short]
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, inputs, options: graph)
    assert desk.code_of("throughput", "prints", *compiled) == 0
    (record,) = json.loads(capsys.readouterr().out)
    environment = record["environment"]
    assert environment["compile"] == "off" and record["compile_s"] is None
    assert any(text.startswith("compile off instead of") for text in environment["fallbacks"])


def test_throughput(desk, capsys, short):
    assert desk.code_of("throughput", "hyper_resnet10_1", *short) == 0
    (record,) = json.loads(capsys.readouterr().out)
    measured = record["measurements"]
    kinds = {"training_step", "training_epoch", "inference_generated", "inference_materialized"}
    assert set(measured) == kinds and record["batch_size"] == 32
    assert record["peak_memory_bytes"] > 2**20 and record["materialize_s"] > 0
    assert record["compile_s"] is None and measured["training_step"]["joules_per_image"] is None
    (file,) = desk.speeds()
    assert file.name == "hyper_resnet10_1-batch32.json" and json.loads(file.read_text()) == record


def test_throughput_of_a_pair(desk, capsys, short):
    assert desk.code_of("throughput", "--pair", "hyper_resnet10_1", *short) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["pair"] == ["hyper_resnet10_1", "wide_resnet10_1"]
    assert record["optimizer"] == "sgd"
    for ratio in (record, *record["inference"].values()):
        assert ratio["ratio"]["low"] <= ratio["ratio"]["median"] <= ratio["ratio"]["high"]
        assert ratio["noisy"] == (not ratio["attempts"][-1]["passes"])
    assert set(record["inference"]) == {"generated", "materialized"}
    (file,) = desk.speeds()
    assert file.parent.name == "pair" and json.loads(file.read_text()) == record


def test_a_pair_is_shown_with_its_aa_run(desk, capsys, short):
    options = [option for option in short if option != "--json"]
    assert desk.code_of("throughput", "--pair", "hyper_resnet10_1", *options) == 0
    out = capsys.readouterr().out
    assert "hyper_resnet10_1 / wide_resnet10_1" in out and "A/A run [95 %]" in out
    assert [line.split("  ")[0] for line in out.splitlines()[2:5]] == [
        "training",
        "inference, generated",
        "inference, materialized",
    ]


def test_profile(desk, capsys, short):
    assert desk.code_of("throughput", "hyper_resnet10_1", "--profile", *short) == 0
    rows = json.loads(capsys.readouterr().out)["hyper_resnet10_1"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    (forward,) = [row for row in rows if row["operator"] == "aten::mkldnn_convolution"]
    assert forward["calls_per_step"] == 7 and forward["share"] > 0.05


@pytest.mark.slow
def test_compare(desk, capsys, short):
    assert desk.code_of("compare", "hyper_resnet10_1", *short) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["descriptions"]) == {*record["step"]["rates"], *record["epoch"]["rates"]}
    for kind in ("step", "epoch"):
        assert all(ratio["median"] > 0 for ratio in record[kind]["ratios"].values())


@pytest.mark.slow
def test_text_is_timed_and_compared(desk, capsys, short):
    names = ["lstm_8", "hyper_lstm_4_m6"]
    assert desk.code_of("throughput", *names, *short) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["task"] for record in records] == ["text", "text"]
    assert all(record["measurements"]["training_step"]["median"] > 0 for record in records)
    assert desk.code_of("throughput", "--pair", "hyper_lstm_4_m6", *short) == 0
    pair = json.loads(capsys.readouterr().out)
    assert pair["pair"] == ["hyper_lstm_4_m6", registry.get("hyper_lstm_4_m6").pair]
    assert desk.code_of("compare", "hyper_lstm_4_m6", *short) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record["descriptions"]) == {*record["step"]["rates"]}
    assert all(ratio["median"] > 0 for ratio in record["step"]["ratios"].values())
