"""Published data sets whose files are pinned: cifar10, cifar100 and svhn.

Nothing is parsed before its hashes were checked.

Names, addresses and MD5s are those of torchvision's CIFAR10, CIFAR100 and SVHN; SHA-256s those of
Keras and TensorFlow Datasets.
"""

import hashlib
import http.client
import io
import os
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.data.splits import (
    IMAGE_SIZE,
    DataError,
    DataSet,
    assemble,
    hold_out,
    listing_sha256,
    one_line,
)


@dataclass(frozen=True)
class Pin:
    """A file's name and the hashes that it must have.

    Members of a pinned tar have no separate SHA-256.
    """

    name: str
    md5: str
    sha256: str | None = None


@dataclass(frozen=True)
class Archive:
    """A data set as it is published.

    Its `train` and `test` files are packed in `tar` as `folder`, or bare where there is no tar.

    `url`: the folder on the web of what is fetched. `read`: a file's bytes to images (uint8, N x
    32 x 32 x 3) and labels (int64, N); it may raise anything on bytes of another format. `flip`:
    whether a mirrored image keeps its meaning.
    """

    name: str
    num_classes: int
    flip: bool
    read: Callable[[bytes], tuple[np.ndarray, np.ndarray]]
    url: str
    train: tuple[Pin, ...]
    test: tuple[Pin, ...]
    tar: Pin | None = None
    folder: str = ""

    @property
    def files(self) -> tuple[Pin, ...]:
        """The files for training, then those for testing."""
        return (*self.train, *self.test)


def load_archive(archive: Archive, data_dir: Path, *, download: bool = False) -> DataSet:
    """The data set from its files in `data_dir`, unpacked or fetched first if need be and, for
    fetching, if `download` is set.

    Raises DataError where the data are missing, or a hash or a file is not as pinned.

    """
    folder = data_dir / archive.folder
    if archive.tar is None:
        _provide(archive.files, archive.url, data_dir, download)
    elif not folder.is_dir():
        _provide((archive.tar,), archive.url, data_dir, download)
        _extract(data_dir / archive.tar.name, archive.tar, folder)
    parts = [_read(folder / pin.name, pin, archive) for pin in archive.files]
    images, labels = (np.concatenate([part[key] for part in parts]) for key in (0, 1))
    sha256 = listing_sha256([pin.name for pin in archive.files], [part[2] for part in parts])
    count = sum(len(part[1]) for part in parts[: len(archive.train)])
    splits = (*hold_out(np.arange(count)), np.arange(count, len(labels)))
    return assemble(archive.name, images, labels, splits, sha256, archive.num_classes, archive.flip)


def _provide(pins: tuple[Pin, ...], url: str, data_dir: Path, allowed: bool) -> None:
    """Fetch those files that are not in `data_dir`, if that is allowed."""
    missing = [pin for pin in pins if not (data_dir / pin.name).is_file()]
    if missing and not allowed:
        names = " and ".join(pin.name for pin in missing)
        raise DataError(
            f"{names} not found in {str(data_dir)!r}; put it there, or pass --download to fetch "
            f"it from {url}"
        )
    for pin in missing:
        _download(f"{url}{pin.name}", pin, data_dir)


def _download(url: str, pin: Pin, data_dir: Path) -> None:
    """Fetch one file; it takes its name only when it is complete and its MD5 is as pinned."""
    from torchvision.datasets.utils import download_url

    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir) as temporary:
            download_url(url, temporary, pin.name, md5=pin.md5)
            os.replace(Path(temporary) / pin.name, data_dir / pin.name)
    except (
        OSError,
        RuntimeError,
        http.client.HTTPException,
    ) as error:  # no network, no space, a wrong hash, a cut connection
        raise DataError(f"cannot download {url}: {one_line(error)}") from error


def _extract(path: Path, pin: Pin, folder: Path) -> None:
    """Check the tar's hashes, then extract it; `folder` appears only when it is complete."""
    content, _ = _verified(path, pin, "it")
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as temporary,
            tarfile.open(fileobj=io.BytesIO(content)) as tar,
        ):
            tar.extractall(temporary, filter="data")
            os.replace(Path(temporary) / folder.name, folder)
    except (OSError, tarfile.TarError) as error:
        if (
            not folder.is_dir()
        ):  # else another process was faster; what it extracted is verified like this
            raise DataError(f"cannot extract {str(path)!r}: {one_line(error)}") from error


def _verified(path: Path, pin: Pin, culprit: str) -> tuple[bytes, str]:
    """A file's bytes and their SHA-256, read once.

    What is hashed is what is parsed. `culprit`: what to delete if it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {one_line(error)}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for algorithm, found, pinned in (("sha256", sha256, pin.sha256), ("md5", md5, pin.md5)):
        if pinned is not None and found != pinned:
            raise DataError(
                f"{str(path)!r} is damaged: {algorithm} {found}, not {pinned}; delete {culprit}"
            )
    return content, sha256


def _read(path: Path, pin: Pin, archive: Archive) -> tuple[np.ndarray, np.ndarray, str]:
    """Images (uint8, NHWC), labels (int64) and SHA-256 of one file."""
    content, sha256 = _verified(path, pin, "its folder" if archive.folder else "it")
    try:
        images, labels = archive.read(content)
    except Exception as error:
        raise DataError(
            f"{str(path)!r} is not a file of {archive.name}: {one_line(error)}"
        ) from error
    shape = (*labels.shape, IMAGE_SIZE, IMAGE_SIZE, 3)
    if (
        images.dtype != np.uint8
        or images.shape != shape
        or not np.isin(labels, np.arange(archive.num_classes)).all()
    ):
        expected = f"uint8 images with labels of {archive.num_classes} classes"
        raise DataError(f"{str(path)!r} is not a file of {archive.name}: {expected} are expected")
    return np.ascontiguousarray(images), labels, sha256


# CIFAR: dictionaries that Python 2 pickled; `data` holds a row an image, the red plane first


def _read_pickle(content: bytes, label_key: str) -> tuple[np.ndarray, np.ndarray]:
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    flat, labels = np.asarray(batch["data"]), np.asarray(batch[label_key], dtype=np.int64)
    return flat.reshape(len(labels), 3, IMAGE_SIZE, IMAGE_SIZE).transpose(0, 2, 3, 1), labels


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, with which protocol 2 spells bytes.

    No other codec is looked up.
    """
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not allowed")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]  # its module has moved between releases of NumPy


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and builtin containers, and nothing else."""

    PERMITTED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.PERMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in it")
        return self.PERMITTED[module, name]


CIFAR10 = Archive(
    name="cifar10",
    num_classes=10,
    flip=True,
    read=partial(_read_pickle, label_key="labels"),
    url="https://www.cs.toronto.edu/~kriz/",
    train=(
        Pin("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        Pin("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        Pin("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        Pin("data_batch_4", "634d18415352ddfa80567beed471001a"),
        Pin("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=(Pin("test_batch", "40351d587109b95175f43aff81a1287e"),),
    tar=Pin(
        "cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    folder="cifar-10-batches-py",
)

CIFAR100 = Archive(
    name="cifar100",
    num_classes=100,
    flip=True,
    read=partial(_read_pickle, label_key="fine_labels"),
    url="https://www.cs.toronto.edu/~kriz/",
    train=(Pin("train", "16019d7e3df5f24257cddd939b257f8d"),),
    test=(Pin("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    tar=Pin(
        "cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    folder="cifar-100-python",
)


# SVHN: MATLAB files; `X` is 32 x 32 x 3 x N, `y` is N x 1 and says 10 where the digit is 0.
# SciPy's reader does not survive every malformed file (some end the process): here the hash is all
# that stands between it and the web.


def _read_mat(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat  # slow to import, and only needed here

    found = loadmat(io.BytesIO(content), variable_names=("X", "y"))
    numbers = found["y"].reshape(-1).astype(np.int64)
    if not np.isin(numbers, np.arange(1, 11)).all():
        raise ValueError("labels 1 to 10 are expected")
    return found["X"].transpose(3, 0, 1, 2), numbers % 10


SVHN = Archive(
    name="svhn",
    num_classes=10,
    flip=False,  # a mirrored digit is no digit
    read=_read_mat,
    url="http://ufldl.stanford.edu/housenumbers/",
    train=(
        Pin(  # `extra_32x32.mat`, easier images, is left out
            "train_32x32.mat",
            md5="e26dedcc434d2e4c54c9b2d4a06d8373",
            sha256="435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
    ),
    test=(
        Pin(
            "test_32x32.mat",
            md5="eb5a983be6a315427106f1b164d9cef3",
            sha256="cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    ),
)

ARCHIVES = {archive.name: archive for archive in (CIFAR10, CIFAR100, SVHN)}
