"""Data sets as whole uint8 tensors: loading, splitting, fingerprints, and batches augmented on the device.

    data = load("cifar10", Path("data")).to("cuda")
    batches = Batches(data.train, batch_size=128, crop_padding=4, flip=data.flip)
    for x, y in batches.epoch(seed=0, epoch=0): ...

Images stay uint8, N x H x W x 3 (NHWC), until the model normalises them with `mean` and `std`. Nothing is unpickled
before its hash was checked, and the test split is reached only through `DataSet.read_test()`, which counts.
"""

import difflib
import hashlib
import io
import json
import os
import pickle
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

NAMES = ("digits", "cifar10")
RESERVED = ("digits", "cifar10", "cifar100", "svhn")  # no folder may pass for one of these
ALLOWED = (*NAMES, "folder:PATH")
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
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set in three disjoint splits.

    `mean` and `std`: of the train split, by channel, on the 0..1 scale. `flip`: whether a mirrored image keeps its
    meaning. `fingerprint`: hashes and sizes for the record. `read_test()` is the only way to the test split.
    """

    name: str
    num_classes: int
    train: Split
    validation: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool
    fingerprint: dict
    _test: Split = field(repr=False)
    _reads: dict = field(default_factory=lambda: {"test": 0}, repr=False)

    @property
    def test_reads(self) -> int:
        """How often the test split was read, through this object or one that `to` made from it or it from."""
        return self._reads["test"]

    def read_test(self) -> Split:
        """The test split; every call is counted in `test_reads`."""
        self._reads["test"] += 1
        return self._test

    def to(self, device: torch.device | str) -> "DataSet":
        """The same data on `device`; the counter of test reads is shared, so a move hides no read."""
        moved = {name: getattr(self, name).to(device) for name in ("train", "validation", "_test")}
        return replace(self, **moved)


def dataset_name(spec: str) -> str:
    """The name in records and paths, without loading: `digits`, `cifar10`, or the base name of `folder:PATH`.

    Raises DataError for an unknown name, and for a folder whose name is not [A-Za-z0-9._-]+ or that of a known set.
    """
    if spec in NAMES:
        return spec
    if not spec.startswith("folder:"):
        near = difflib.get_close_matches(spec, ALLOWED, n=1, cutoff=0.0)[0]
        raise DataError(f"unknown data set {spec!r}; allowed are {', '.join(ALLOWED)}; nearest: {near}")
    if spec == "folder:":
        raise DataError("data set 'folder:' lacks a path; allowed is folder:PATH")
    name = os.path.basename(os.path.abspath(_folder_path(spec)))
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise DataError(f"folder name {name!r} is not allowed; allowed are letters, digits, '.', '_' and '-'")
    if name.lower() in RESERVED:
        raise DataError(f"folder name {name!r} belongs to a known data set; rename it, for example to {name}-png")
    return name


def load(name: str, data_dir: Path, *, download: bool = False, progress: bool = True) -> DataSet:
    """Load `digits`, `cifar10` or `folder:PATH` on the CPU.

    `data_dir` holds the archive and the cache. `download` allows fetching the archive. `progress` shows bars where
    stderr is a terminal. Raises DataError, one line, for everything that the user can put right.
    """
    label = dataset_name(name)
    data_dir = Path(data_dir)
    if label == "digits":
        return _load_digits()
    if label == "cifar10":
        return load_cifar10(data_dir, download=download)
    return _load_folder(label, _folder_path(name), data_dir / "cache", progress)


def _folder_path(spec: str) -> Path:
    return Path(spec.removeprefix("folder:"))


# Splits and fingerprints


def _assemble(name: str, images: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray], sha256: str,
              num_classes: int, flip: bool) -> DataSet:  # fmt: skip
    """A DataSet from all images (uint8, NHWC), all labels, and the indices of train, validation and test."""
    splits = [Split(torch.from_numpy(images[part]), torch.from_numpy(labels[part])) for part in parts]
    mean, std = channel_statistics(splits[0].images.numpy())
    if min(std) == 0:
        raise DataError(f"data set {name!r} has a channel with the same value in every training pixel")
    fingerprint = {"sha256": sha256, "decoded_sha256": _decoded_sha256(images, labels), "split_seed": SPLIT_SEED}
    fingerprint |= dict(zip(("train", "validation", "test"), map(len, splits), strict=True), num_classes=num_classes)
    return DataSet(name, num_classes, splits[0], splits[1], mean, std, flip, fingerprint, splits[2])


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation by channel on the 0..1 scale, of uint8 images N x H x W x C.

    Sums of integers are exact in float64 up to 2**53, so neither the order of the images nor the machine matters.
    """
    total, squares = np.zeros(images.shape[-1]), np.zeros(images.shape[-1])
    for start in range(0, len(images), 1024):  # some 25 MB at a time
        pixels = images[start : start + 1024].reshape(-1, images.shape[-1]).astype(np.float64)
        total += np.ones(len(pixels)) @ pixels
        squares += np.diag(pixels.T @ pixels)
    count = images[..., 0].size
    mean = tuple(int(s) / (255 * count) for s in total)
    variances = (count * int(q) - int(s) ** 2 for s, q in zip(total, squares, strict=True))
    return mean, tuple(v**0.5 / (255 * count) for v in variances)


def _decoded_sha256(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return digest.hexdigest()


def _listing_sha256(paths: Sequence[str], digests: Sequence[str]) -> str:
    """The hash of what `sha256sum PATH...` prints, so that anybody can recompute it in a shell."""
    lines = (f"{digest}  {path}\n" for digest, path in zip(digests, paths, strict=True))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _hold_out(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train and validation (a tenth, at random) from the indices of the images meant for training."""
    if len(indices) < 10:
        raise DataError(f"{len(indices)} training images are too few: a tenth is held out for validation")
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(indices)
    held_out = len(indices) // 10
    return shuffled[held_out:], shuffled[:held_out]


# digits: 1,797 grey images that come with scikit-learn


def _load_digits() -> DataSet:
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    raw = load_digits()
    small, labels = raw.images.astype(np.uint8), raw.target.astype(np.int64)
    images = np.repeat(_enlarge(small)[..., None], 3, axis=-1)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    parts = (order[540:], order[360:540], order[:360])
    return _assemble("digits", images, labels, parts, _decoded_sha256(small, labels), 10, flip=False)


def _enlarge(small: np.ndarray) -> np.ndarray:
    """N x 8 x 8 values 0..16 to N x 32 x 32 values 0..255: bilinear between pixel centres, rounded once."""
    weights = np.zeros((IMAGE_SIZE, 8), np.int64)  # in eighths: each row sums to 8
    for row in range(IMAGE_SIZE):
        low, fraction = divmod(min(max(2 * row - 3, 0), 56), 8)  # its centre, (row + 0.5) / 4 - 0.5, in eighths
        weights[row, low] += 8 - fraction
        weights[row, min(low + 1, 7)] += fraction
    scaled = weights @ small.astype(np.int64) @ weights.T  # 64 x the value, at most 1024
    return ((scaled * 510 + 1024) // 2048).astype(np.uint8)


# cifar10: pickles, so hashes first


@dataclass(frozen=True)
class Pins:
    """The hashes that an archive must have: SHA-256 and MD5 of the .tar.gz, and (file name, MD5) of each batch."""

    archive_sha256: str
    archive_md5: str
    train: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]


CIFAR10_PINS = Pins(
    archive_sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    train=(
        ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=(("test_batch", "40351d587109b95175f43aff81a1287e"),),
)
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-py"


def load_cifar10(data_dir: Path, pins: Pins = CIFAR10_PINS, *, download: bool = False) -> DataSet:
    """CIFAR-10 from its archive or extracted folder in `data_dir`; tests pass pins of their own.

    Raises DataError where the data are missing, or a hash or a batch is not as pinned.
    """
    folder = data_dir / CIFAR10_FOLDER
    if not folder.is_dir():
        archive = data_dir / CIFAR10_ARCHIVE
        if not archive.is_file():
            _download_cifar10(data_dir, pins, download)
        _extract(archive, folder, pins)
    batches = [_read_batch(folder / file, md5) for file, md5 in (*pins.train, *pins.test)]
    images = np.concatenate([batch[0] for batch in batches])
    labels = np.concatenate([batch[1] for batch in batches])
    sha256 = _listing_sha256([file for file, _ in (*pins.train, *pins.test)], [batch[2] for batch in batches])
    count = sum(len(batch[1]) for batch in batches[: len(pins.train)])
    parts = (*_hold_out(np.arange(count)), np.arange(count, len(labels)))
    return _assemble("cifar10", images, labels, parts, sha256, 10, flip=True)


def _download_cifar10(data_dir: Path, pins: Pins, allowed: bool) -> None:
    if not allowed:
        raise DataError(f"{CIFAR10_ARCHIVE} is not in {str(data_dir)!r}: put it there, or pass --download to fetch it")
    from torchvision.datasets.utils import download_url

    try:
        download_url(CIFAR10_URL, data_dir, CIFAR10_ARCHIVE, md5=pins.archive_md5)
    except (OSError, RuntimeError) as error:  # no network, no space, or a wrong hash
        raise DataError(f"cannot download {CIFAR10_URL}: {_one_line(error)}") from error


def _extract(archive: Path, folder: Path, pins: Pins) -> None:
    """Check the archive's hashes, then extract; a folder appears only when it is complete."""
    try:
        with open(archive, "rb") as file:
            for algorithm, pinned in (("sha256", pins.archive_sha256), ("md5", pins.archive_md5)):
                file.seek(0)
                found = hashlib.file_digest(file, algorithm).hexdigest()
                if found != pinned:
                    raise DataError(f"{str(archive)!r} is damaged: {algorithm} {found}, not {pinned}; delete it")
            file.seek(0)  # the file that was checked, even if another takes its name meanwhile
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary, tarfile.open(fileobj=file) as tar:
                tar.extractall(temporary, filter="data")
                os.replace(Path(temporary) / CIFAR10_FOLDER, folder)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot extract {str(archive)!r}: {_one_line(error)}") from error


def _read_batch(path: Path, md5: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Images (uint8, NHWC), labels (int64) and SHA-256 of one batch file, unpickled only when its MD5 is as pinned."""
    try:
        content = path.read_bytes()  # once: what is hashed is what is unpickled
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {_one_line(error)}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{str(path)!r} is damaged: md5 {found}, not {md5}; delete its folder")
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()  # written by Python 2
        flat, labels = np.asarray(batch["data"]), np.asarray(batch["labels"], dtype=np.int64)
        images = flat.reshape(len(labels), 3, IMAGE_SIZE, IMAGE_SIZE).transpose(0, 2, 3, 1)
    except Exception as error:
        raise DataError(f"{str(path)!r} is not a CIFAR batch: {_one_line(error)}") from error
    if images.dtype != np.uint8 or labels.ndim != 1 or not np.isin(labels, np.arange(10)).all():
        raise DataError(f"{str(path)!r} is not a CIFAR batch: uint8 images with labels 0..9 are expected")
    return np.ascontiguousarray(images), labels, hashlib.sha256(content).hexdigest()


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, with which protocol 2 spells bytes; no other codec is looked up."""
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


# folder:PATH: train/CLASS/IMAGE and test/CLASS/IMAGE


def _load_folder(name: str, root: Path, cache: Path, progress: bool) -> DataSet:
    classes = _class_names(root)
    paths = _image_paths(root, classes)
    digests = _map(lambda path: _file_sha256(root / path), paths, f"{name}: hash", progress)
    sha256 = _listing_sha256(paths, digests)
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[path.split("/")[1]] for path in paths], dtype=np.int64)
    place = cache / f"{name}-{sha256[:16]}.npy"
    images = _read_cache(place, sha256, labels)
    if images is None:
        images = np.stack(_map(lambda path: _decode(root / path), paths, f"{name}: decode", progress))
        _write_cache(place, images, sha256, labels)
    is_test = np.array([path.startswith("test/") for path in paths])
    parts = (*_hold_out(np.flatnonzero(~is_test)), np.flatnonzero(is_test))
    # The bare names are reserved, but a folder such as svhn-png holds the same digits, and a mirrored one is no digit.
    flip = not name.lower().startswith(("digits", "svhn"))
    return _assemble(name, images, labels, parts, sha256, len(classes), flip)


def _class_names(root: Path) -> list[str]:
    """The sorted names of the folders in train/, which must be those in test/."""
    found = []
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise DataError(f"{str(root / part)!r} is missing; needed are train/CLASS/IMAGE and test/CLASS/IMAGE")
        found.append({entry.name for entry in os.scandir(root / part) if entry.is_dir() and entry.name[0] != "."})
    train, test = found
    if train != test:
        raise DataError(f"train and test in {str(root)!r} differ in class {min(train ^ test)!r}")
    if len(train) < 2:
        raise DataError(f"{str(root / 'train')!r} has {len(train)} class folders; at least 2 are needed")
    return sorted(train)


def _image_paths(root: Path, classes: list[str]) -> list[str]:
    """Paths relative to `root`, with forward slashes, sorted; every file that is not hidden counts as an image."""
    paths = []
    for folder in (f"{part}/{label}" for part in ("train", "test") for label in classes):
        with os.scandir(root / folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
        if not names:
            raise DataError(f"{str(root / folder)!r} has no images")
        paths += [f"{folder}/{name}" for name in names]
    return sorted(paths)


def _file_sha256(path: Path) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {_one_line(error)}") from error


def _decode(path: Path) -> np.ndarray:
    """One image as uint8, H x W x 3; its size is looked at before its pixels are decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.size == (IMAGE_SIZE, IMAGE_SIZE):
                return np.asarray(image.convert("RGB"))
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's ways to say: no image
        raise DataError(f"cannot read image {str(path)!r}: {_one_line(error)}") from error
    raise DataError(f"image {str(path)!r} is {width}x{height} pixels; every image must be {IMAGE_SIZE}x{IMAGE_SIZE}")


def _map(function: Callable, items: Sequence, title: str, progress: bool, chunk: int = 250) -> list:
    """`function` of every item, in order. Two threads overlap disk and decoder; more only fight for the interpreter."""
    from tqdm import tqdm

    def run(start: int) -> list:
        return [function(item) for item in items[start : start + chunk]]

    results = []
    hidden = None if progress else True  # None: tqdm shows a bar only where stderr is a terminal
    with ThreadPoolExecutor(2) as pool, tqdm(total=len(items), desc=title, disable=hidden, leave=False) as bar:
        for part in pool.map(run, range(0, len(items), chunk)):
            results += part
            bar.update(len(part))
    return results


def _read_cache(place: Path, sha256: str, labels: np.ndarray) -> np.ndarray | None:
    """The decoded images at `place`, or None, with a line on stderr if something is there but cannot be trusted."""
    if not place.exists():
        return None
    try:
        images = np.load(place, allow_pickle=False)
        noted = json.loads(place.with_suffix(".json").read_text())
        if images.dtype != np.uint8 or images.shape != (len(labels), IMAGE_SIZE, IMAGE_SIZE, 3):
            raise ValueError(f"{images.dtype} {images.shape} is not the shape of the data")
        if noted != {"sha256": sha256, "decoded_sha256": _decoded_sha256(images, labels)}:
            raise ValueError("its hash does not match")
        return images
    except (OSError, ValueError, EOFError) as error:
        print(f"note: cache {str(place)!r} is discarded, decoding again: {_one_line(error)}", file=sys.stderr)
        return None


def _write_cache(place: Path, images: np.ndarray, sha256: str, labels: np.ndarray) -> None:
    """Store the images and, beside them, their hash; a failure costs time at the next start, so it is only noted."""
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    noted = {"sha256": sha256, "decoded_sha256": _decoded_sha256(images, labels)}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(place, buffer.getbuffer())
        _write_atomically(place.with_suffix(".json"), json.dumps(noted, indent=1).encode())
    except OSError as error:
        print(f"note: cache {str(place)!r} is not written: {_one_line(error)}", file=sys.stderr)


def _write_atomically(place: Path, content: bytes | memoryview) -> None:
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# Batches on the device


def epoch_seed(seed: int, epoch: int) -> int:
    """63 bits from (seed, epoch): neighbouring seeds and epochs share no random stream."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:8], "big") >> 1


class Batches:
    """Shuffled, randomly cropped and flipped batches of a split, made on its device without a wait for the host.

    A crop is a window of the image's own size in the image padded by `crop_padding` black pixels on each side. The last
    partial batch is dropped: `steps_per_epoch = N // batch_size`. Raises DataError if that is 0 or the padding < 0.
    """

    def __init__(self, split: Split, batch_size: int, crop_padding: int, flip: bool) -> None:
        if not 1 <= batch_size <= len(split):
            raise DataError(f"batch size {batch_size} is not allowed; allowed are 1 to {len(split)} (all images)")
        if crop_padding < 0:
            raise DataError(f"crop padding {crop_padding} is not allowed; allowed are 0 pixels and more")
        self.batch_size, self.crop_padding, self.flip = batch_size, crop_padding, flip
        self.steps_per_epoch = len(split) // batch_size
        self.labels = split.labels
        self.padded = torch.nn.functional.pad(split.images, (0, 0) + (crop_padding,) * 4)
        self.height, self.width = split.images.shape[1:3]

    def epoch(self, seed: int, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield x (uint8, B x 3 x H x W, channels_last) and y (int64, B), fixed by (seed, epoch) and kind of device."""
        order, rows, columns = self.draw(seed, epoch)
        for start in range(0, self.steps_per_epoch * self.batch_size, self.batch_size):
            batch = slice(start, start + self.batch_size)
            index = order[batch]
            x = self.padded[index[:, None, None], rows[batch][:, :, None], columns[batch][:, None, :]]
            yield x.permute(0, 3, 1, 2), self.labels[index]

    def draw(self, seed: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The epoch's order (N), and per place in it the rows (N x H) and columns (N x W) of the padded image."""
        device, count = self.labels.device, len(self.labels)
        generator = torch.Generator(device).manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(count, generator=generator, device=device)
        corner = torch.randint(2 * self.crop_padding + 1, (2, count, 1), generator=generator, device=device)
        across = torch.arange(self.width, device=device).expand(count, -1)
        if self.flip:
            mirrored = torch.randint(2, (count, 1), generator=generator, device=device).bool()
            across = torch.where(mirrored, across.flip(1), across)
        return order, corner[0] + torch.arange(self.height, device=device), corner[1] + across


def evaluation_batches(split: Split, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Yield x (uint8, B x 3 x H x W, channels_last), y (int64, B) and `count`, in order, without augmentation.

    Every batch is full, so that a compiled model sees one shape: the last repeats images; its first `count` are real.
    """
    if batch_size < 1:
        raise DataError(f"batch size {batch_size} is not allowed; allowed are 1 and more")
    for start in range(0, len(split), batch_size):
        index = torch.arange(start, start + batch_size, device=split.labels.device) % len(split)
        yield split.images[index].permute(0, 3, 1, 2), split.labels[index], min(batch_size, len(split) - start)
