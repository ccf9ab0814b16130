"""Values of a record as it stands on disk, whatever it holds: nested keys, finite numbers, conditions of a speed."""

import sys


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    good = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )
    return value if good else None


def percentage(value: object) -> float | None:
    """A number from 0 to 100, or None for anything else."""
    value = number(value)
    return value if value is not None and 0 <= value <= 100 else None


def at(record: object, *path: str) -> object:
    """A nested value, or None where the record lacks it."""
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def condition(record: dict) -> tuple[str, ...]:
    """What two speeds must share to be compared: device, batch size, threads, precision, compile mode, torch version, and
    whether results repeat bit for bit."""
    return (
        str(record.get("device")),
        str(record.get("batch_size")),
        *(
            str(at(record, "environment", key))
            for key in ("threads", "precision", "compile", "torch")
        ),
        "deterministic" if at(record, "environment", "deterministic") else "",
    )
