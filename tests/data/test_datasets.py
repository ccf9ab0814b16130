"""Data sets by name; the digits, their splits and statistics."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.data import datasets
from benchmarks.data.datasets import dataset_name, load
from benchmarks.data.splits import DataError
from tests.conftest import one_line


def test_names():
    specs = ("digits", "cifar10", "folder:/a/my-set_1.0/")
    assert [dataset_name(spec) for spec in specs] == ["digits", "cifar10", "my-set_1.0"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("cifar11", ["'cifar11'", "folder:PATH", "nearest: cifar10"]),
        ("", ["''", "digits"]),
        ("folder:", ["lacks a path"]),
        ("folder:/a/b c", ["'b c'"]),
        ("folder:/", ["''"]),
        ("folder:/a/cifar100", ["'cifar100'", "rename"]),
        ("folder:/a/SVHN", ["'SVHN'"]),
    ],
)
def test_bad_names(spec, words, tmp_path):
    with pytest.raises(DataError) as error:
        load(spec, tmp_path)
    assert all(word in one_line(error) for word in words)


@pytest.fixture(scope="module")
def digits():
    return load("digits", Path("unused"))


def test_digits_split_is_disjoint_and_complete(digits):
    from sklearn.datasets import load_digits

    parts = (digits.train, digits.validation, digits.read_test())
    assert [len(part) for part in parts] == [1257, 180, 360]
    together = torch.cat([part.images for part in parts]).numpy()
    expected = np.repeat(
        datasets._enlarge(load_digits().images.astype(np.uint8))[..., None], 3, axis=-1
    )
    assert sorted(map(bytes, together)) == sorted(map(bytes, expected))
    assert together.dtype == np.uint8 and together.shape[1:] == (32, 32, 3)
    assert digits.train.labels.dtype == torch.int64 and not digits.flip and digits.num_classes == 10


def test_digits_do_not_change(digits):
    again = load("digits", Path("unused"))
    assert again.fingerprint == digits.fingerprint and torch.equal(
        again.train.images, digits.train.images
    )
    assert {k: v for k, v in digits.fingerprint.items() if "sha256" not in k} == {
        "split_seed": 0,
        "train": 1257,
        "validation": 180,
        "test": 360,
        "num_classes": 10,
    }
    assert all(len(digits.fingerprint[key]) == 64 for key in ("sha256", "decoded_sha256"))


def test_enlarging_is_bilinear():
    small = np.random.default_rng(0).integers(0, 17, (5, 8, 8), dtype=np.uint8)
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(small * (255 / 16))[:, None], (32, 32), mode="bilinear"
    )
    assert np.abs(datasets._enlarge(small) - exact[:, 0].numpy()).max() <= 0.5 + 1e-9


def test_mean_and_std_are_those_of_the_train_split(digits):
    pixels = digits.train.images.numpy().reshape(-1, 3).astype(np.float64) / 255
    assert np.allclose(digits.mean, pixels.mean(0), rtol=1e-12)
    assert np.allclose(digits.std, pixels.std(0), rtol=1e-12)


def test_reads_of_the_test_split_are_counted_across_moves(digits):
    data = load("digits", Path("unused"))
    moved = data.to("cpu")
    assert data.test_reads == moved.test_reads == 0
    assert len(moved.read_test()) == 360
    assert data.test_reads == moved.test_reads == 1
