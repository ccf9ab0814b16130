"""A page in the making: paragraphs and tables, and the files of the tables beside it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.report.tables import Column, csv, latex, markdown
from benchmarks.system.files import write_atomically


class Page:
    """Markdown parts in order; every table is also kept as LaTeX and CSV."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.tables: dict[str, str] = {}
        """By file name, the text of each table as LaTeX and CSV."""

    def add(self, *parts: str) -> None:
        """Add paragraphs; empty ones are left out."""
        self.parts += [part for part in parts if part]

    def table(
        self,
        name: str,
        frame: pd.DataFrame,
        columns: Sequence[Column],
        extra: Sequence[str] = (),
    ) -> None:
        """Add a table; a frame without rows adds nothing. `extra`: columns of the CSV besides."""
        if frame.empty:
            return
        self.parts.append(markdown(frame, columns))
        self.tables[f"{name}.tex"] = latex(frame, columns)
        self.tables[f"{name}.csv"] = csv(frame, columns, extra)

    @property
    def text(self) -> str:
        """The page as Markdown."""
        return "\n\n".join(self.parts) + "\n"

    def write(self, folder: Path) -> Path:
        """Write README.md and tables/ into `folder`, drop tables that are gone; gives the page."""
        for name, text in self.tables.items():
            write_atomically(folder / "tables" / name, text)
        remove_others(folder / "tables", set(self.tables))
        write_atomically(folder / "README.md", self.text)
        return folder / "README.md"


def remove_others(folder: Path, written: set[str]) -> None:
    """Remove files that were not written: a report must depend on the records alone."""
    for path in sorted(folder.glob("*")):
        if path.name not in written:
            path.unlink()
