"""The section of a report that holds what was measured against the paper's table, and says what is still open."""

from collections.abc import Iterable

from benchmarks.records.fields import at, number
from benchmarks.report.recipe_tables import (
    difference_cells,
    error_cell,
    optimizer_text,
    recipe_name,
)
from benchmarks.report.summary import PAPER_ORDER, Estimate, Group, paired_difference
from benchmarks.report.tables import BLANK, Name, Number, Part, Table, code, escape
from benchmarks.training.recipes import RECIPES

CIFAR10 = ("cifar10", "cifar10-jpeg")
PAIRS = tuple(zip(PAPER_ORDER[::2], PAPER_ORDER[1::2], strict=True))
"""(plain, hyper), as the paper's table has them."""
FULL = {"fast": 3, "paper": 1}
"""The recipes that train to the end, which the paper's errors are to be held against, and the seeds wanted of each."""


def paper_sections(
    dataset: str, groups: list[Group], published: dict[str, dict], speeds: Iterable[dict]
) -> list[Part]:
    """What the records say of the paper's rows, pair by pair; nothing for other data than CIFAR-10's."""
    if dataset not in CIFAR10 or not published:
        return []
    table = gap_table(groups, published)
    parts: list[Part] = ["## Against the paper's table"]
    if table.rows:
        shown = [(group, pair) for group in groups for pair in PAIRS if _has(group, pair)]
        sentences = [
            f"- {code(pair[1])}, recipe {escape(recipe_name(group, groups))}: "
            + gap_text(gap(group, *pair), published_gap(*pair, published))
            for group, pair in shown
        ]
        parts += [_note(dataset), table, "\n".join(sentences)]
    still = still_open(dataset, groups, list(speeds))
    return [
        *parts,
        "Still open:\n\n" + "\n".join(f"- {line}" for line in still)
        if still
        else "Nothing is open.",
    ]


def _note(dataset: str) -> str:
    if dataset == "cifar10":
        return "Errors in percent, of the last epoch; gaps are hyper minus plain, in points, paired over the seeds that both have."
    return (
        "The images are not the paper's, so that errors do not compare with its own. Gaps (hyper minus plain, in points, paired "
        f"over the seeds that both have) compare as far as training does: the paper's rows had {_length('paper')}, and their "
        "hypernetworks Adam. Wider or narrower is a gap whose interval excludes the paper's, else it is undecided."
    )


def _has(group: Group, pair: tuple[str, str]) -> bool:
    return any(_mean(group, name) is not None for name in pair)


def _mean(group: Group, name: str) -> float | None:
    row = group.row(name)
    return row.mean if row else None


def gap(group: Group, plain: str, hyper: str) -> Estimate | None:
    row = group.row(hyper)
    return paired_difference(row, group.row(plain)) if row else None


def published_gap(plain: str, hyper: str, published: dict[str, dict]) -> float | None:
    errors = [number(at(published.get(name), "test_error")) for name in (hyper, plain)]
    return None if None in errors else errors[0] - errors[1]


def gap_table(groups: list[Group], published: dict[str, dict]) -> Table:
    """A row a pair and recipe that was trained."""
    rows = []
    for plain, hyper in PAIRS:
        for group in groups:
            if not _has(group, (plain, hyper)):
                continue
            rows.append(
                [
                    Name(hyper),
                    recipe_name(group, groups),
                    *(
                        error_cell(row) if (row := group.row(name)) else BLANK
                        for name in (plain, hyper)
                    ),
                    *difference_cells(gap(group, plain, hyper)),
                    Number(published_gap(plain, hyper, published), "+.2f"),
                    *(
                        Number(row and row.first("recipe", "steps"))
                        for row in map(group.row, (plain, hyper))
                    ),
                    optimizer_text(row) if (row := group.row(hyper)) else BLANK,
                ]
            )
    headers = [
        "pair of",
        "recipe",
        "plain, test error",
        "hyper, test error",
        "gap [95 % t-interval]",
        "shared seeds",
        "published gap (CIFAR-10)",
        "plain, steps",
        "hyper, steps",
        "hyper, optimizer",
    ]
    return Table("paper-gaps", headers, rows, left=2)


def gap_text(found: Estimate | None, printed: float | None) -> str:
    """How a measured gap lies to the published one, in the words of the report's verdicts."""
    if found is None:
        return "no seed of both members has ended well, so that there is no gap yet."
    if printed is None:
        return f"{found.mean:+.2f} points; no gap is published."
    text = f"{found.mean:+.2f} points against {printed:+.2f} in the paper"
    if found.low is None:
        return f"{text}, of one seed: **undecided**."
    if found.low <= printed <= found.high:
        return f"{text}, which the interval includes: **undecided**."
    return f"{text}: **{'wider' if found.mean > printed else 'narrower'}**."


def still_open(dataset: str, groups: list[Group], speeds: list[dict]) -> list[str]:
    """What a reader of the paper's table would still want measured, from what has no record."""
    lines = []
    if dataset != "cifar10":
        lines.append(
            "The canonical CIFAR-10: without it no error here compares with a published one."
        )
    if missing := [
        name for name in PAPER_ORDER if all(_mean(group, name) is None for group in groups)
    ]:
        lines.append(f"Rows without a run that ended well: {', '.join(map(code, missing))}.")
    lines += [
        _recipe_line(recipe, wanted, [g for g in groups if g.recipe == recipe])
        for recipe, wanted in FULL.items()
    ]
    timed = {r.get("model") for r in speeds if at(r, "environment", "device_type") == "cuda"}
    if missing := [name for name in PAPER_ORDER if name not in timed]:
        lines.append(f"Rows that were never timed on a GPU: {', '.join(map(code, missing))}.")
    return [line for line in lines if line]


def _recipe_line(recipe: str, wanted: int, groups: list[Group]) -> str:
    """Which rows want seeds of a recipe that trains to the end; of two hashes, the one with more of them counts."""
    counts = {
        name: max((len(row.errors) for g in groups if (row := g.row(name))), default=0)
        for name in PAPER_ORDER
    }
    wanting = [f"{code(name)} {n}" for name, n in counts.items() if n < wanted]
    if not any(counts.values()):
        return f"Recipe {code(recipe)} ({_length(recipe)}): no run that ended well."
    return (
        f"Recipe {code(recipe)}: fewer seeds than {wanted} of {', '.join(wanting)}."
        if wanting
        else ""
    )


def _length(recipe: str) -> str:
    blocks = [RECIPES[recipe].block(kind).steps for kind in ("stored", "generated")]
    return (
        "{:,} and {:,} steps".format(*blocks)
        if None not in blocks
        else f"{RECIPES[recipe].epochs} epochs"
    )
