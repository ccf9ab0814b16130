"""A data set: three disjoint splits of uint8 tensors, how they are made, and their fingerprint.

The modules that read data (`datasets.py`, `archives.py`, `folders.py`) call `assemble`. The test
split is reached only through `DataSet.read_test()`, which counts.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch

from benchmarks.tasks import IMAGES, Task

SPLIT_SEED = 0
IMAGE_SIZE = 32  # pixels, height and width


class DataError(ValueError):
    """Data that cannot be used; the message is one line for the user."""


@dataclass(frozen=True, eq=False)
class Split:
    """`images`: uint8, N x H x W x 3; `labels`: int64, N."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        """The same split on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set in three disjoint splits.

    `mean` and `std`: of the train split, by channel, on the 0..1 scale. `flip`: whether a mirrored
    image keeps its meaning. `fingerprint`: hashes and sizes for the record. `read_test()` is the
    only way to the test split. `outputs`: the names of the classes, where the data have them.
    """

    task: ClassVar[Task] = IMAGES

    name: str
    num_classes: int
    train: Split
    validation: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool
    fingerprint: dict
    _test: Split = field(repr=False)
    outputs: tuple[str, ...] | None = None
    _reads: dict = field(default_factory=lambda: {"test": 0}, repr=False)

    @property
    def test_reads(self) -> int:
        """How often the test split was read, through this object or its copies on other devices."""
        return self._reads["test"]

    def read_test(self) -> Split:
        """The test split; every call is counted in `test_reads`."""
        self._reads["test"] += 1
        return self._test

    def to(self, device: torch.device | str) -> "DataSet":
        """The same data on `device`; the counter of test reads is shared: no read is hidden."""
        moved = {name: getattr(self, name).to(device) for name in ("train", "validation", "_test")}
        return replace(self, **moved)


def one_line(error: BaseException) -> str:
    """What an exception says, fit for the line of a DataError."""
    return " ".join(str(error).split()) or type(error).__name__


def assemble(
    name: str,
    images: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[np.ndarray],
    sha256: str,
    num_classes: int,
    flip: bool,
    outputs: tuple[str, ...] | None = None,
) -> DataSet:
    """A DataSet from all images (uint8, NHWC), all labels, and the indices of train, validation
    and test; `outputs`: the names of the classes, where the data have them.
    """
    splits = [
        Split(torch.from_numpy(images[part]), torch.from_numpy(labels[part])) for part in parts
    ]
    mean, std = channel_statistics(splits[0].images.numpy())
    if min(std) == 0:
        raise DataError(
            f"data set {name!r} has a channel with the same value in every training pixel"
        )
    train, validation, test = splits
    fingerprint = {
        "sha256": sha256,
        "decoded_sha256": decoded_sha256(images, labels),
        "split_seed": SPLIT_SEED,
        "train": len(train),
        "validation": len(validation),
        "test": len(test),
        "num_classes": num_classes,
    }
    return DataSet(
        name, num_classes, train, validation, mean, std, flip, fingerprint, test, outputs
    )


Channels = tuple[float, float, float]
"""A number for each of red, green and blue."""


def channel_statistics(images: np.ndarray) -> tuple[Channels, Channels]:
    """Mean and standard deviation by channel on the 0..1 scale, of uint8 images N x H x W x 3.

    Sums of integers are exact in float64 up to 2**53, so that neither the order of the images nor
    the machine matters.
    """
    total, squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(images), 1024):  # some 25 MB at a time
        pixels = images[start : start + 1024].reshape(-1, 3).astype(np.float64)
        total += np.ones(len(pixels)) @ pixels
        squares += np.diag(pixels.T @ pixels)
    count = images[..., 0].size
    mean = [int(s) / (255 * count) for s in total]
    variances = [count * int(q) - int(s) ** 2 for s, q in zip(total, squares, strict=True)]
    std = [variance**0.5 / (255 * count) for variance in variances]
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def decoded_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    """The hash of the decoded images (uint8, NHWC) and labels, which tells decoders apart."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()


def listing_sha256(paths: Sequence[str], digests: Sequence[str]) -> str:
    """The hash of what `sha256sum PATH...` prints, so that anybody can recompute it in a shell."""
    lines = (f"{digest}  {path}\n" for digest, path in zip(digests, paths, strict=True))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def hold_out(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train and validation (a tenth, at random) from the indices of the training images."""
    if len(indices) < 10:
        raise DataError(
            f"{len(indices)} training images are too few: a tenth is held out for validation"
        )
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(indices)
    held_out = len(indices) // 10
    return shuffled[held_out:], shuffled[:held_out]
