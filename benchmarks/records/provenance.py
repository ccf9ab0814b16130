"""Provenance: which code made a number."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("models", "benchmarks", "run_bench.py")
"""The code that makes a number, under ROOT."""


def source_sha256(root: Path = ROOT) -> str:
    """Hash of the code that makes a number: the relative paths and bytes of SOURCES."""
    digest = hashlib.sha256()
    for name in SOURCES:
        place = root / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@cache
def own_sha256() -> str:
    """The hash of the code as it was when this process first asked, which is what it runs."""
    return source_sha256()


def code() -> dict:
    """Commit, dirty flag and source hash; the first two are null where no commit has this code.

    That is where there is no git, and where the suite is installed inside another project's
    repository. Changes in SOURCES alone make a tree dirty: a plugin has a hash of its own.
    """
    commit = status = None
    if _git("ls-files", "--error-unmatch", "--", *SOURCES) is not None:
        commit = _git("rev-parse", "HEAD")
        status = _git("status", "--porcelain", "--", *SOURCES)
    return {
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "source_sha256": own_sha256(),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",  # names of files, which are not used
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
