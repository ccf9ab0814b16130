"""What tests of the command line share: a command in this process, its folders, a plugin."""

import dataclasses
import json

import pytest

from benchmarks.cli.main import main
from benchmarks.measuring import timing

PLUGIN = '''
import torch
from torch import nn

from models.kernels.protocol import KernelSource
from models.registry import register_kernels, register_model


@register_model("tiny_mlp", pair="wide_resnet10_1")
def tiny_mlp(num_classes):
    layers = nn.Linear(3 * 32 * 32, 8), nn.ReLU(), nn.Linear(8, num_classes)
    return nn.Sequential(nn.Flatten(), *layers)


@register_kernels("one_kernel", rows={"one_kernel_resnet10_1": "wide_resnet10_1"})
class OneKernel(KernelSource):
    """Every kernel is a slice of one."""

    def __init__(self, shapes):
        super().__init__(shapes)
        self.weight = nn.Parameter(torch.randn(64, 64, 3, 3) * (2 / 576) ** 0.5)

    @staticmethod
    def count(shapes):
        return {"generator": 64 * 64 * 9}

    def forward(self):
        return [self.weight[: s.out_channels, : s.in_channels] for s in self.shapes]
'''
RECIPE = 'name = "tiny"\nbase = "demo"\nepochs = 1\nbatch_size = 64\n'


def code_of(*arguments):
    """The exit code of a command, run in this process."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


@pytest.fixture
def plugin(tmp_path, own_models):
    file = tmp_path / "my_models.py"
    file.write_text(PLUGIN)
    return file


class Desk:
    """A folder with its own results, reports, checkpoints and recipe, and the options for it."""

    def __init__(self, folder):
        self.folder = folder
        self.recipe = folder / "tiny.toml"
        self.recipe.write_text(RECIPE)
        (folder / "results").mkdir()

    @property
    def folders(self):
        names = ("results", "reports", "checkpoint", "data")
        options = []
        for name in names:
            place = "checkpoints" if name == "checkpoint" else name
            options += [f"--{name}-dir", self.folder / place]
        return options

    def code_of(self, *arguments):
        """The exit code of a command in this folder."""
        return code_of(*arguments, *self.folders)

    def train(self, *arguments):
        """The exit code of `train` with this folder's recipe."""
        return self.code_of("train", *arguments, "--recipe", self.recipe)

    def record_path(self, model):
        return self.folder / "results" / "runs" / "digits" / model / "tiny-seed0.json"

    def record(self, model):
        return json.loads(self.record_path(model).read_text())

    def checkpoint(self, model):
        return self.folder / "checkpoints" / "digits" / model / "tiny-seed0.ckpt"

    def speeds(self):
        """The paths of all speed records."""
        return list((self.folder / "results" / "throughput").rglob("*.json"))

    def page(self):
        """The report's text."""
        return (self.folder / "reports" / "digits" / "README.md").read_text()


@pytest.fixture
def desk(tmp_path, few_are_loaded):
    """Digits are few there: an epoch of `tiny` has two steps."""
    return Desk(tmp_path)


@pytest.fixture
def short(monkeypatch):
    """The protocols of the command line, shortened, and options that go with them."""
    shortened = dataclasses.replace(
        timing.SHORT, window_s=0.01, max_warmup=1, windows=2, epoch_images=64
    )
    monkeypatch.setattr(timing, "ON_CPU", shortened)
    monkeypatch.setattr("benchmarks.runs.reproduce.SHORT", shortened)
    return ["--json", "--precision", "fp32", "--compile", "off", "--batch-size", "32"]
