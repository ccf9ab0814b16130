"""Files that are whole or not there: temporary file, fsync, rename, fsync of the folder."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from benchmarks.system.faults import described


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, whatever the locale; a byte-order mark is left out.

    Raises:
        OSError: if there is no such file or it cannot be read.
        ValueError: if it is not UTF-8.
    """
    return path.read_text(encoding="utf-8-sig")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old or the new one, whenever the process dies.

    Text is written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock in the file `path`, which is made; waits for whoever holds it.

    Raises:
        OSError: where it cannot be made, or the file system has no locks.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise OSError(f"{path.parent} cannot be locked: {described(error)}") from None
    try:
        yield
    finally:
        lock.release()


def refuse_unwritable(folder: Path) -> None:
    """Make the folder, and try whether files can be made in it.

    Raises:
        OSError: if they cannot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def keep_previous(path: Path, place: Path) -> None:
    """Keep the file at `path` at `place` too. At every moment there is a file at `path`."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        link = Path(folder) / "previous"
        try:
            os.link(path, link)
        except OSError:  # a file system without links
            shutil.copyfile(path, link)
        os.replace(link, place)
    _sync_folder(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove what a killed writer of `path` left behind. Only the holder of the run's lock may."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
