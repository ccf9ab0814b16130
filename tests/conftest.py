"""Shared fixtures: digits once a process, fewer images, and a tiny recipe."""

import contextlib
import dataclasses
import gc
import os
from pathlib import Path

import pytest
import torch

from benchmarks.data import datasets
from benchmarks.data.splits import DataSet, Split
from benchmarks.training import recipes
from models import plugins, registry

ROOT = Path(__file__).resolve().parent.parent
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

if WORKERS > 1:  # they share the cores, and so do the processes that tests start
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // WORKERS))
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits", Path("data"))


def first(split: Split, count: int) -> Split:
    """The first images of a split."""
    return Split(split.images[:count], split.labels[:count])


@pytest.fixture
def few(digits) -> DataSet:
    """128 training images of digits, four steps of batch 32, and 32 in each other split."""
    return dataclasses.replace(
        digits,
        train=first(digits.train, 128),
        validation=first(digits.validation, 32),
        _test=first(digits._test, 32),
        fingerprint=digits.fingerprint | {"test": 32},
        _reads={"test": 0},
    )


@pytest.fixture
def few_are_loaded(few, monkeypatch):
    """Whoever loads digits gets `few`; other data sets are loaded as they are."""
    load = datasets.load

    def load_few(name, data_dir, **options):
        return few if name == "digits" else load(name, data_dir, **options)

    monkeypatch.setattr(datasets, "load", load_few)


@pytest.fixture
def tiny():
    """One epoch of `demo`, batch 256: four steps on digits."""
    return dataclasses.replace(recipes.RECIPES["demo"], name="tiny", epochs=1, batch_size=256)


@pytest.fixture
def own_models():
    """A registry without plugins and their models; what a test registers is gone after it."""
    tables = (registry.PLUGIN_MODELS, registry.KERNELS, plugins.LOADED)
    before = [dict(table) for table in tables]
    registry.PLUGIN_MODELS.clear()
    plugins.LOADED.clear()  # each of them goes to every process that makes runs of a plugin
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@contextlib.contextmanager
def without_collector():
    """What is freed within is freed because nothing refers to it any more."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def one_line(error):
    """The message of an expected exception, which is for the user's eyes."""
    assert "\n" not in str(error.value)
    return str(error.value)
