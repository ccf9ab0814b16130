"""What follows from the rows of one recipe: Pareto fronts, and whether the hypernetwork is worth its parameters.

A verdict is yes or no where the 95 % t-interval of the paired difference in test error excludes 0, else undecided, and not
measured without a rival; the rival is the one with the lowest validation error, so that the test set chooses nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.records.fields import number
from benchmarks.report.summary import Estimate, Group, Row, Speeds, paired_difference

SAME_SIZE = 1.03
"""How much larger than the hypernetwork another kernel source may be: budgets are met within 3 %."""


@dataclass(frozen=True)
class Axis:
    """A cost to hold the error against. `key` is the mark of its front in the table."""

    key: str
    label: str
    title: str
    more_is_better: bool = False


AXES = {
    "parameters": Axis("P", "trainable parameters", "parameters"),
    "macs": Axis("M", "MACs per image", "MACs per image"),
    "throughput": Axis("T", "training images/s", "throughput", more_is_better=True),
}


def cost(row: Row, axis: str, speeds: Speeds) -> float | None:
    """What a row costs on an axis, if it is known and positive."""
    value = {
        "parameters": number(row.first("params")),
        "macs": number(row.first("macs_per_image")),
        "throughput": speeds.training(row),
    }[axis]
    return value if value and value > 0 else None


@dataclass(frozen=True)
class Front:
    """The models that no other dominates (as cheap, as low in error, one of both better) by their means, cheapest first.

    `perhaps`: those that others dominate, but none by more than the interval of their paired difference.
    """

    members: list[str]
    perhaps: list[str]


def pareto(group: Group, axis: str, speeds: Speeds) -> Front:
    """The front of mean test error against one cost; there is none of fewer than two rows whose cost is known."""
    sign = -1 if AXES[axis].more_is_better else 1
    known = [
        (sign * value, row)
        for row in group.rows
        if row.mean is not None and (value := cost(row, axis, speeds))
    ]
    if len(known) < 2:
        return Front([], [])
    members, perhaps = [], []
    for price, row in sorted(known, key=lambda entry: (entry[0], entry[1].mean, entry[1].model)):
        here = price, row.mean
        above = [
            other
            for there, other in known
            if there <= price and other.mean <= row.mean and (there, other.mean) != here
        ]
        if not above:
            members.append(row.model)
        elif all(includes_zero(paired_difference(row, other)) for other in above):
            perhaps.append(row.model)
    return Front(members, perhaps)


def includes_zero(difference: Estimate | None) -> bool:
    """Whether an interval is known and has 0 in it."""
    return (
        difference is not None
        and difference.low is not None
        and difference.low <= 0 <= difference.high
    )


@dataclass(frozen=True)
class Verdict:
    """The answer to "is `row` better than the best of `rivals`": `yes`, `no`, `undecided` or `not measured`.

    `rival` is None where there is none to compare with; `difference` is the test error minus the rival's.
    """

    row: Row
    question: str
    rivals: int
    rival: Row | None
    difference: Estimate | None

    @property
    def answer(self) -> str:
        if self.rival is None:
            return "not measured"
        if self.difference is None or self.difference.low is None or includes_zero(self.difference):
            return "undecided"
        return "yes" if self.difference.mean < 0 else "no"


def family(row: Row) -> str:
    return row.model.split("_resnet")[0] if "_resnet" in row.model else ""


def is_plain(row: Row) -> bool:
    """A network whose kernels are neither generated nor shared: one without a pair, or of separable convolutions."""
    return row.pair is None or family(row) == "separable"


def _at_most(key: str, row: Row, other: Row, times: float = 1.0) -> bool:
    own, there = number(row.first(key)), number(other.first(key))
    return own is not None and there is not None and there <= times * own


QUESTIONS: dict[str, Callable[[Row, Row], bool]] = {
    "the best plain network of at most its parameters": lambda row, other: (
        is_plain(other) and _at_most("params", row, other)
    ),
    "the best plain network of at most its MACs per image": lambda row, other: (
        is_plain(other) and _at_most("macs_per_image", row, other)
    ),
    "the template bank on its backbone, of at most its parameters (within 3 %)": lambda row, other: (
        family(other) == "template"
        and other.pair == row.pair
        and _at_most("params", row, other, SAME_SIZE)
    ),
    "the best other kernel source on its backbone, of at most its parameters (within 3 %)": lambda row, other: (
        not is_plain(other)
        and family(other) != "hyper"
        and other.pair == row.pair
        and _at_most("params", row, other, SAME_SIZE)
    ),
}
"""Which rows are rivals of a hypernetwork, by what is asked."""


def verdicts(group: Group) -> list[Verdict]:
    """The answers for every hypernetwork that was trained."""
    found = []
    for row in group.rows:
        if family(row) != "hyper" or "_frozen_" in row.model or row.mean is None:
            continue  # a hypernetwork with a frozen part is a control, not a claim
        for question, is_rival in QUESTIONS.items():
            rivals = [
                other
                for other in group.rows
                if other is not row and other.validation is not None and is_rival(row, other)
            ]
            best = min(rivals, key=lambda other: (other.validation, other.model), default=None)
            found.append(Verdict(row, question, len(rivals), best, paired_difference(row, best)))
    return found
