"""How commands print: tables, notes, and the progress of runs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.runs.progress import Progress


def print_json(value: object) -> None:
    """The value as indented JSON."""
    print(json.dumps(value, indent=1))


def print_table(rows: Iterable[Sequence[object]], headers: Sequence[str], left: int = 1) -> None:
    """A plain table of texts; the first `left` columns are aligned to the left."""
    from tabulate import tabulate

    alignment = ["left"] * left + ["right"] * (len(headers) - left)
    print(tabulate(rows, headers, disable_numparse=True, colalign=alignment))


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
