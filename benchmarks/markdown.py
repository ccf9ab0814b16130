"""Text that a report is made of: harmless cells, numbers in a format, tables."""

from tabulate import tabulate

from benchmarks import records
from benchmarks.summary import number

BLANK = "–"


def escape(text: object) -> str:
    """Text from a record, harmless in a Markdown table and in HTML."""
    flat = " ".join(str(text).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;"), ("[", "&#91;"),
                              ("*", "&#42;"), ("_", "&#95;"), ("!", "&#33;")):  # fmt: skip
        flat = flat.replace(character, entity)
    return flat


def code(text: object) -> str:
    """A name from a record: in code style if it is harmless there, else escaped."""
    return f"`{text}`" if records.NAME.fullmatch(str(text)) else escape(text)


def show(value: object, form: str = ",.0f", unit: str = "") -> str:
    """A number in a format, or the blank."""
    value = number(value)
    return BLANK if value is None else f"{value:{form}}{unit}"


def table(headers: list[str], rows: list[list[str]], left: int = 1) -> str:
    align = ("left",) * left + ("right",) * (len(headers) - left)
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align) if rows else ""


def ratio(value: object, base: object) -> str:
    value, base = number(value), number(base)
    return BLANK if value is None or not base else f"{value / base:.3f}"
