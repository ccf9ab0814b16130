"""Tables and text that a report is made of: harmless cells, numbers in a format; Markdown, LaTeX (booktabs) and CSV."""

import csv
import io
from dataclasses import dataclass

from tabulate import tabulate

from benchmarks.records import store
from benchmarks.records.fields import number
from benchmarks.training.recipes import rules

BLANK = "–"


@dataclass(frozen=True)
class Name:
    """A cell with a name from a record, and a footnote's mark."""

    text: object
    mark: str = ""


@dataclass(frozen=True)
class Number:
    """A cell with a number: shown in a format, in a CSV as it is."""

    value: object
    form: str = ",.0f"
    unit: str = ""

    def __str__(self) -> str:
        return show(self.value, self.form, self.unit)

    def parts(self) -> dict[str, object]:
        """The numbers by what a CSV adds to the column's header."""
        return {"": self.value}


@dataclass(frozen=True)
class Interval(Number):
    """A number with the ends of its interval."""

    low: object = None
    high: object = None

    def __str__(self) -> str:
        if number(self.value) is None or number(self.low) is None:
            return super().__str__()
        return f"{super().__str__()} [{show(self.low, self.form)}, {show(self.high, self.form)}]"

    def parts(self) -> dict[str, object]:
        return {"": self.value, ", low": self.low, ", high": self.high}


@dataclass(frozen=True)
class Spread(Number):
    """A mean with the standard deviation and the number of what it is of."""

    deviation: object = None
    n: int = 0

    def __str__(self) -> str:
        spread = "" if number(self.deviation) is None else f" ± {show(self.deviation, self.form)}"
        return (
            f"{show(self.value, self.form)}{spread}{self.unit} (n = {self.n})"
            if number(self.value) is not None
            else BLANK
        )

    def parts(self) -> dict[str, object]:
        return {"": self.value, ", standard deviation": self.deviation, ", n": self.n}


Cell = Name | Number | object
"""Anything else is text, escaped where it is shown."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headers, the first `left` columns aligned left; `name` is that of its files."""

    name: str
    headers: list[str]
    rows: list[list[Cell]]
    left: int = 1

    def markdown(self) -> str:
        cells = [[_markdown(cell) for cell in row] for row in self.rows]
        return (
            tabulate(
                cells, self.headers, tablefmt="pipe", disable_numparse=True, colalign=self._align()
            )
            if cells
            else ""
        )

    def latex(self) -> str:
        """A tabular with booktabs' rules, its text escaped by tabulate."""
        cells = [[_plain(cell) for cell in row] for row in self.rows]
        return (
            tabulate(
                cells,
                self.headers,
                tablefmt="latex_booktabs",
                disable_numparse=True,
                colalign=self._align(),
            )
            + "\n"
        )

    def csv(self) -> str:
        """A column for each number, unrounded; what is not known is empty."""
        columns = []
        for header, cells in zip(self.headers, zip(*self.rows, strict=True), strict=True):
            parts = [_parts(cell) for cell in cells]
            columns += [
                (header + key, [part.get(key, "") for part in parts]) for key in max(parts, key=len)
            ]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header for header, _ in columns)
        writer.writerows(zip(*(values for _, values in columns), strict=True))
        return out.getvalue()

    def without_blank_columns(self, first: int) -> "Table":
        """The table without the columns, from `first` on, in which there is nothing."""
        kept = [
            i
            for i in range(len(self.headers))
            if i < first or any(_plain(row[i]) != BLANK for row in self.rows)
        ]
        return Table(
            self.name,
            [self.headers[i] for i in kept],
            [[row[i] for i in kept] for row in self.rows],
            self.left,
        )

    def _align(self) -> tuple[str, ...]:
        return ("left",) * self.left + ("right",) * (len(self.headers) - self.left)


Part = str | Table
"""What a page is made of: paragraphs and tables."""


def _plain(cell: Cell) -> str:
    return " ".join((f"{cell.text}{cell.mark}" if isinstance(cell, Name) else str(cell)).split())


def _markdown(cell: Cell) -> str:
    if isinstance(cell, Name):
        return code(cell.text) + cell.mark
    return str(cell) if isinstance(cell, Number) else escape(cell)


def _parts(cell: Cell) -> dict[str, object]:
    if isinstance(cell, Number):
        return {key: "" if number(value) is None else value for key, value in cell.parts().items()}
    text = _plain(cell)
    return {"": "" if text == BLANK else text}


def escape(text: object) -> str:
    """Text from a record, harmless in a Markdown table and in HTML."""
    flat = " ".join(str(text).split())
    for character, entity in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "&#124;"),
        ("`", "&#96;"),
        ("[", "&#91;"),
        ("*", "&#42;"),
        ("_", "&#95;"),
        ("!", "&#33;"),
    ):
        flat = flat.replace(character, entity)
    return flat


def code(text: object) -> str:
    """A name from a record: in code style if it is harmless there, else escaped."""
    return f"`{text}`" if store.NAME.fullmatch(str(text)) else escape(text)


def show(value: object, form: str = ",.0f", unit: str = "") -> str:
    """A number in a format, or the blank."""
    value = number(value)
    return BLANK if value is None else f"{value:{form}}{unit}"


def block_text(block: dict) -> str:
    """An optimizer and its learning rate, as a record has them, and those of parts with rules of their own."""
    return ", ".join(
        f"{part}{escape(rule.get('optimizer'))} {show(rule.get('learning_rate'), 'g')}"
        for part, rule in rules(block).items()
    )


def ratio(value: object, base: object) -> Number:
    value, base = number(value), number(base)
    return Number(None if value is None or not base else value / base, ".3f")
