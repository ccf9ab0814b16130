"""What the front page of a report compares: a row a model, and groups of one size and one plain
network."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.records import validation
from benchmarks.records.frame import RUN_KEY
from benchmarks.report.marks import PAIR, signs
from benchmarks.report.summary import (
    GROUP,
    OTHER,
    ROW,
    Results,
    against_pair,
    family,
    own_code,
    with_differences,
)

ONE_SIZE = 1.15
"""How many times the parameters of the smallest model of a size the largest has, at most."""


def longest(summary: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Of each model, on each kind of data, the row of the longest recipe that ended well.

    It is the longest in which both members of a pair have a seed, the same one, where there is
    such: a longer run of one alone compares with nothing. Of equally long ones, that with most
    seeds.
    """
    ended = summary[summary["mean"].notna()]
    keys = {"_both": _both_members(ended, differences), "_length": ended.steps.fillna(0)}
    order = ended.assign(**keys).sort_values([*keys, "n"], ascending=False, kind="stable")
    chosen = order.drop_duplicates(["dataset", "data_sha256", *ROW]).drop(columns=list(keys))
    return chosen.sort_index()


def _both_members(ended: pd.DataFrame, differences: pd.DataFrame) -> np.ndarray:
    """Whether each row shares a seed with its pair, or with a model that it is the pair of."""
    shared = differences.merge(ended[[*RUN_KEY, "pair"]], on=RUN_KEY)
    shared = shared[(shared.pair == shared.model_other).fillna(False)]
    plain = shared[[*GROUP, *OTHER]].set_axis(RUN_KEY, axis=1)
    members = pd.concat([shared[RUN_KEY], plain]).drop_duplicates().assign(both=True)
    return ended[RUN_KEY].merge(members, on=RUN_KEY, how="left").both.notna().to_numpy()


def sizes(params: pd.Series) -> pd.Series:
    """The smallest number of parameters of each model's size, by its index; missing if unknown."""
    found, first = {}, 0.0
    for index, count in params.dropna().sort_values().items():
        if not first or count > ONE_SIZE * first:
            first = count
        found[index] = first
    return pd.Series(found, dtype="float64").reindex(params.index)


def comparison(results: Results) -> pd.DataFrame:
    """The comparison table's frame: `longest`, each with its distance to its plain pair.

    Columns: those of `summary`; `difference` and its interval, `seeds`, `across` and its mark (as
    `against_pair` has them), `images_half` (half the 95 % interval from the test items alone);
    `published_error`; `hours` (training of a run, `timed_on` what most rows were; those of others
    do not compare); `size` (the middle of those of about as many parameters). The paper's rows come
    first, then the others by size.
    """
    rows = longest(results.summary, results.differences)
    pairs = with_item_sampling(against_pair(results.summary, results.differences), results.runs)
    names = ["difference", "difference_low", "difference_high", "seeds", "across", "images_half"]
    rows = rows.merge(pairs[[*RUN_KEY, *names]], on=RUN_KEY, how="left")
    published = results.published.set_index("registry_name").test_error
    rows["published_error"] = rows.model.map(published)
    rows["across_mark"] = signs(rows, PAIR)
    rows["hours"] = (rows.train_seconds / 3600).where(_is_commonest(rows.timed_on))
    rows["size"] = rows.groupby(sizes(rows.params)).params.transform("median").astype("Float64")
    place = {model: number for number, model in enumerate(results.paper_rows)}
    rows["place"] = rows.model.map(place).fillna(len(place))
    order = ["place", "size", "mean", *RUN_KEY]
    ascending = [True, False, *[True] * (len(order) - 2)]
    rows = rows.sort_values(order, ascending=ascending, kind="stable")
    return rows.drop(columns="place").reset_index(drop=True)


def _is_commonest(values: pd.Series) -> pd.Series:
    """Whether each value is the one that occurs most; of equals, the first in order."""
    return values.isin(values.mode().head(1)) & values.notna()


def with_item_sampling(pairs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of rows (`RUN_KEY`, `OTHER`) with `images_half`.

    Half the 95 % interval of their difference from the sampling of the test items alone, in
    points: 1.96 standard errors of the difference by item, averaged over the shared seeds of which
    both say which items they got wrong. Missing where none does, as where errors are no shares.
    """
    flags = {
        (*(getattr(run, key) for key in RUN_KEY), run.seed): validation.unpacked(
            run.test_wrong, run.test_images
        )
        for run in runs[(runs.status == "ok") & runs.test_wrong.notna()].itertuples()
    }
    seeds = sorted({key[-1] for key in flags})
    halves = []
    for row in pairs[[*RUN_KEY, *OTHER]].itertuples(index=False):
        own, other = tuple(row[: len(RUN_KEY)]), (*row[: len(GROUP)], *row[len(RUN_KEY) :])
        both = [
            flags[*own, seed].astype(float) - flags[*other, seed]
            for seed in seeds
            if (*own, seed) in flags and (*other, seed) in flags
        ]
        by_item = np.mean(both, axis=0) if both else np.array([])
        error = by_item.std(ddof=1) / len(by_item) ** 0.5 if len(by_item) > 1 else np.nan
        halves.append(100 * 1.96 * error)
    return pairs.assign(images_half=pd.array(halves, "Float64"))


@dataclass(frozen=True)
class Section:
    """Models of one size, each against one plain network.

    `rows`: a row a model and recipe, the best of the longest recipes first, with `difference` and
    its interval, `seeds`, `longest` (whether it is the model's longest recipe) and `family`.
    """

    plain: str
    plain_params: int
    params: int
    rows: pd.DataFrame


def sections(results: Results) -> list[Section]:
    """The groups of a forest plot: the paper's models first, then those with most models."""
    pairs = _against_their_plain_network(results)
    if pairs.empty:
        return []
    chosen = longest(results.summary, results.differences)
    keys = set(map(tuple, chosen[RUN_KEY].astype(str).to_numpy()))
    own = pairs[RUN_KEY].astype(str).apply(tuple, axis=1)
    pairs = pairs.assign(longest=own.isin(keys), family=family(pairs))
    found = []
    for (plain, _), rows in pairs.groupby(["model_other", "size"]):
        best = rows[rows.longest].groupby("model").difference.min()
        order = rows.assign(_best=rows.model.map(best).astype(float))
        order = order.sort_values(["_best", "model", "steps"], ascending=[True, True, False])
        params, plain_params = (int(rows[key].median()) for key in ("params", "params_other"))
        found.append(Section(plain, plain_params, params, order.reset_index(drop=True)))
    places = {model: number for number, model in enumerate(results.paper_rows)}

    def place(section: Section) -> tuple:
        papers = [places[model] for model in section.rows.model if model in places]
        return min(papers, default=len(places)), -section.rows.model.nunique(), section.plain

    return sorted(found, key=place)


def _against_their_plain_network(results: Results) -> pd.DataFrame:
    """Rows with the plain network that they are compared with, and their `size`.

    It is their pair. A plain network itself is compared with the pair of the models of its size.
    """
    trained = results.summary[results.summary["mean"].notna()]
    pairs = trained.merge(trained, on=GROUP, suffixes=("", "_other"))
    pairs = own_code(pairs[pairs.model != pairs.model_other])
    paired = pairs[(pairs.pair == pairs.model_other).fillna(False)].copy()
    paired["size"] = sizes(paired.params)
    ranges = paired.groupby(["model_other", "size"]).params.agg(["min", "max"]).reset_index()
    alone = pairs[pairs.pair.isna()].merge(ranges, on="model_other")
    near = (alone.params * ONE_SIZE >= alone["max"]) & (alone.params <= alone["min"] * ONE_SIZE)
    alone = alone[near.fillna(False)].drop(columns=["min", "max"])
    both = pd.concat([paired, alone], ignore_index=True)
    both = with_differences(both, results.differences)
    return both[both.difference.notna()]


def seed_ticks(section: Section, runs: pd.DataFrame) -> pd.DataFrame:
    """Every seed of a section: `RUN_KEY`, `seed` and `difference`."""
    ended = runs[runs.status == "ok"]
    own = ended.merge(section.rows[[*RUN_KEY, *OTHER]], on=RUN_KEY)
    plain = ended[[*RUN_KEY, "seed", "test_error"]]
    keys = [*GROUP, "seed"]
    both = own.merge(
        plain, left_on=[*keys, *OTHER], right_on=[*keys, *ROW], suffixes=("", "_plain")
    )
    both["difference"] = both.test_error - both.test_error_plain
    return both[[*RUN_KEY, "seed", "difference"]]
