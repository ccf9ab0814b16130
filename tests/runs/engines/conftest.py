"""What the tests of all engines share: a quick model, options, what records must agree in."""

import json
import sys

import pytest

from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Progress
from models import plugins, registry

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


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A file with two models: `quick`, and `raises`, whose training fails; it is loaded."""
    monkeypatch.setattr(registry, "_PLUGINS", {})
    monkeypatch.setattr(plugins, "LOADED", {})
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
