"""Ray on two nodes, in a network of their own, so that nobody else can reach them."""

import importlib.util
import shutil
import subprocess
import sys

import pytest

from benchmarks.cli.main import main
from benchmarks.runs.engines.ray import Attempt
from benchmarks.runs.engines.ray import _Driver as Driver
from tests.conftest import ROOT


def why_not():
    """Why the cases cannot run here, or None."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed"
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        return "this user may not make a network"
    return None


@pytest.mark.slow
def test_the_cases(tmp_path):
    """All of `ray_cases.py`, in one process, on one cluster."""
    if reason := why_not():
        pytest.skip(reason)
    pytest_alone = [sys.executable, "-m", "pytest", "-n", "0", "-m", "", "-x", "--durations=0"]
    cases = ["tests/runs/engines/ray_cases.py", f"--basetemp={tmp_path}/cases"]
    done = subprocess.run(
        ["unshare", "-n", *pytest_alone, *cases], cwd=ROOT, capture_output=True, text=True
    )
    print(done.stdout[-5000:])
    assert done.returncode == 0, done.stdout + done.stderr


class Crashed:
    """The events of a run whose worker is gone."""

    def __next__(self):
        raise pytest.importorskip("ray").exceptions.WorkerCrashedError


@pytest.mark.parametrize("ended", [False, True])
def test_a_worker_that_is_lost_after_its_run_has_ended_loses_nothing(ended):
    driver = object.__new__(Driver)
    driver.ray = pytest.importorskip("ray")
    stream, lost = Crashed(), []
    driver.going = {stream: Attempt(run=None, lock=None, ended=ended)}
    driver._lose = lambda attempt, fate: lost.append(fate)
    driver._hear(stream)
    assert driver.going == {} and len(lost) == (not ended)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--engine", "ray", "--ray-address", "nowhere"), "ray_address 'nowhere' is not allowed"),
        (("--engine", "ray", "--jobs", "2"), "jobs 2 is not allowed with engine ray"),
        (("--ray-address", "a:1"), "ray_address 'a:1' is not allowed with engine local"),
        (("--runs-per-gpu", "2"), "runs_per_gpu 2 is not allowed with engine local"),
    ],
)
def test_wrong_options_are_one_line(arguments, told, capsys, tmp_path):
    folders = ["--results-dir", str(tmp_path), "--checkpoint-dir", str(tmp_path)]
    assert main(["train", "wide_resnet10_1", *arguments, *folders]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_without_ray(capsys, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else found(name)
    )
    folders = ["--results-dir", str(tmp_path), "--checkpoint-dir", str(tmp_path)]
    assert main(["train", "wide_resnet10_1", "--engine", "ray", *folders]) == 2
    assert 'pip install -e ".[ray]"' in capsys.readouterr().err
