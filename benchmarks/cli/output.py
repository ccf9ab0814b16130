"""How commands print: tables, notes, and the progress of runs."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from benchmarks.runs.progress import Progress


_json_stream: TextIO | None = None


class _Unread(io.FileIO):
    """A pipe whose reader may leave, as `head` does: what nobody reads is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """A reader of stdout or stderr that leaves ends neither a run nor a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # a notebook's or a test's, which has no pipe
        stream.flush()
        raw = _Unread(stream.fileno(), "w", closefd=False)
        lines = stream.line_buffering or name == "stderr"
        kept = io.TextIOWrapper(
            io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=lines
        )
        setattr(sys, name, kept)


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
