"""DataFrames as Markdown, LaTeX (booktabs) and CSV; text from records made harmless.

What is shown of a frame is a list of `Column`s. The CSV has the columns of the frame that these
are made of: names as they are, numbers unrounded.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

from benchmarks.records.store import NAME
from benchmarks.training.recipes import rules

BLANK = "–"


@dataclass(frozen=True)
class Column:
    """A heading, and the columns of a frame that a cell is made of.

    `value` alone is text, in code style if `name`; with a format `form` it is a number, and
    then `std` and `n` (mean ± deviation over n seeds) or `low` and `high` (its interval) may stand
    beside it. `marks` are footnotes after it.
    """

    heading: str
    value: str
    form: str | None = None
    unit: str = ""
    std: str | None = None
    n: str | None = None
    low: str | None = None
    high: str | None = None
    marks: str | None = None
    name: bool = False

    @property
    def align(self) -> str:
        """Text to the left, numbers to the right."""
        return "left" if self.form is None else "right"

    def number(self, row: Mapping) -> str:
        """The cell of a number."""
        if pd.isna(row[self.value]):
            return BLANK
        text = show(row[self.value], self.form or "")
        if self.std and not pd.isna(row[self.std]):
            text += f" ± {show(row[self.std], self.form or '')}"
        text += self.unit
        if self.n:
            text += f" (n = {row[self.n]})"
        if self.low and self.high and not pd.isna(row[self.low]):
            low, high = show(row[self.low], self.form or ""), show(row[self.high], self.form or "")
            text += f" [{low}, {high}]"
        return text

    def plain(self, row: Mapping) -> str:
        """The cell as plain text."""
        if self.form is not None:
            text = self.number(row)
        else:
            text = BLANK if pd.isna(row[self.value]) else flat(row[self.value])
        return text + self._marks(row)

    def markdown(self, row: Mapping) -> str:
        """The cell as Markdown."""
        if self.form is not None or pd.isna(row[self.value]):
            return self.plain(row)
        text = code(row[self.value]) if self.name else escape(row[self.value])
        return text + self._marks(row)

    def _marks(self, row: Mapping) -> str:
        return f" {row[self.marks]}" if self.marks and row[self.marks] else ""


def markdown(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """A pipe table."""
    rows = frame.to_dict("records")
    cells = [[column.markdown(row) for column in columns] for row in rows]
    return _tabulate(cells, columns, "pipe")


def latex(frame: pd.DataFrame, columns: Sequence[Column]) -> str:
    """A tabular with the rules of booktabs, its text escaped by tabulate."""
    rows = frame.to_dict("records")
    cells = [[column.plain(row) for column in columns] for row in rows]
    return _tabulate(cells, columns, "latex_booktabs") + "\n"


def _tabulate(cells: list[list[str]], columns: Sequence[Column], form: str) -> str:
    headings = [column.heading for column in columns]
    align = [column.align for column in columns]
    return tabulate(cells, headings, tablefmt=form, disable_numparse=True, colalign=align)


def csv(frame: pd.DataFrame, columns: Sequence[Column], extra: Sequence[str] = ()) -> str:
    """What the columns are made of, as the frame has it, and `extra` columns; unknown is empty."""
    names: list[str] = []
    for column in columns:
        parts = (column.value, column.std, column.n, column.low, column.high)
        names += [part for part in parts if part is not None]
    names = list(dict.fromkeys([*names, *extra]))
    return frame[names].to_csv(index=False, lineterminator="\n")


def filled(frame: pd.DataFrame, columns: Sequence[Column]) -> list[Column]:
    """The columns that have a value in some row."""
    return [column for column in columns if frame[column.value].notna().any()]


def flat(text: object) -> str:
    """Text on one line."""
    return " ".join(str(text).split())


def escape(text: object) -> str:
    """Text from a record, harmless in a Markdown table and in HTML.

    An underscore between letters is no markup.
    """
    return re.sub(r"([\\`*\[\]<>&|~$]|(?<!\w)_|_(?!\w))", r"\\\1", flat(text))


def known(value: object) -> str:
    """A value from a record as text, or "unknown"."""
    return "unknown" if pd.isna(value) or value == "" else escape(value)


def code(text: object) -> str:
    """A name from a record: in code style if it is harmless there, else escaped."""
    return f"`{text}`" if NAME.fullmatch(str(text)) else escape(text)


def codes(names: Sequence[str]) -> str:
    """Names in code style, with commas."""
    return ", ".join(code(name) for name in names)


def show(value: float | None, form: str = ",.0f", unit: str = "") -> str:
    """A number in a format, or the blank."""
    return BLANK if value is None or pd.isna(value) else f"{value:{form}}{unit}"


def rates_text(block: dict) -> str:
    """The optimizers and learning rates of a recipe's block, as a record has it."""
    texts = []
    for part, rule in rules(block).items():
        name = "" if part == "block" else f"{part} "
        texts.append(f"{name}{rule['optimizer']} {rule['learning_rate']:g}")
    return ", ".join(texts)


def optimizer_text(recipe: dict, block: str | None) -> str | None:
    """The optimizer of a block with its rates and L2; None for records that name no block."""
    if block is None or pd.isna(block):
        return None
    scaled = "scaled " if block == "scaled" else ""
    return f"{scaled}{rates_text(recipe[block])}, L2 {recipe[block]['l2']:g}"
