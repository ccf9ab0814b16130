"""Shared fixtures: digits once a session, and tiny recipes."""

import dataclasses
from pathlib import Path

import pytest

from benchmarks import datasets, recipes

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits", Path("data"))


@pytest.fixture
def tiny():
    """One epoch of `smoke`, batch 256: four steps on digits."""
    return dataclasses.replace(recipes.RECIPES["smoke"], name="tiny", epochs=1, batch_size=256)
