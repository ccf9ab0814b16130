"""Values of a record as it stands on disk, whatever it holds."""

import os
import sys
from pathlib import Path
from typing import Any


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= sys.float_info.max else None


def at(record: object, *path: str) -> Any:
    """A nested value, or None where the record lacks it."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def condition(record: dict) -> tuple[str, ...]:
    """What two speeds must share to be compared, as text.

    Device, batch size, threads, precision, compile mode, torch version, and whether results
    repeat bit for bit.
    """
    environment = [
        str(at(record, "environment", key)) for key in ("threads", "precision", "compile", "torch")
    ]
    repeats = "deterministic" if at(record, "environment", "deterministic") else ""
    return str(record.get("device")), str(record.get("batch_size")), *environment, repeats


def without_folder(error: Exception, results_dir: Path) -> str:
    """What an exception says, with paths that begin in the folder of results."""
    return str(error).replace(f"{results_dir}{os.sep}", "")
