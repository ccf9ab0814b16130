"""What the records of a data set say, as plain numbers: one summary a model and recipe. No torch, no text."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.records.fields import at, condition, number, percentage
from benchmarks.training.recipes import optimizer_names

PAPER_ORDER = ("wide_resnet40_1", "hyper_resnet40_1", "wide_resnet40_2", "hyper_resnet40_2")


def seed_of(record: dict) -> int | str:
    """The seed as a key that sorts and hashes whatever a record holds."""
    seed = record.get("seed")
    return seed if isinstance(seed, int) else str(seed)


@dataclass
class Row:
    """All runs of one model with one recipe; errors in percent by seed, of the runs that ended well."""

    model: str
    pair: str | None
    records: list[dict] = field(default_factory=list)

    @property
    def good(self) -> list[dict]:
        return [
            r
            for r in self.records
            if r.get("status") == "ok" and percentage(r.get("test_error")) is not None
        ]

    @property
    def errors(self) -> dict[int | str, float]:
        return {seed_of(r): r["test_error"] for r in self.good}

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.errors.values()) if self.errors else None

    @property
    def estimate(self) -> "Estimate | None":
        """Test error over seeds."""
        return estimate(self.errors.values())

    @property
    def validation(self) -> float | None:
        """Mean validation error of the runs that ended well."""
        found = [percentage(r.get("val_error")) for r in self.good]
        return statistics.fmean(found) if found and None not in found else None

    def first(self, *path: str) -> object:
        """The value of the first run that has it, good runs first."""
        for record in [*self.good, *self.records]:
            if (value := at(record, *path)) is not None:
                return value
        return None

    @property
    def kind(self) -> str:
        """Which block of the recipe it was trained with."""
        return str(self.first("recipe", "block"))

    @property
    def optimizers(self) -> str | None:
        block = self.first("recipe", self.kind)
        return optimizer_names(self.kind, block) if isinstance(block, dict) else None

    @property
    def mixed(self) -> bool:
        """Whether its good runs differ in device, precision or torch version."""
        return len({setting(r) for r in self.good}) > 1

    @property
    def dirty(self) -> bool:
        return any(at(r, "code", "dirty") is not False for r in self.records)

    @property
    def resumed_changed(self) -> bool:
        """Whether a run went on from a checkpoint of other code, torch, recipe, data or settings."""
        resumed = [
            entry
            for r in self.records
            if isinstance(r.get("resumed"), list)
            for entry in r["resumed"]
        ]
        return any(at(entry, "differing") for entry in resumed)

    def statuses(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for record in self.records:
            status = str(record.get("status"))
            counts[status] = counts.get(status, 0) + 1
        return counts


@dataclass
class Group:
    """The rows of one recipe, by name and hash: results of two hashes are never pooled."""

    recipe: str
    hash: str
    rows: list[Row]

    def row(self, model: str | None) -> Row | None:
        return next((row for row in self.rows if row.model == model), None)


def summarize(records: list[dict]) -> list[Group]:
    """Records grouped by recipe and hash, then by model; pairs adjacent, the paper's rows first."""
    groups: dict[tuple[str, str], dict[str, Row]] = {}
    for record in records:
        key = str(at(record, "recipe", "name")), str(at(record, "recipe", "hash"))
        model, pair = str(record.get("model")), record.get("pair")
        row = groups.setdefault(key, {}).setdefault(
            model, Row(model, pair if isinstance(pair, str) else None)
        )
        row.records.append(record)
    for rows in groups.values():
        for row in rows.values():
            row.records.sort(key=lambda r: (isinstance(seed_of(r), str), seed_of(r)))
    return [Group(*key, sorted(rows.values(), key=_order)) for key, rows in sorted(groups.items())]


def _order(row: Row) -> tuple:
    plain = row.pair or row.model
    place = PAPER_ORDER.index(plain) if plain in PAPER_ORDER else len(PAPER_ORDER)
    return place, plain, row.pair is not None, row.model


CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard deviation (n - 1) and the ends of its t-interval; these None where n is 1."""

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    n: int


def estimate(values: Iterable[float]) -> Estimate | None:
    """Mean ± t(n - 1) s / sqrt(n), two-sided 95 %; None of no values."""
    from scipy.special import stdtrit  # here, so that `list` need not wait for it

    values = list(values)
    if len(values) < 2:
        return Estimate(values[0], None, None, None, 1) if values else None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    half = (
        float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(len(values))
    )
    return Estimate(mean, deviation, mean - half, mean + half, len(values))


def paired_difference(row: Row, other: Row | None) -> Estimate | None:
    """The error minus the other's, over the seeds that both have."""
    if other is None:
        return None
    return estimate(
        row.errors[seed] - other.errors[seed] for seed in row.errors if seed in other.errors
    )


def setting(record: dict) -> tuple[str, ...]:
    """What runs should share to be compared: device, precision, torch version."""
    return tuple(str(at(record, "environment", key)) for key in ("device", "precision", "torch"))


def paired_across(row: Row, other: Row) -> bool:
    """Whether a seed that both have was run by one on another device, precision or torch version than by the other."""
    there = {seed_of(r): setting(r) for r in other.good}
    return any(there.get(seed_of(r), setting(r)) != setting(r) for r in row.good)


def sampling_error(error: float, images: float | None) -> float | None:
    """Standard deviation of an error rate in percent, from `images` test images alone."""
    if percentage(error) is None:
        return None
    p = error / 100
    return 100 * math.sqrt(p * (1 - p) / images) if images and images > 0 else None


UNSAID = {"stored": "sgd", "generated": "adam"}
"""The optimizers of speed records that do not name theirs: they are from before gradients were scaled."""


@dataclass(frozen=True)
class Speeds:
    """Speed records under the one condition that most of the models were timed under (ties: the first).

    `found`: by model and optimizers, None where a record does not name them. `pairs`: the ratios to the plain pair, measured in
    turns, under the same condition.
    """

    condition: tuple[str, ...] | None
    found: dict[tuple[str, str | None], dict]
    pairs: dict[str, dict] = field(default_factory=dict)

    def training(self, row: Row) -> float | None:
        """Images/s of training steps with the optimizers that the row was trained with."""
        record = self.found.get((row.model, row.optimizers))
        if record is None and row.optimizers in (None, UNSAID.get(row.kind)):
            record = self.found.get((row.model, None))
        return number(at(record, "measurements", "training_step", "median"))

    def ratio(self, row: Row, pair: Row) -> object:
        """That of images/s to the plain pair with the plain pair's optimizer; None where its null run failed."""
        record = self.pairs.get(row.model)
        optimizer = at(record, "optimizer") or UNSAID["stored"]
        good = (
            at(record, "noisy") is False
            and at(record, "pair") == [row.model, pair.model]
            and optimizer == pair.optimizers
        )
        return at(record, "ratio") if good else None


def choose_speeds(found: list[dict], models: list[str], pairs: Sequence[dict] = ()) -> Speeds:
    conditions: dict[tuple[str, ...], set[str]] = {}
    for record in found or pairs:
        if record.get("model") in models:
            conditions.setdefault(condition(record), set()).add(record["model"])
    if not conditions:
        return Speeds(None, {})
    chosen = min(conditions, key=lambda key: (-len(conditions[key]), key))
    here = [r for r in found if condition(r) == chosen]
    by_optimizer = {
        (r["model"], str(r["optimizer"]) if r.get("optimizer") else None): r for r in here
    }
    return Speeds(chosen, by_optimizer, {r["model"]: r for r in pairs if condition(r) == chosen})
