"""The contract of engines: the same outcomes, events and records, whatever runs the matrix."""

import dataclasses
import importlib.util

import pytest

from benchmarks.runs.engines import in_process, protocol
from benchmarks.runs.matrix import train
from benchmarks.training import recipes
from tests.runs.engines.conftest import Told, numbers

ENGINES = {
    "in this process": {},
    "two processes": {"jobs": 2},
    "slurm": {"engine": "slurm"},
    "ray": {"engine": "ray"},
}
PARAMS = [
    pytest.param(name, marks=pytest.mark.slow if options else ())
    for name, options in ENGINES.items()
]
"""Processes take seconds to start; `test_local.py` has a quick test of two."""

SHORT = dataclasses.replace(recipes.load("epochs2"), name="short", batch_size=256)
"""Of no name that a worker knows: eight steps on digits."""


def _short_text():
    demo = recipes.load("text_demo")
    blocks = {
        kind: dataclasses.replace(demo.block(kind), steps=4) for kind in ("stored", "generated")
    }
    return dataclasses.replace(demo, name="short_text", batch_size=64, **blocks)


SHORT_TEXT = _short_text()
"""Four steps of text, two epochs of `WORDS`."""
WORDS = "abcad" * 800


@pytest.fixture(params=["images", "text"])
def wanted(request, plugin, tmp_path):
    """What `train` is called with: two models of a task, the last of them built in."""
    if request.param == "images":
        return {"models": ["quick", "wide_resnet10_1"], "recipe": SHORT}
    file = tmp_path / "words.txt"
    file.write_text(WORDS)
    models = ["lstm_8", "hyper_lstm_4_m6"]
    return {"models": models, "recipe": SHORT_TEXT, "dataset": f"text:{file}"}


@pytest.fixture(params=PARAMS, ids=str)
def chosen(request, options):
    """The options of an engine."""
    if request.param == "slurm":
        request.getfixturevalue("slurm")
    if request.param == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    return dataclasses.replace(options, **ENGINES[request.param])


def test_records_and_events_are_those_of_this_process(wanted, chosen, alone):
    told = Told()
    wanted |= {"models": wanted["models"][:1], "seeds": [0, 1]}
    outcomes = train(**wanted, options=chosen, progress=told)
    expected = train(**wanted, options=alone)
    assert [outcome.spec for outcome in outcomes] == [outcome.spec for outcome in expected]
    for outcome, other in zip(outcomes, expected, strict=True):
        assert outcome.status == "ok" and numbers(outcome.record) == numbers(other.record)
        assert outcome.record_path.is_relative_to(chosen.results_dir)
        engine = outcome.record["engine"]
        assert (engine["name"], engine["restarts"], engine["nodes"]) == (chosen.engine, 0, 1)
        assert engine["version"]
        spec = outcome.spec
        assert told.of(spec.model, spec.seed) == ["begin", "epoch 1/2", "epoch 2/2", "ok"]
    again = Told()
    assert train(**wanted, options=chosen, progress=again) == outcomes and again.events == []


def test_a_run_that_fails_stops_no_other(plugin, chosen):
    told = Told()
    raises, quick = train(["raises", "quick"], recipe="epochs1", options=chosen, progress=told)
    assert (raises.status, quick.status) == ("failed", "ok")
    assert "no forward pass today (engine_models.py, line" in raises.record["reason"]
    assert told.of("raises", 0) == ["begin", "failed"]


def test_what_is_stopped_resumes_exactly(wanted, chosen, alone):
    """The first call may take a step of each run that it begins, and says what it left."""
    stopped = dataclasses.replace(chosen, time_limit=1e-9)
    outcomes = train(**wanted, options=stopped)
    assert {outcome.status for outcome in outcomes} <= {"interrupted", "not_started"}
    if chosen.engine == "local":  # others may stop what has not begun yet
        assert any(outcome.status == "interrupted" for outcome in outcomes)
    for outcome in outcomes:
        if outcome.status == "interrupted":
            assert outcome.reason.startswith("stopped by the time limit in epoch 1 of 2")
    ended = train(**wanted, options=chosen)
    expected = train(**wanted, options=alone)
    for outcome, other in zip(ended, expected, strict=True):
        assert outcome.status == "ok" and numbers(outcome.record) == numbers(other.record)


@pytest.mark.parametrize("what", ["code", "plugin"])
def test_a_worker_with_other_code_refuses(plugin, chosen, monkeypatch, what):
    if in_process(chosen):
        pytest.skip("this process has no worker")
    if what == "code":
        made = protocol.code
        monkeypatch.setattr(protocol, "code", lambda: made() | {"source_sha256": "e" * 64})
    else:
        plugin.write_text(plugin.read_text() + "\n# edited since the driver loaded it\n")
    told = Told()
    (refused,) = train(["quick"], recipe="epochs1", options=chosen, progress=told)
    assert (refused.status, refused.record) == ("refused", None)
    assert f"the {what} of this worker is " in refused.reason and "\n" not in refused.reason
    assert told.of("quick", 0) == ["refused"]
