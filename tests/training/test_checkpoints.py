"""Checkpoint files: what is refused, and what is used in its place."""

import pytest
import torch

from benchmarks.training import checkpoints
from benchmarks.training.checkpoints import (
    CheckpointError,
    differences,
    load_checkpoint,
    load_newest,
    previous,
    write_checkpoint,
)
from tests.training.test_loop import trainer


def test_a_checkpoint_of_another_version_is_told_by_its_version(tmp_path):
    old = {"version": 2, "identity": {}, "model": {}, "optimizer": {}, "history": {}}
    write_checkpoint(tmp_path / "run.ckpt", old)
    with pytest.raises(CheckpointError, match="has version 2; this code reads 3"):
        load_checkpoint(tmp_path / "run.ckpt")


def test_damaged_checkpoints_are_refused(digits, tiny, tmp_path):
    path, first = tmp_path / "run.ckpt", trainer(digits, tiny)
    first.save(path)
    assert load_newest(path)[1] is None
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    for damaged in (content, b"", content[:500]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"run\.ckpt is damaged"):
            load_checkpoint(path)
        with pytest.raises(CheckpointError, match="none before it: remove it"):
            load_newest(path)


def test_the_checkpoint_before_a_damaged_one_is_used(digits, tiny, tmp_path):
    path, first = tmp_path / "run.ckpt", trainer(digits, tiny)
    first.save(path)
    old = path.read_bytes()
    first.step(next(first.learning.epoch(0, 0, 0)), 0)
    first.save(path)
    assert previous(path).read_bytes() == old != path.read_bytes()
    path.write_bytes(path.read_bytes()[:-1])
    state, note = load_newest(path)
    assert torch.equal(
        state["model"]["stem.weight"], load_checkpoint(previous(path))["model"]["stem.weight"]
    )
    assert "damaged" in note and "the one before it was used" in note
    path.unlink()
    assert "No such file" in load_newest(path)[1]


def test_what_differs_is_named(digits, tiny):
    first = trainer(digits, tiny)
    assert differences({"identity": first.identity}, trainer(digits, tiny, seed=1).identity) == {
        "seed": [0, 1]
    }


def test_a_damaged_checkpoint_never_takes_the_place_of_a_good_one(
    digits, tiny, tmp_path, monkeypatch
):
    """A kill or a full disk after the damage: the next checkpoint is not there yet."""
    path, first = tmp_path / "run.ckpt", trainer(digits, tiny)
    first.save(path)
    good = path.read_bytes()
    first.save(path)
    path.write_bytes(good[:-1])

    def full(*arguments):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomically", full)
        with pytest.raises(OSError, match="No space"):
            first.save(path)
    assert "the one before it was used" in load_newest(path)[1]
    first.save(path)
    assert previous(path).read_bytes() == good and load_newest(path)[1] is None
