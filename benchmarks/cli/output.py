"""How commands print: tables, notes, and the progress of runs."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from benchmarks.runs.progress import Progress


_json_stream: TextIO | None = None


def print_any_text() -> None:
    """Print in UTF-8, or in the encoding that PYTHONIOENCODING names, whatever the locale.

    A character that the encoding does not have is printed as an escape such as `\\xe9`.
    """
    encoding = None if os.environ.get("PYTHONIOENCODING") else "utf-8"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's or a test's may be another
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


@contextlib.contextmanager
def json_alone() -> Iterator[None]:
    """Keep stdout for `print_json`; what others print, such as a plugin's model, goes to stderr."""
    global _json_stream
    _json_stream = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _json_stream = None


def print_json(value: object) -> None:
    """The value as indented JSON."""
    print(json.dumps(value, indent=1), file=_json_stream or sys.stdout)


def print_table(rows: Iterable[Sequence[object]], headers: Sequence[str], left: int = 1) -> None:
    """A plain table of texts; the first `left` columns are aligned to the left."""
    from tabulate import tabulate

    alignment = ["left"] * left + ["right"] * (len(headers) - left)
    plain = {"disable_numparse": True, "preserve_whitespace": True}  # names may be indented
    print(tabulate(rows, headers, colalign=alignment, **plain))


def duration(seconds: float) -> str:
    """A time in its usual unit: `45 s`, `12 min`, `1.5 h`, `2.1 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def print_note(text: str) -> None:
    """A note on stderr."""
    print(f"note: {text}", file=sys.stderr)


def print_error(text: str) -> None:
    """An error on stderr, in one line."""
    print(f"error: {text}", file=sys.stderr)


def printed_progress(quiet: bool = False) -> "Progress":
    """Progress of runs and timings: a bar a run on a terminal, a line an epoch elsewhere.

    `quiet`: only notes and errors, for a command that prints JSON.
    """
    from benchmarks.cli.progress import PrintedNotes, PrintedProgress

    return PrintedNotes() if quiet else PrintedProgress()
