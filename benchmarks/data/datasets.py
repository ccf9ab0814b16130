"""Data sets by name, as whole tensors: images (uint8) and texts (symbols).

    data = load("cifar10", Path("data")).to("cuda")
    data = load("pydoc", Path("data"))

Images stay uint8, N x H x W x 3 (NHWC), until the model normalises them with `mean` and `std`. The
number of classes, these two and whether images may be mirrored are the data set's; nothing else
assumes them.
"""

import difflib
import os
import re
from pathlib import Path

import numpy as np

from benchmarks.data import text
from benchmarks.data.archives import ARCHIVES, load_archive
from benchmarks.data.folders import class_folders, load_folder
from benchmarks.data.splits import (
    IMAGE_SIZE,
    SPLIT_SEED,
    DataError,
    DataSet,
    assemble,
    decoded_sha256,
)
from benchmarks.data.text import Text
from benchmarks.tasks import IMAGES, TEXT, Task

NAMES = ("digits", *ARCHIVES)
ALLOWED_OF = {IMAGES.name: (*NAMES, "folder:PATH"), TEXT.name: text.ALLOWED}
ALLOWED = (*ALLOWED_OF[IMAGES.name], *ALLOWED_OF[TEXT.name])
PATHS = ("folder:", *text.PREFIXES)
"""What a data set that is named by its path begins with."""
Data = DataSet | Text


def task_of(spec: str) -> Task:
    """The task of a data set as it is named."""
    return TEXT if text.is_text(spec) else IMAGES


def with_absolute_path(spec: str) -> str:
    """The name of a data set, its path absolute if it is named by one."""
    prefix, _, path = spec.partition(":")
    if f"{prefix}:" not in PATHS:
        return spec
    return f"{prefix}:{Path(path).expanduser().absolute()}"


def dataset_name(spec: str) -> str:
    """The name in records and paths: one of NAMES, or the base name of a path.

    Nothing is loaded. Raises DataError for an unknown name, and for a folder or text whose name is
    not [A-Za-z0-9._-]+ or that of a known set.
    """
    if text.is_text(spec):
        name = text.name_of(spec)
        if name.lower() in NAMES:
            raise DataError(f"text {name!r} has the name of a known data set; rename it")
        return name
    if spec in NAMES:
        return spec
    if not spec.startswith("folder:"):
        raise DataError(
            f"unknown data set {spec!r}; allowed are {', '.join(ALLOWED)}{_nearest(spec)}"
        )
    if spec == "folder:":
        raise DataError("data set 'folder:' lacks a path; allowed is folder:PATH")
    name = os.path.basename(os.path.abspath(_folder_path(spec)))
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise DataError(
            f"folder name {name!r} is not allowed; allowed are letters, digits, '.', '_' and '-'"
        )
    if name.lower() in NAMES:
        raise DataError(
            f"folder name {name!r} belongs to a known data set; rename it, for example to "
            f"{name}-png"
        )
    return name


def refuse_missing(spec: str) -> None:
    """Refuse a data set that is named by a path where none lies; nothing is loaded.

    Raises:
        DataError: naming the path.
    """
    prefix, _, path = spec.partition(":")
    if f"{prefix}:" in PATHS and not os.path.exists(os.path.expanduser(path)):
        raise DataError(f"data set {spec}: there is no {path}")
    if prefix == "folder":
        class_folders(_folder_path(spec))


def load(name: str, data_dir: Path, *, download: bool = False, progress: bool = True) -> Data:
    """Load one of `ALLOWED` on the CPU.

    `data_dir` holds archives and the cache. `download` allows fetching an archive. `progress`
    shows bars where stderr is a terminal. Raises DataError, one line, for everything that the user
    can put right.
    """
    label = dataset_name(name)
    data_dir = Path(os.path.expanduser(data_dir))
    if text.is_text(name):
        return text.load(name)
    if label == "digits":
        return digits()
    if label in ARCHIVES:
        return load_archive(ARCHIVES[label], data_dir, download=download)
    return load_folder(label, _folder_path(name), data_dir / "cache", progress)


def _nearest(spec: str) -> str:
    """ "; nearest: ..." for what a text may have meant, or nothing."""
    prefix, colon, path = spec.partition(":")
    if f"{prefix.lower()}{colon}" in PATHS:
        return f"; nearest: {prefix.lower()}:{path}"
    plain = re.sub(r"[^a-z0-9]", "", spec.lower())
    known = (*NAMES, *text.NAMES)
    near = [plain] if plain in known else difflib.get_close_matches(plain, known, n=2)
    longer = re.match(rf"({'|'.join(NAMES)})[._-]", spec.lower())
    if "/" in spec or os.sep in spec or Path(spec).is_dir():
        near = [f"folder:{spec}"]
    if Path(spec).is_file() or (Path(spec) / "train.txt").is_file():
        near = [f"text:{spec}"]
    elif longer and plain not in NAMES:  # such as cifar10-jpeg, a folder's name in records
        near = [f"folder:PATH/{spec}", longer[1]]
    return f"; nearest: {', '.join(near)}" if near else ""


def _folder_path(spec: str) -> Path:
    return Path(os.path.expanduser(spec.removeprefix("folder:")))


def digits() -> DataSet:
    """1,797 grey images of digits, 8 x 8 enlarged, which come with scikit-learn."""
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    raw = load_digits()
    small, labels = raw.images.astype(np.uint8), raw.target.astype(np.int64)
    images = np.repeat(_enlarge(small)[..., None], 3, axis=-1)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    parts = (order[540:], order[360:540], order[:360])
    return assemble("digits", images, labels, parts, decoded_sha256(small, labels), 10, flip=False)


def _enlarge(small: np.ndarray) -> np.ndarray:
    """N x 8 x 8 values 0..16 to N x 32 x 32 values 0..255.

    Bilinear between pixel centres, rounded once.
    """
    weights = np.zeros((IMAGE_SIZE, 8), np.int64)  # in eighths: each row sums to 8
    for row in range(IMAGE_SIZE):
        low, fraction = divmod(
            min(max(2 * row - 3, 0), 56), 8
        )  # its centre, (row + 0.5) / 4 - 0.5, in eighths
        weights[row, low] += 8 - fraction
        weights[row, min(low + 1, 7)] += fraction
    scaled = weights @ small.astype(np.int64) @ weights.T  # 64 x the value, at most 1024
    return ((scaled * 510 + 1024) // 2048).astype(np.uint8)
