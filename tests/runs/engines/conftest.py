"""What the tests of all engines share: a quick model, options, what records must agree in."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Progress
from models import registry

PLUGIN = """
import torch
from models.registry import register_model


@register_model("quick")
class Quick(torch.nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, num_classes))

    def forward(self, x):
        return self.net(x)


@register_model("raises")
class Raises(Quick):
    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            raise RuntimeError("no forward pass today")
        return super().forward(x)
"""

HERE = Path(__file__).parent


@pytest.fixture
def plugin(tmp_path, monkeypatch, own_models):
    """A file with two models: `quick`, and `raises`, whose training fails; it is loaded."""
    monkeypatch.delitem(sys.modules, "engine_models", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "engine_models.py"
    file.write_text(PLUGIN)
    registry.load_plugin(str(file))
    return file


@pytest.fixture
def options(tmp_path):
    """Options under which a repeated run has the same numbers, with folders of their own."""
    return RunOptions(
        results_dir=tmp_path / "results",
        checkpoint_dir=tmp_path / "checkpoints",
        device="cpu",
        threads=1,
        precision="fp32",
        compile="off",
        deterministic=True,
    )


@pytest.fixture
def alone(options, tmp_path):
    """Other folders, for the same runs made in this process without a break."""
    return dataclasses.replace(
        options, results_dir=tmp_path / "alone", checkpoint_dir=tmp_path / "alone_checkpoints"
    )


def free_ports(count):
    """Ports of 127.0.0.1 that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The folder of a real Slurm with two nodes on this host; each test process has its own."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [
        name
        for name in ("munged", "slurmctld", "slurmd", "sbatch")
        if not shutil.which(name, path=path)
    ]
    if missing or os.getuid():
        pytest.skip(f"Slurm is not installed: {missing}" if missing else "not root")
    folder = tmp_path_factory.mktemp("slurm")
    up = [HERE / "slurm_up.sh", folder, *free_ports(3)]
    try:
        subprocess.run(up, check=True)
        yield folder
    finally:
        subprocess.run([HERE / "slurm_down.sh", folder], check=True)


@pytest.fixture
def slurm(cluster, monkeypatch):
    """Commands talk to the cluster; gives its folder."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", f"{cluster}/slurm.conf")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    return cluster


def numbers(record):
    """What a record says of the training: all but times, versions and the engine."""
    record = json.loads(json.dumps(record))
    for entry in record["history"]:
        del entry["seconds"]
    kept = ("model", "dataset_fingerprint", "recipe", "seed", "status", "params", "history")
    kept += ("val_error", "test_error", "test_wrong", "resumed", "untrained")
    code = {key: record["code"].get(key) for key in ("source_sha256", "plugin_sha256")}
    return {key: record.get(key) for key in kept} | code


class Told(Progress):
    """What was told, in order: (event, model, seed)."""

    def __init__(self):
        self.events = []
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def started(self, runs):
        self.events += [("begin", run.model, run.seed) for run in runs]

    def epoch(self, run, entry, epochs):
        self.events.append((f"epoch {entry['epoch']}/{epochs}", run.model, run.seed))

    def lost(self, run, reason):
        self.events.append(("lost", run.model, run.seed))

    def ended(self, run, outcome):
        self.events.append((outcome.status, run.model, run.seed))

    def of(self, model, seed):
        """The events of one run."""
        return [event for event, *run in self.events if run == [model, seed]]
