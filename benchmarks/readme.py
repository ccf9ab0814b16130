"""The README's table: the rows of the paper, published and measured, between two marks."""

from pathlib import Path

from benchmarks import listing, records
from benchmarks.files import write_atomically
from benchmarks.summary import PAPER_ORDER, Group, at, number, summarize
from benchmarks.tables import BLANK, Name, Number, Spread, Table
from models import registry

BEGIN = "<!-- The table is written by `python run_bench.py report --readme README.md`. -->"
END = "<!-- End of the table. -->"
DATASETS = ("cifar10", "cifar10-jpeg")
"""Whose errors are shown: of the first that has any."""


class PageError(ValueError):
    """A page without the marks; the message is one line for the user."""


def measured(results_dir: Path) -> tuple[str, Group] | None:
    """The data set, and its recipe that has most of the paper's rows (ties: the longest, then the first by name)."""
    for dataset in DATASETS:
        groups = summarize(records.load_all(results_dir, dataset)[0])
        counts = {id(group): sum(row.mean is not None and row.model in PAPER_ORDER for row in group.rows) for group in groups}
        best = max(groups, key=lambda group: (counts[id(group)], _steps(group)), default=None)
        if best is not None and counts[id(best)]:
            return dataset, best
    return None


def _all_steps(group: Group) -> list[int]:
    return [steps for row in group.rows for r in row.records if (steps := number(at(r, "recipe", "steps")))]


def _steps(group: Group) -> int:
    return max(_all_steps(group), default=0)


def note(found: tuple[str, Group]) -> str:
    """How long the measured rows were trained, and what their errors compare with."""
    dataset, group = found
    steps = " to ".join(f"{count:,}" for count in dict.fromkeys((min(_all_steps(group)), _steps(group))))
    told = f"Measured errors are those after {steps} steps"
    if dataset == "cifar10":
        return f"{told}."
    return f"{told}, on CIFAR-10 re-encoded as JPEG: they compare with each other, not with the\npublished ones."


def table(results_dir: Path) -> Table:
    """Published and measured errors of the paper's rows, exact parameters and MACs."""
    found = measured(results_dir)
    published, rows = records.load_published(results_dir), []
    for name in PAPER_ORDER:
        listed, printed = listing.listed(registry.get(name)), published[name]
        row = found[1].row(name) if found else None
        result = row.estimate if row else None
        rows.append([
            Name(name),
            Number(printed["test_error"], ".2f", " %"),
            Spread(result.mean, ".2f", " %", result.deviation, result.n) if result else BLANK,
            Number(listed["params"]),
            Number(printed["params"] / 1e6, ".3f", " M"),
            Number(listed["macs_per_image"]),
            Number(listed["generator_macs"]),
        ])  # fmt: skip
    where = f"{found[0]}, recipe {found[1].recipe}" if found else "not yet"
    headers = ["model", "published error", f"measured error ({where})", "parameters", "published parameters", "MACs per image",
               "generator MACs per pass"]  # fmt: skip
    return Table("paper", headers, rows)


def write(results_dir: Path, page: Path) -> None:
    """Replace what stands between the marks of a page by the table and, where something was measured, its note.

    Raises:
        PageError: if the page has no such marks.
    """
    text = page.read_text()
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise PageError(f"{page} has no lines {BEGIN!r} and {END!r}")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    found = measured(results_dir)
    parts = [before, table(results_dir).markdown(), *([note(found)] if found else []), after]
    write_atomically(page, "\n\n".join(parts))
