"""`folder:PATH`: images in train/CLASS/IMAGE and test/CLASS/IMAGE.

They are decoded once and cached without pickles.
"""

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.data.splits import (
    IMAGE_SIZE,
    DataError,
    DataSet,
    assemble,
    decoded_sha256,
    hold_out,
    listing_sha256,
    one_line,
)


def load_folder(name: str, root: Path, cache: Path, progress: bool) -> DataSet:
    """The data set of a folder, under `name`.

    Decoded images are kept in `cache`; `progress` shows bars. Raises DataError where classes or
    images are missing, or an image cannot be decoded.
    """
    classes = _class_names(root)
    paths = _image_paths(root, classes)
    digests = _map(lambda path: _file_sha256(root / path), paths, f"{name}: hash", progress)
    sha256 = listing_sha256(paths, digests)
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[path.split("/")[1]] for path in paths], dtype=np.int64)
    place = cache / f"{name}-{sha256[:16]}.npy"
    images = _read_cache(place, sha256, labels)
    if images is None:
        images = np.stack(
            _map(lambda path: _decode(root / path), paths, f"{name}: decode", progress)
        )
        _write_cache(place, images, sha256, labels)
    is_test = np.array([path.startswith("test/") for path in paths])
    parts = (*hold_out(np.flatnonzero(~is_test)), np.flatnonzero(is_test))
    # The bare names are reserved, but a folder such as svhn-png holds the same digits, and a
    # mirrored one is no digit.
    flip = not name.lower().startswith(("digits", "svhn"))
    return assemble(name, images, labels, parts, sha256, len(classes), flip)


def _class_names(root: Path) -> list[str]:
    """The sorted names of the folders in train/, which must be those in test/."""
    found = []
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise DataError(
                f"{str(root / part)!r} is missing; needed are train/CLASS/IMAGE and "
                "test/CLASS/IMAGE"
            )
        found.append(
            {
                entry.name
                for entry in os.scandir(root / part)
                if entry.is_dir() and entry.name[0] != "."
            }
        )
    train, test = found
    if train != test:
        raise DataError(f"train and test in {str(root)!r} differ in class {min(train ^ test)!r}")
    if len(train) < 2:
        raise DataError(
            f"{str(root / 'train')!r} has {len(train)} class folders; at least 2 are needed"
        )
    return sorted(train)


def _image_paths(root: Path, classes: list[str]) -> list[str]:
    """Paths relative to `root`, with forward slashes, sorted.

    Every file that is not hidden counts as an image.
    """
    paths = []
    folders = [f"train/{label}" for label in classes] + [f"test/{label}" for label in classes]
    for folder in folders:
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
        raise DataError(f"cannot read {str(path)!r}: {one_line(error)}") from error


def _decode(path: Path) -> np.ndarray:
    """One image as uint8, H x W x 3; its size is looked at before its pixels are decoded."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.size == (IMAGE_SIZE, IMAGE_SIZE):
                return np.asarray(image.convert("RGB"))
            width, height = image.size
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # Pillow's ways to say: no image
        raise DataError(f"cannot read image {str(path)!r}: {one_line(error)}") from error
    raise DataError(
        f"image {str(path)!r} is {width}x{height} pixels; every image must be "
        f"{IMAGE_SIZE}x{IMAGE_SIZE}"
    )


def _map(function: Callable, items: Sequence, title: str, progress: bool, chunk: int = 250) -> list:
    """`function` of every item, in order.

    Two threads overlap disk and decoder; more only fight for the interpreter.
    """
    from tqdm import tqdm

    def run(start: int) -> list:
        return [function(item) for item in items[start : start + chunk]]

    results = []
    hidden = None if progress else True  # None: tqdm shows a bar only where stderr is a terminal
    with (
        ThreadPoolExecutor(2) as pool,
        tqdm(total=len(items), desc=title, disable=hidden, leave=False) as bar,
    ):
        for part in pool.map(run, range(0, len(items), chunk)):
            results += part
            bar.update(len(part))
    return results


def _read_cache(place: Path, sha256: str, labels: np.ndarray) -> np.ndarray | None:
    """The decoded images at `place`, or None, with a line on stderr if something is there but
    cannot be trusted.
    """
    if not place.exists():
        return None
    try:
        images = np.load(place, allow_pickle=False)
        noted = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
        if images.dtype != np.uint8 or images.shape != (len(labels), IMAGE_SIZE, IMAGE_SIZE, 3):
            raise ValueError(f"{images.dtype} {images.shape} is not the shape of the data")
        if noted != {"sha256": sha256, "decoded_sha256": decoded_sha256(images, labels)}:
            raise ValueError("its hash does not match")
        return images
    except (OSError, ValueError, EOFError) as error:
        print(
            f"note: cache {str(place)!r} is discarded, decoding again: {one_line(error)}",
            file=sys.stderr,
        )
        return None


def _write_cache(place: Path, images: np.ndarray, sha256: str, labels: np.ndarray) -> None:
    """Store the images and, beside them, their hash.

    A failure costs time at the next start, so it is only noted.
    """
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    noted = {"sha256": sha256, "decoded_sha256": decoded_sha256(images, labels)}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(place, buffer.getbuffer())
        _write_atomically(place.with_suffix(".json"), json.dumps(noted, indent=1).encode("utf-8"))
    except OSError as error:
        print(f"note: cache {str(place)!r} is not written: {one_line(error)}", file=sys.stderr)


def _write_atomically(place: Path, content: bytes | memoryview) -> None:
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
