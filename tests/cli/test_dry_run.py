"""`--dry-run`: a line a run and the total."""

import re

import pytest

from benchmarks.cli.output import duration
from tests.cli.conftest import code_of
from tests.conftest import ROOT

STUDY = """
about = "One rate."
base = "demo"
seeds = [0]
[fixed]
[trials.wide_resnet10_1]
"half" = { stored = { learning_rate = 0.07 } }
"""


def test_train(desk, capsys):
    assert desk.train("wide_resnet10_1") == 0
    capsys.readouterr()
    files = sorted(desk.folder.rglob("*"))
    command = ["wide_resnet10_1", "hyper_resnet10_1", "--dry-run"]
    assert desk.train(*command, "--seeds", "0-1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    place = desk.record_path("wide_resnet10_1")
    assert lines[0] == f"wide_resnet10_1 on digits, tiny, seed 0: done already -> {place}"
    assert re.search(r"seed 1: to train, about \d+ s \(as seed 0 on .*-seed1.json$", lines[1])
    assert "(by the FLOPs of wide_resnet10_1 on " in lines[2]
    assert lines[4].startswith("4 runs: 1 done already, 3 to train, about ")
    assert sorted(desk.folder.rglob("*")) == files


def test_study_and_reproduce(desk, capsys):
    file = desk.folder / "results" / "studies" / "one" / "study.toml"
    file.parent.mkdir(parents=True)
    file.write_text(STUDY)
    assert desk.code_of("study", file, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "wide_resnet10_1 on digits, demo.half, seed 0: to train, no record says how long" in out
    assert "studies/one/digits/wide_resnet10_1/demo.half-seed0.json" in out
    assert desk.code_of("reproduce", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[3].startswith("hyper_resnet40_2 on digits, demo, seed 0: ")
    assert lines[4] == "4 runs: 0 done already, 4 to train"
    assert not list(desk.folder.rglob("*.json"))


def test_committed_records_say_how_long(capsys):
    """The images of CIFAR-10 are not needed: nothing is there that could be a record of theirs."""
    folders = ["--results-dir", ROOT / "results", "--data-dir", "/nowhere"]
    assert code_of("reproduce", "--dataset", "cifar10", "--dry-run", *folders) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(" (by quick on " in line for line in lines[:4]), lines
    assert (
        re.search(r"4 to train, about \S+ h ", lines[4])
        and "of training one after another" in lines[4]
    )


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (2e5, "2.3 days"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
