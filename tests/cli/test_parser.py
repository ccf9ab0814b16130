"""What the command line says: help, tables, and one line for wrong input."""

import json
import re
import subprocess
import sys

import pytest

from benchmarks.cli import exit_codes
from benchmarks.cli.main import COMMANDS
from benchmarks.runs.progress import Outcome, RunSpec
from benchmarks.training.recipes import RECIPES
from models import registry
from tests.cli.conftest import code_of
from tests.conftest import ROOT

WRONG = [
    (["cost", "wide_resnt40_1"], "unknown model 'wide_resnt40_1'; nearest: wide_resnet40_1"),
    (["check", "wide_resnet41_1"], "depth 41 is not 6n"),
    (["train", "wide_resnet10_1", "--dataset", "digit"], "'digit'"),
    (["train", "wide_resnet10_1", "--recipe", "dmo"], "nearest: demo"),
    (["train", "wide_resnet10_1", "--seeds", "-1"], "seeds from 0 on|expected one argument"),
    (["train", "wide_resnet10_1", "--seeds", "2-1"], "'2-1' is not allowed"),
    (["train", "wide_resnet10_1", "--time-limit", "0"], "'0' is not allowed"),
    (["train", "wide_resnet10_1", "--device", "tpu"], "tpu"),
    (["train", "wide_resnet10_1", "--dataset", "folder:/nowhere/at_all"], "at_all"),
    (["evaluate", "/nowhere.ckpt"], "/nowhere.ckpt"),
    (["list", "--plugin", "/nowhere.py"], "'/nowhere.py' is not a file"),
    (["report", "--dataset", "nothing"], "nothing"),
    (["frobnicate"], "frobnicate"),
    (["throughput"], "--pair"),
    (["throughput", "--pair", "hyper_resnet10_1", "--profile"], "--profile"),
    (["throughput", "wide_resnet10_1", "--pair", "hyper_resnet10_1"], "--pair"),
    (["throughput", "--pair", "wide_resnet10_1"], "no plain pair"),
    (["compare", "wide_resnet10_1"], "hyper_resnet"),
    (["compare", "hyper_resnet20"], r"hyper_resnet\{depth\}_\{width\}, or hyper_lstm_\{units\},"),
    (["compare", "lstm_8"], r"hyper_lstm_\{units\}, .*, or hyper_resnet\{depth\}_\{width\}"),
    (["compare", "--batch-size", "0"], "'0'"),
    (["list", "wide*", "--json", "narrow*"], "unexpected argument 'narrow\\*'"),
    (["report", "--dataset", "text:"], "allowed are pydoc, text:PATH"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, desk, capsys):
    with_folders = arguments[0] in ("train", "evaluate", "report")
    code = desk.code_of(*arguments) if with_folders else code_of(*arguments)
    err = capsys.readouterr().err
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1 and re.search(message, err), err
    assert not list(desk.folder.rglob("*.json"))


def test_the_script_ends_with_the_exit_code():
    command = [sys.executable, "run_bench.py", "cost", "wide_resnt40_1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: unknown model") and done.stderr.count("\n") == 1


def test_every_command_has_help(capsys):
    assert code_of("--help") == 0
    top = capsys.readouterr().out
    assert exit_codes.DESCRIPTION in " ".join(top.split())
    files = {path.stem for path in (ROOT / "benchmarks" / "cli").glob("*.py")}
    assert set(COMMANDS) <= files
    for name in COMMANDS:
        assert re.search(rf"^ +{name}\b", top, re.MULTILINE)
        assert code_of(name, "--help") == 0
        assert "exit codes" in capsys.readouterr().out


def rows(capsys):
    return {row["model"]: row for row in json.loads(capsys.readouterr().out)}


def test_list_and_cost_agree(capsys):
    assert code_of("list", "--json") == 0
    listed = rows(capsys)
    names = ["wide_resnet16_1", "hyper_resnet16_1_projection"]
    assert code_of("cost", *names, "--json") == 0
    assert rows(capsys) == {name: listed[name] for name in names}
    assert listed["hyper_resnet40_1"]["published"]["test_error"] == 8.02
    assert set(registry.PAPER_TABLE) <= set(listed)
    for row in listed.values():
        assert row["flops_per_image"] == 2 * row["macs_per_image"]
        assert row["generator_flops"] == 2 * row["generator_macs"]


@pytest.mark.slow
def test_cost_of_all(capsys):
    assert code_of("cost", "--json") == 0
    counted = rows(capsys)
    assert code_of("list", "--json") == 0
    assert counted == rows(capsys)


def test_list_and_help_load_neither_torch_nor_pandas():
    code = (
        "import contextlib, sys\n"
        "from benchmarks.cli.main import main\n"
        "main(['list'])\n"
        "with contextlib.suppress(SystemExit): main(['train', '--help'])\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "statuses, code",
    [
        ([], 0),
        (["ok", "diverged"], 0),
        (["ok", "failed", "ok"], 1),
        (["out_of_memory", "refused"], 2),
        (["refused", "busy", "failed"], 75),
        (["ok", "interrupted"], 75),
        (["not_started"], 75),
    ],
)
def test_the_exit_code_of_runs_is_that_of_the_worst(statuses, code, tmp_path):
    spec = RunSpec("m", RECIPES["demo"], 0)
    outcomes = [Outcome(spec, tmp_path, status, None, None) for status in statuses]
    assert exit_codes.of_runs(outcomes) == code


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_page(name):
    assert len((ROOT / "benchmarks" / "cli" / f"{name}.py").read_text().splitlines()) <= 80
    assert len((ROOT / "run_bench.py").read_text().splitlines()) <= 40
