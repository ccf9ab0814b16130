"""The local engine's processes: cores and GPUs are shared out, and a lost process costs no run."""

import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from benchmarks.cli.main import main
from benchmarks.records import store
from benchmarks.runs.engines import local
from benchmarks.runs.engines.protocol import TRIES
from benchmarks.runs.matrix import train
from benchmarks.runs.options import OptionError, RunOptions
from benchmarks.runs.reproduce import usual_jobs
from benchmarks.runs.settings import RunError
from models import registry
from tests.runs.engines.conftest import Told, numbers

WANTED = {"models": ["quick"], "recipe": "epochs20"}


class Kills(Told):
    """Ends the process of a run, after its second epoch or whenever it begins."""

    def __init__(self, monkeypatch, each_time=False, number=signal.SIGKILL):
        super().__init__()
        self.each_time, self.killed, self.number = each_time, 0, number
        self.processes = []
        popen = subprocess.Popen

        def noted(*arguments, **options):
            process = popen(*arguments, **options)
            if arguments[0] == local.WORKER:
                self.processes.append(process)
            return process

        monkeypatch.setattr(local.subprocess, "Popen", noted)

    def started(self, runs):
        super().started(runs)
        if self.each_time:
            self._kill()

    def epoch(self, run, entry, epochs):
        super().epoch(run, entry, epochs)
        if entry["epoch"] == 2 and not self.killed:
            self._kill()

    def _kill(self):
        self.killed += 1
        self.processes[-1].send_signal(self.number)
        if self.number == signal.SIGKILL:
            self.processes[-1].wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
def test_a_run_whose_process_is_ended_is_resumed(plugin, options, tmp_path, monkeypatch, number):
    told = Kills(monkeypatch, number=number)
    jobs = dataclasses.replace(options, jobs=2)  # one run has one process
    (outcome,) = train(**WANTED, options=jobs, progress=told)
    assert outcome.status == "ok" and outcome.record["engine"]["restarts"] == told.killed == 1
    events = told.of("quick", 0)
    assert events.count("begin") == 2 and events.count("lost") == 1 and events[-1] == "ok"
    assert [event for event in events if event.endswith("/20")][-1] == "epoch 20/20"
    alone = dataclasses.replace(options, results_dir=tmp_path / "a", checkpoint_dir=tmp_path / "b")
    (expected,) = train(**WANTED, options=alone)
    assert numbers(outcome.record) == numbers(expected.record)


@pytest.mark.slow
def test_a_run_that_kills_every_process_is_given_up(plugin, options, monkeypatch):
    told = Kills(monkeypatch, each_time=True)
    jobs = dataclasses.replace(options, jobs=2)
    (outcome,) = train(**WANTED, options=jobs, progress=told)
    assert (outcome.status, outcome.record) == ("failed", None)
    assert outcome.reason.endswith(f"its process was ended by SIGKILL {TRIES} times")
    assert told.of("quick", 0)[-2:] == ["lost", "failed"] and told.killed == TRIES


def processes_of(parent):
    """The children of a process."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(number) for number in text.split()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_workers_end_with_checkpoints_when_the_driver_ends(plugin, options, tmp_path, number):
    """With SIGKILL too: they see that it is gone, and a second call resumes."""
    command = ["run_bench.py", "train", "quick", "--plugin", str(plugin), "--recipe", "epochs3000"]
    command += ["--results-dir", str(options.results_dir), "--seeds", "0-1", "--jobs", "2"]
    command += ["--checkpoint-dir", str(options.checkpoint_dir), "--compile", "off"]
    driver = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    going = set()
    while len(going) < 2:
        line = driver.stdout.readline()
        # A line says its seed once both have begun.
        going |= {seed for seed in ("seed 0", "seed 1") if seed in line and "epoch " in line}
        assert driver.poll() is None
    workers = processes_of(driver.pid)
    driver.send_signal(number)
    driver.stdout.read()
    assert driver.wait() == (75 if number == signal.SIGTERM else -number)
    while any(os.path.exists(f"/proc/{worker}/exe") for worker in workers):
        time.sleep(0.05)
    records = [store.load(path) for path in store.run_files(options.results_dir)]
    assert [record["status"] for record in records] == ["interrupted"] * 2
    why = "stopped by SIGTERM in" if number == signal.SIGTERM else "stopped because the driver is"
    assert all(record["reason"].startswith(why) for record in records)


def test_threads_and_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 8)
    assert [local.threads_each(RunOptions(), jobs) for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert local.threads_each(RunOptions(threads=3), 2) == 3
    made = []
    monkeypatch.setattr(local.subprocess, "Popen", lambda *_, env, **__: made.append(env))
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    options = RunOptions(devices=("0", "GPU-ab12"))
    for number in range(3):
        local.Worker(number, options, 2, None)
    assert [env["CUDA_VISIBLE_DEVICES"] for env in made] == ["0", "GPU-ab12", "0"]
    assert {env["OMP_NUM_THREADS"] for env in made} == {"2"}
    models = ["wide_resnet10_1"]
    assert usual_jobs(models, "digits", 9) == 8 and usual_jobs(models, "cifar10", 9) == 1
    assert usual_jobs(models, "digits", 3) == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused(plugin, options):
    chosen = dataclasses.replace(options, device="auto", devices=("7",))
    (outcome,) = train(**WANTED, options=chosen)
    assert (outcome.status, outcome.reason) == (
        "refused",
        "device 'cuda' is not there; choose cpu or auto",
    )


@pytest.mark.slow
def test_a_model_that_is_named_twice_is_one(plugin, options):
    chosen = dataclasses.replace(options, jobs=2)
    (outcome,) = train(["quick", "quick"], recipe="epochs1", options=chosen)
    assert outcome.status == "ok"


def test_a_model_of_no_file_stays_in_this_process(options, own_models):
    registry.register_model("typed_in")(lambda classes: torch.nn.Flatten())
    assert usual_jobs(["typed_in"], "digits", 9) == 1
    with pytest.raises(RunError, match="model typed_in is registered by no file"):
        train(["typed_in"], options=dataclasses.replace(options, jobs=2))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--devices", "0,1", "--jobs", "1"), "jobs 1 is not allowed with 2 devices"),
        (("--devices", "0", "--device", "cpu"), "devices are GPUs"),
        (("--engine", "sge"), "invalid choice: 'sge'|'sge' is not allowed; choose from local"),
        (("--jobs", "0"), "'0' is not allowed; it is a whole number from 1 to 256"),
        (("--devices", "0,0"), "'0,0' is not allowed; GPUs are listed once each"),
        (("--devices", "0;rm"), "'0;rm' is not allowed"),
    ],
)
def test_wrong_options_are_one_line(arguments, told, capsys):
    try:
        code = main(["train", "wide_resnet10_1", *arguments])
    except SystemExit as left:
        code = left.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert any(text in error for text in told.split("|"))


@pytest.mark.parametrize(
    "wrong", [{"engine": "sge"}, {"jobs": 0}, {"jobs": 1.5}, {"engine": None}], ids=str
)
def test_wrong_options_in_python(wrong):
    (name,) = wrong
    with pytest.raises(OptionError, match=f"{name} .* is not allowed"):
        RunOptions(**wrong)


def test_what_a_process_prints_before_its_events_is_no_event(monkeypatch, capfd):
    """As a `sitecustomize` may: the driver must hear all events, and the end."""
    says = "print('hello'); print('{}'); print('[1]'); print('{torn')"
    says += "; import json; print(json.dumps({'event': 'idle'}))"
    monkeypatch.setattr(local, "WORKER", (sys.executable, "-c", says))
    heard = queue.Queue()
    worker = local.Worker(0, RunOptions(), 1, heard)
    assert heard.get(timeout=60) == (worker, {"event": "idle"})
    assert heard.get(timeout=60) == (worker, None)
    assert capfd.readouterr().err == "hello\n{}\n[1]\n{torn\n"


@pytest.mark.slow
def test_a_plugin_finds_what_lies_beside_the_drivers_script(tmp_path, monkeypatch, own_models):
    (tmp_path / "beside_the_script.py").write_text("WIDTH = 3072")
    file = tmp_path / "nets" / "beside_nets.py"
    file.parent.mkdir()
    file.write_text(
        "from beside_the_script import WIDTH\nfrom torch import nn\n"
        "from models.registry import register_model\n\n@register_model('beside')\n"
        "def beside(classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.load_plugin(str(file))
    folders = {"results_dir": tmp_path / "r", "checkpoint_dir": tmp_path / "c"}
    options = RunOptions(jobs=2, **folders)
    outcomes = train("beside", recipe="demo", seeds=[0, 1], options=options)
    assert [outcome.status for outcome in outcomes] == ["ok", "ok"]


@pytest.mark.slow
def test_a_process_imports_nothing_of_the_current_folder(monkeypatch, tmp_path):
    for name in ("queue", "benchmarks"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of the user')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)  # may name the current folder
    worker = local.Worker(0, RunOptions(), 1, queue.Queue())
    worker.close()
    assert worker.fate == "its process ended with code 0"


def test_models_are_not_timed_where_the_devices_are_those_of_workers():
    assert local.Processes(RunOptions(jobs=2)).untimed is None
    assert "devices" in local.Processes(RunOptions(devices=("1",))).untimed
