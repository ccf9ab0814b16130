"""`folder:PATH`: images in train/CLASS/IMAGE and test/CLASS/IMAGE.

They are decoded once and cached without pickles.
"""

import hashlib
import io
import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks.data import images
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

LEFT_BEHIND = frozenset(
    (
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        "icon\uf00d",  # the same, as SMB has it
        "@eadir",
        "@tmp",
        "@recycle",
        "#recycle",
        "#snapshot",
        "__macosx",
        "$recycle.bin",
        "system volume information",
        "recycler",
        "network trash folder",
        "temporary items",
        "lost+found",
    )
)
"""What operating systems leave in folders, in lower case; besides all that is hidden (".")."""
STREAMS = (":zone.identifier", ":encryptable", "@synoeastream", "@synoresource")
"""Ends of names, in lower case: streams of Windows and of network storage, copied as files."""


def load_folder(name: str, root: Path, cache: Path, progress: bool) -> DataSet:
    """The data set of a folder, under `name`. Its images may be mirrored.

    Decoded images are kept in `cache`; `progress` shows bars. Raises DataError where classes or
    images are missing, or an image cannot be decoded.
    """
    classes = _classes(root)
    paths = sorted(chain.from_iterable(classes.values()))
    digests = _map(lambda path: _file_sha256(root / path), paths, f"{name}: hash", progress)
    sha256 = listing_sha256(paths, digests)
    number: dict[str, int] = {}
    labelled = tuple(sorted(classes))
    for index, label in enumerate(labelled):
        number |= dict.fromkeys(classes[label], index)
    labels = np.array([number[path] for path in paths], dtype=np.int64)
    place = cache / f"{name}-{sha256[:16]}.v{images.VERSION}.npy"
    pixels = _read_cache(place, sha256, labels)
    if pixels is None:
        pixels = _decoded(root, paths, f"{name}: decode", progress)
        _write_cache(place, pixels, sha256, labels)
    is_test = np.array([path.startswith("test/") for path in paths])
    parts = (*hold_out(np.flatnonzero(~is_test)), np.flatnonzero(is_test))
    return assemble(name, pixels, labels, parts, sha256, len(classes), flip=True, outputs=labelled)


def _decoded(root: Path, paths: list[str], title: str, progress: bool) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of palettes and metadata
        found = _map(lambda path: images.decode(root / path), paths, title, progress)
    return images.to_bytes(found, [str(root / path) for path in paths])


def class_folders(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The folders of train and of test by class, relative to `root`; no image is looked at.

    Names that differ in their Unicode normal form alone are one class.

    Raises:
        DataError: where there are none, or not the same classes in both.
    """
    train, test = (_class_folders(root, part) for part in ("train", "test"))
    if train.keys() != test.keys():
        name = min(train.keys() ^ test.keys())
        where = "train" if name in train else "test"
        raise DataError(
            f"train and test in {str(root)!r} differ in class {_shown(name)}, which is in {where} "
            "alone"
        )
    if len(train) < 2:
        raise DataError(
            f"{str(root / 'train')!r} has {len(train)} class folders; at least 2 are needed"
        )
    return train, test


def _classes(root: Path) -> dict[str, list[str]]:
    """By class, the paths of its images, relative to `root` with forward slashes."""
    train, test = class_folders(root)
    return {
        name: [*_image_paths(root, train[name]), *_image_paths(root, test[name])] for name in train
    }


def _class_folders(root: Path, part: str) -> dict[str, str]:
    """The folders of a part by the normal form of their name."""
    if not (root / part).is_dir():
        raise DataError(
            f"{str(root / part)!r} is missing; needed are train/CLASS/IMAGE and test/CLASS/IMAGE"
        )
    found: dict[str, str] = {}
    for name in sorted(_names(root / part, folders=True)):
        normal = unicodedata.normalize("NFC", name)
        if normal in found:
            raise DataError(
                f"classes {Path(found[normal]).name!a} and {name!a} in "
                f"{str(root / part)!r} look the same; rename one"
            )
        found[normal] = f"{part}/{name}"
    return found


def _shown(name: str) -> str:
    """A name, with its code points where it is not ASCII: it may look like another."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"


def _names(folder: Path, folders: bool = False) -> list[str]:
    """What lies in a folder, without what is hidden or left behind by an operating system."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if not _is_left_behind(entry.name) and (entry.is_dir() or not folders)
        ]


def _is_left_behind(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_BEHIND or name.lower().endswith(STREAMS)


def _image_paths(root: Path, folder: str) -> list[str]:
    """The paths of the images of a class."""
    names = _names(root / folder)
    if not names:
        raise DataError(f"{str(root / folder)!r} has no images")
    return [f"{folder}/{name}" for name in names]


def _file_sha256(path: Path) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {one_line(error)}") from error


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
        pixels = np.load(place, allow_pickle=False)
        noted = json.loads(place.with_suffix(".json").read_text(encoding="utf-8"))
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), IMAGE_SIZE, IMAGE_SIZE, 3):
            raise ValueError(f"{pixels.dtype} {pixels.shape} is not the shape of the data")
        if noted != {"sha256": sha256, "decoded_sha256": decoded_sha256(pixels, labels)}:
            raise ValueError("its hash does not match")
        return pixels
    except (OSError, ValueError, EOFError) as error:
        print(
            f"note: cache {str(place)!r} is discarded, decoding again: {one_line(error)}",
            file=sys.stderr,
        )
        return None


def _write_cache(place: Path, pixels: np.ndarray, sha256: str, labels: np.ndarray) -> None:
    """Store the images and, beside them, their hash.

    A failure costs time at the next start, so it is only noted.
    """
    buffer = io.BytesIO()
    np.save(buffer, pixels, allow_pickle=False)
    noted = {"sha256": sha256, "decoded_sha256": decoded_sha256(pixels, labels)}
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
