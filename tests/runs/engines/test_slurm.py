"""The Slurm engine on a real Slurm of two nodes: nothing is lost, whatever happens to tasks.

The model `waits` makes six steps and then waits for a file, the gate, or for SIGTERM: a test does
something to its task meanwhile, as long as that takes, and then opens the gate.
"""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.cli import exit_codes
from benchmarks.runs.engines.protocol import EngineError
from benchmarks.runs.engines.slurm import commands
from benchmarks.runs.matrix import train
from benchmarks.runs.reproduce import reproduce
from benchmarks.training import recipes
from models import registry
from tests.conftest import ROOT
from tests.runs.engines.conftest import Told, numbers

pytestmark = pytest.mark.slow

WAITS = """
import signal
import time
from pathlib import Path

GATE = Path({gate!r})


@register_model("waits")
class Waits(Quick):
    steps = 0

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            while self.steps > 6 and not GATE.exists() and not told_to_stop():
                time.sleep(0.05)
        return super().forward(x)


def told_to_stop():
    return signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the suite catches one
"""


@pytest.fixture
def gate(plugin, tmp_path):
    """A file that does not exist; `waits` is loaded, which waits for it."""
    gate = tmp_path / "gate"
    plugin.write_text(plugin.read_text() + WAITS.format(gate=str(gate)))
    registry.load_plugin(str(plugin))
    return gate


@pytest.fixture
def chosen(slurm, gate, options):
    """The options of the engine."""
    return dataclasses.replace(options, engine="slurm")


RECIPE = dataclasses.replace(recipes.load("epochs4"), name="short", batch_size=256)
"""Six steps an epoch on digits."""


class Acts(Told):
    """Does something when it is told of a begin, of the first epoch or of a loss."""

    def __init__(self, begin=lambda: None, epoch=lambda: None, lost=lambda: None):
        super().__init__()
        self.begin, self.first_epoch, self.loss = begin, epoch, lost

    def started(self, runs):
        super().started(runs)
        self.begin()

    def epoch(self, run, entry, epochs):
        super().epoch(run, entry, epochs)
        if entry["epoch"] == 1:
            self.first_epoch()

    def lost(self, run, reason):
        super().lost(run, reason)
        self.notes.append(reason)
        self.loss()


def submissions(options):
    return sorted((Path(options.checkpoint_dir) / "slurm").glob("run-bench-*"))


def nodes_of(options):
    """The nodes that runs began on, in the order of the files of events."""
    nodes = []
    for file in sorted((Path(options.checkpoint_dir) / "slurm").glob("*/events/*.jsonl")):
        told = [json.loads(line) for line in file.read_text().splitlines() if line]
        nodes += [event["node"] for event in told if event["event"] == "begin"]
    return nodes


def assert_same_as_alone(outcomes, alone, gate):
    """The records say what those of runs say that are made here in one go."""
    gate.touch()
    for outcome in outcomes:
        assert outcome.status == "ok", outcome.reason
        spec = outcome.spec
        (other,) = train(spec.model, recipe=spec.recipe, seeds=[spec.seed], options=alone)
        assert numbers(outcome.record) == numbers(other.record)


def processes_of(cluster, *names):
    """Processes of a cluster's tasks and their keepers whose command line has one of the names."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode().split("\0")
            environment = (place / "environ").read_bytes().decode().split("\0")
            own = f"SLURM_CONF={cluster}/slurm.conf" in environment
            own = own or os.readlink(place / "cwd") == str(cluster)
            if own and any(name in words[0] for name in names):
                found.append(int(place.name))
    return [number for number in found if number != os.getpid()]


def test_an_array_uses_both_nodes_and_a_task_that_waits_can_be_cancelled(chosen, alone, gate):
    begun = []

    def begin():
        begun.append(1)
        if len(begun) == 2:
            (folder,) = submissions(chosen)
            states = commands.listed()
            (waiting,) = [
                index for index in range(3) if states[folder.name, index].state == "PENDING"
            ]
            commands.cancel([states[folder.name, waiting].id])
            gate.touch()

    wanted = {"models": ["waits"], "recipe": RECIPE, "seeds": [0, 1, 2], "options": chosen}
    outcomes = train(**wanted, progress=Acts(begin=begin))
    assert sorted(outcome.status for outcome in outcomes) == ["not_started", "ok", "ok"]
    assert sorted(nodes_of(chosen)) == ["n1", "n2"]
    assert_same_as_alone(train(**wanted), alone, gate)


def test_preempted(chosen, alone, gate):
    pinned = dataclasses.replace(chosen, slurm_options="--nodelist=n1")

    def preempt():
        high = ("--partition=high", "--nodelist=n1", "--output=/dev/null", "--wrap=sleep 1")
        commands.call("sbatch", *high)

    told = Acts(epoch=preempt, lost=gate.touch)
    outcomes = train(["waits"], recipe=RECIPE, options=pinned, progress=told)
    assert_same_as_alone(outcomes, alone, gate)
    epochs = [f"epoch {number}/4" for number in (2, 3, 4)]
    assert told.of("waits", 0) == ["begin", "epoch 1/4", "lost", "begin", *epochs, "ok"]
    engine = outcomes[0].record["engine"]
    assert engine == {"name": "slurm", "version": commands.version(), "restarts": 1, "nodes": 1}


def test_cancelled_it_does_not_come_back_until_it_is_run_again(chosen, alone, gate):
    def cancel():
        (folder,) = submissions(chosen)
        commands.call("scancel", f"--name={folder.name}")

    wanted = {"models": ["waits"], "recipe": RECIPE, "options": chosen}
    (stopped,) = train(**wanted, progress=Acts(epoch=cancel))
    assert stopped.status == stopped.record["status"] == "interrupted"
    assert stopped.reason.startswith("stopped by SIGTERM in epoch 2 of 4")
    (folder,) = submissions(chosen)
    assert commands.listed()[folder.name, 0].state == "CANCELLED"
    gate.touch()
    told = Told()
    assert_same_as_alone(train(**wanted, progress=told), alone, gate)
    assert told.of("waits", 0)[:2] == ["begin", "epoch 2/4"]


def test_the_time_limit_of_slurm(chosen, alone, gate):
    """The signal comes 45 s before the limit of a minute or earlier: Slurm looks now and then."""
    short = dataclasses.replace(chosen, slurm_options="--time=1 --signal=TERM@45")
    told = Acts(lost=gate.touch)
    outcomes = train(["waits"], recipe=RECIPE, options=short, progress=told)
    assert_same_as_alone(outcomes, alone, gate)
    assert outcomes[0].record["engine"]["restarts"] >= 1
    assert "stopped by SIGTERM" in told.notes[-1]


def test_a_node_that_dies(slurm, chosen, alone, gate):
    def kill():
        (node,) = nodes_of(chosen)
        slurmd = int((slurm / f"slurmd-{node}.pid").read_text())
        doomed = [slurmd, *processes_of(slurm, "slurmstepd", "srun", "python", "bash")]
        for process in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    told = Acts(epoch=kill, lost=gate.touch)
    outcomes = train(["waits"], recipe=RECIPE, options=chosen, progress=told)
    dead, other = nodes_of(chosen)
    subprocess.run(["slurmd", "-N", dead], stdin=subprocess.DEVNULL, check=True)
    assert dead != other
    assert_same_as_alone(outcomes, alone, gate)
    engine = outcomes[0].record["engine"]
    assert (engine["restarts"], engine["nodes"]) == (1, 2)
    assert any("its process or node was lost; it is resumed" in note for note in told.notes)
    while len(commands.call("sinfo", "-h", "-N", "-p", "normal", "-t", "idle").splitlines()) < 2:
        time.sleep(0.5)


def test_a_task_that_is_lost_is_named_with_its_log(slurm, chosen, alone, gate):
    def kill():
        for process in processes_of(slurm, "python"):
            os.kill(process, signal.SIGKILL)

    wanted = {"models": ["waits"], "recipe": RECIPE, "options": chosen}
    outcomes = train(**wanted, progress=Acts(epoch=kill))
    (log,) = Path(chosen.checkpoint_dir).glob("slurm/*/logs/0.log")
    assert (outcomes[0].status, exit_codes.of_runs(outcomes)) == ("failed", 1)
    assert f"its task is lost (Slurm: FAILED); its log is {log}" in outcomes[0].reason
    assert "epoch 1/4" in log.read_text()
    gate.touch()
    assert_same_as_alone(train(**wanted), alone, gate)


def command_of(options, plugin, *arguments):
    """The command line of runs as `chosen` says."""
    command = [sys.executable, ROOT / "run_bench.py", "train", "waits", "--plugin", plugin]
    command += ["--engine=slurm", "--recipe=epochs4", "--device=cpu", "--threads=1"]
    command += ["--precision=fp32", "--compile=off", "--deterministic"]
    folders = (
        f"--{name}-dir={getattr(options, f'{name}_dir')}" for name in ("results", "checkpoint")
    )
    return [*command, *folders, *arguments]


def begun(driver):
    """Wait until a driver has told of a begin."""
    for line in driver.stdout:
        if ": cpu, fp32" in line:
            return
    raise AssertionError("the driver ended before a run began")


PIPED = {"stdout": subprocess.PIPE, "text": True}


def test_the_driver_is_killed_and_run_again(chosen, plugin, alone, gate):
    with subprocess.Popen(command_of(chosen, plugin), **PIPED) as driver:
        begun(driver)
        driver.kill()
    told = Acts(begin=gate.touch)
    outcomes = train(["waits"], recipe="epochs4", options=chosen, progress=told)
    assert_same_as_alone(outcomes, alone, gate)
    assert told.of("waits", 0)[-1] == "ok" and "1 run is in Slurm's queue already" in told.notes
    assert outcomes[0].record["engine"]["restarts"] == 0
    assert len(submissions(chosen)) == len(nodes_of(chosen)) == 1


def test_the_driver_is_told_to_stop(chosen, plugin, alone, gate):
    with subprocess.Popen(command_of(chosen, plugin), **PIPED) as driver:
        begun(driver)
        driver.terminate()
        assert driver.wait() == exit_codes.STOPPED
    (folder,) = submissions(chosen)
    assert commands.listed()[folder.name, 0].state == "CANCELLED"
    gate.touch()
    outcomes = train(["waits"], recipe="epochs4", options=chosen)
    assert_same_as_alone(outcomes, alone, gate)


def test_two_drivers_at_once_submit_a_run_once(chosen, plugin, alone, gate):
    gate.touch()
    command = command_of(chosen, plugin, "--seeds=0,1")
    drivers = [subprocess.Popen(command) for _ in range(2)]
    assert [driver.wait() for driver in drivers] == [0, 0]
    assert len(nodes_of(chosen)) == 2
    outcomes = train(["waits"], recipe="epochs4", seeds=[0, 1], options=chosen)
    assert_same_as_alone(outcomes, alone, gate)


def test_left_to_slurm_and_collected(chosen, alone, gate, monkeypatch):
    """In two arrays, as if Slurm allowed only one task each; squeue once does not answer."""
    monkeypatch.setattr(commands, "max_array_size", lambda: 1)
    leaves = dataclasses.replace(chosen, detach=True)
    wanted = {"models": ["waits"], "recipe": RECIPE, "seeds": [0, 1]}
    told = Told()
    outcomes = train(**wanted, options=leaves, progress=told)
    assert [outcome.status for outcome in outcomes] == ["submitted", "submitted"]
    assert exit_codes.of_runs(outcomes) == exit_codes.OK
    assert told.notes[-1].startswith("2 runs are left to Slurm")
    assert len(submissions(chosen)) == 2

    listed, asked = commands.listed, []

    def fails_once():
        asked.append(1)
        if len(asked) == 2:
            raise EngineError("squeue failed: Unable to contact slurm controller")
        return listed()

    monkeypatch.setattr(commands, "listed", fails_once)
    told = Acts(begin=gate.touch)
    assert_same_as_alone(train(**wanted, options=chosen, progress=told), alone, gate)
    assert len(submissions(chosen)) == 2
    assert any("it is asked again" in note for note in told.notes)


def test_what_sbatch_refuses_is_one_line(chosen):
    wrong = dataclasses.replace(chosen, slurm_options="--partition=nope")
    with pytest.raises(EngineError, match=r"^sbatch failed: .*invalid partition.*$"):
        train(["quick"], options=wrong)


def test_a_device_that_the_driver_lacks_is_the_nodes_matter(chosen):
    """A login node may have no GPU."""
    (outcome,) = train(["quick"], options=dataclasses.replace(chosen, device="cuda"))
    if torch.cuda.is_available():
        assert outcome.status == "ok"
    else:
        assert (outcome.status, exit_codes.of_runs([outcome])) == ("refused", 2)
        assert "device 'cuda' is not there" in outcome.reason


def test_reproduce_times_nothing_on_shared_nodes(chosen):
    told = Told()
    result = reproduce(["quick"], recipe="epochs1", options=chosen, progress=told)
    assert [outcome.status for outcome in result.runs] == ["ok"] and result.timings == []
    assert any(note.startswith("no model is timed: engine slurm") for note in told.notes)
