"""Parts of the Slurm engine that need no Slurm."""

import dataclasses
import os
import subprocess

import pytest

from benchmarks.runs.engines.protocol import EngineError, Work
from benchmarks.runs.engines.slurm import commands, submission, watch
from benchmarks.runs.engines.slurm.commands import Listed
from benchmarks.runs.engines.slurm.submission import Submission
from benchmarks.runs.matrix import prepare, specs_of, train
from tests.runs.engines.conftest import Told


@pytest.fixture
def submitted(plugin, options, tmp_path, monkeypatch):
    """A submission of one run, and the work that it is of."""
    monkeypatch.setattr(commands, "version", lambda: "22.05.8")
    specs = specs_of(["quick"], "digits", "epochs1", [0], options)
    work = Work(prepare(specs, "digits", options).runs, "digits", options, lambda: None)
    return Submission.written(tmp_path / "home", [work.spec(work.runs[0])]), work


@pytest.mark.parametrize(
    "code, restarts, requeued",
    [(0, 0, False), (1, 0, False), (76, 0, False), (75, 0, True), (143, 49, True), (75, 50, False)],
)
def test_the_script_requeues_what_was_stopped(submitted, tmp_path, code, restarts, requeued):
    written, _ = submitted
    for name, text in (("srun", f"exit {code}"), ("scontrol", f'echo "$@" >{tmp_path}/called')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    job = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts), "SLURM_CPUS_ON_NODE": "1"}
    done = subprocess.run(["bash", written.script], env=path | job)
    called = tmp_path / "called"
    assert called.exists() is requeued
    if requeued:
        assert called.read_text() == "requeue 7\n"
    else:
        assert done.returncode == code


def test_half_a_line_of_events_hides_no_other(tmp_path):
    file = tmp_path / "0.jsonl"
    submission.append(file, {"event": "begin"})
    with file.open("a") as stream:
        stream.write('\n{"event": "ep')
    told, offset = submission.read(file)
    assert told == [{"event": "begin"}]
    submission.append(file, {"event": "ended"})
    assert submission.read(file, offset)[0] == [{"event": "ended"}]


def test_commands_get_no_variables_of_an_outer_job(monkeypatch):
    for name in ("SLURM_JOB_ID", "SQUEUE_FORMAT", "SLURM_CONF", "SBATCH_PARTITION"):
        monkeypatch.setenv(name, "x")
    kept = commands.environment()
    assert {"SLURM_CONF", "SBATCH_PARTITION"} <= kept.keys()
    assert not {"SLURM_JOB_ID", "SQUEUE_FORMAT"} & kept.keys()


@pytest.mark.parametrize(
    "state, begun, status",
    [
        ("TIMEOUT", True, "interrupted"),
        ("NODE_FAIL", False, "not_started"),
        ("CANCELLED", True, "interrupted"),
        ("OUT_OF_MEMORY", True, "failed"),
        ("FAILED", False, "failed"),
    ],
)
def test_a_task_that_told_no_end(submitted, monkeypatch, state, begun, status):
    written, work = submitted
    task = watch.Task(work.runs[0], written, 0, "7_0", begun=begun)
    monkeypatch.setattr(commands, "listed", lambda: {task.key: Listed("7_0", state, "None")})
    told = Told()
    (outcome,) = watch.Watch(work, told, [task]).outcomes().values()
    assert outcome.status == status and state in outcome.reason
    assert told.of("quick", 0)[-1] == status
    assert (str(written.log(0)) in outcome.reason) is (status == "failed")


def test_an_engine_that_is_not_installed(plugin, options, monkeypatch):
    commands.version.cache_clear()
    monkeypatch.setenv("PATH", "")
    missing = dataclasses.replace(options, engine="slurm")
    message = "engine slurm needs the command sbatch, which is not installed here"
    with pytest.raises(EngineError, match=f"^{message}$"):
        train(["quick"], recipe="epochs1", options=missing)
