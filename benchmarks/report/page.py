"""A page in the making: paragraphs and tables, and the files of the tables beside it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.report.tables import Column, csv, latex, markdown
from benchmarks.system.files import write_atomically

GENERATED = ("figures", "recipes", "tables")
"""Folders of a report: a report depends on the records alone."""


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


def write_folder(folder: Path, pages: dict[str, Page], others: Iterable[Path]) -> None:
    """Write pages by their file's name, their tables into tables/, and drop what is gone.

    Nothing else may be in GENERATED; `others` are files there that are written otherwise.
    """
    texts = {folder / name: page.text for name, page in pages.items()}
    for page in pages.values():
        texts |= {folder / "tables" / name: text for name, text in page.tables.items()}
    for path, text in texts.items():
        write_atomically(path, text)
    written = {*texts, *others}
    for name in GENERATED:
        for path in sorted((folder / name).glob("*")):
            if path not in written:
                path.unlink()
