"""What the runs say, as DataFrames: a row a model and recipe, and paired differences between rows.

A *group* is what may stand in one table: runs of one recipe on one data set. Rows are `RUN_KEY`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.core.groupby import SeriesGroupBy
from scipy import stats

from benchmarks.records import store
from benchmarks.records.frame import (
    RUN_KEY,
    SETTING,
    load_epochs,
    load_published,
    load_runs,
)
from benchmarks.records.speeds import CONDITION, load_speeds
from benchmarks.report.known_data import KnownData, known_data, task_of
from benchmarks.report.tables import optimizer_text
from benchmarks.tasks import TASKS, Task

GROUP = RUN_KEY[:4]
"""What the rows of one table share: data set, fingerprint, recipe, hash."""
ROW = RUN_KEY[4:]
"""What tells the rows of a group apart: the model and the code of its plugin."""
OTHER = [f"{column}_other" for column in ROW]
DIFFERENCE = [
    "difference",
    "difference_std",
    "difference_low",
    "difference_high",
    "val_difference",
    "seeds",
    "across",
]
"""What `with_differences` adds to a pair of rows."""
CONFIDENCE = 0.95
MIN_SEEDS = 3
"""There is no interval of fewer seeds, and no answer by fewer."""
FACTS = [
    "task",
    "pair",
    "kernels",
    "frozen",
    "params",
    "macs_per_image",
    "generator_macs",
    "flops_per_image",
    "generator_flops",
    "uncounted",
    "epochs",
    "steps",
    "block",
    "optimizer",
    "test_images",
    "validation_images",
]
"""Columns that the runs of a row share."""
UNNAMED_OPTIMIZER = {"stored": "sgd", "generated": "adam"}
"""The optimizers of speed records that name none: they are from before gradients were scaled."""


def estimates(errors: SeriesGroupBy) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and two-sided 95 % t-interval of each group of values.

    Columns `mean`, `std`, `low`, `high`, `n`. The interval is mean ± t(n - 1) s / sqrt(n), that of
    `scipy.stats.ttest_1samp` (of differences: `ttest_rel`), for all groups at once. It is missing
    where n is less than `MIN_SEEDS`, or all values are equal: a width of 0 would answer anything.
    """
    found = errors.agg(mean="mean", std="std", n="count")
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(found.n - 1, 1).astype(float))
    half = quantile * found["std"] / np.sqrt(found.n.astype(float))
    half = half.where((found.n >= MIN_SEEDS) & (found["std"] > 1e-9 * found["mean"].abs()))
    return found.assign(low=found["mean"] - half, high=found["mean"] + half)


def sampling_error(error: pd.Series, items: pd.Series) -> pd.Series:
    """Standard deviation in points of an error in percent, from the sampling of `items`."""
    share = error / 100
    return 100 * (share * (1 - share) / items) ** 0.5


def summarize(
    runs: pd.DataFrame, paper_rows: Iterable[str] = (), error: str = "test_error"
) -> pd.DataFrame:
    """One row a `RUN_KEY`, ordered by group; in a group `paper_rows` first, pairs adjacent.

    Columns: `RUN_KEY`; `mean`, `std`, `low`, `high`, `n` of `error` over the seeds that ended
    well; `val_mean` (mean validation error); `train_seconds` (`steady_seconds` of the seed that was
    disturbed least, not of those that were resumed elsewhere or with changes: they have the time
    of no one device); `timed_on` (that seed's device and precision, and how many shared it);
    `device`, `precision` (all that there are); `sampling` (of the items that `error` is the share
    of; missing where it is none); `statuses` ("1 failed, 2 ok"); `diverged` (how many seeds did);
    `dirty`, `resumed_changed` (of any run), `mixed` (its seeds differ in `SETTING`); `label` (the
    recipe's name, with its hash where two have the name), `slug` (the same for files);
    `other_data` (the runs of its data set have more than one fingerprint); `other_code` (its
    model's plugin has more than one hash in the group); and `FACTS`, those of runs that ended well
    before those of others.
    """
    runs = runs.assign(ended=runs.status == "ok").sort_values(
        ["ended", "seed"], ascending=[False, True], kind="stable"
    )
    ended = runs[runs.ended]
    by_row = runs.groupby(RUN_KEY)
    summary = by_row[FACTS].first()
    summary = summary.join(estimates(ended.groupby(RUN_KEY)[error]))
    summary["n"] = summary.n.fillna(0).astype("Int64")
    unchanged = ended[~ended.resumed_changed.fillna(False).astype(bool)]
    timed = unchanged.assign(timed_on=_timed_on(unchanged))
    timed = timed.dropna(subset="steady_seconds").sort_values("steady_seconds", kind="stable")
    fastest = timed.drop_duplicates(RUN_KEY).set_index(RUN_KEY)
    summary["train_seconds"], summary["timed_on"] = fastest.steady_seconds, fastest.timed_on
    for column in ("device", "precision"):
        summary[column] = ended.groupby(RUN_KEY)[column].agg(_distinct)
    summary["val_mean"] = ended.groupby(RUN_KEY).val_error.mean()
    items = summary.test_images if error == "test_error" else summary.validation_images
    shares = summary.task.map({task.name: task.share for task in TASKS.values()}).astype(bool)
    summary["sampling"] = sampling_error(summary["mean"], items).where(shares)
    summary["statuses"] = by_row.status.agg(_statuses)
    summary["diverged"] = (runs.status == "diverged").groupby([runs[key] for key in RUN_KEY]).sum()
    summary["dirty"] = by_row.dirty.agg(lambda flags: bool(flags.fillna(True).any()))
    summary["resumed_changed"] = by_row.resumed_changed.any()
    settings = ended.groupby(RUN_KEY)[SETTING].nunique(dropna=False)
    summary["mixed"] = (settings > 1).any(axis=1).reindex(summary.index, fill_value=False)
    return _ordered(summary.reset_index(), list(paper_rows))


def device_hours(runs: pd.DataFrame) -> float:
    """Hours of training; those of runs side by side on one device count once."""
    return float((runs.train_seconds / runs.parallel_seeds).sum()) / 3600


def _timed_on(runs: pd.DataFrame) -> pd.Series:
    """What the seconds of each run are of: those of runs side by side are longer."""
    alone = runs.device + " (" + runs.precision + ")"
    beside = runs.parallel_seeds.astype("string") + " runs side by side"
    return alone.where(runs.parallel_seeds == 1, alone + ", " + beside)


def _distinct(values: pd.Series) -> str:
    return ", ".join(sorted(values.dropna().unique()))


def _statuses(statuses: pd.Series) -> str:
    counts = statuses.value_counts().sort_index()
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _ordered(summary: pd.DataFrame, paper_rows: list[str]) -> pd.DataFrame:
    place = {model: index for index, model in enumerate(paper_rows)}
    plain = summary.pair.fillna(summary.model)
    keys = {
        "_place": plain.map(place).fillna(len(place)),
        "_plain": plain,
        "_paired": summary.pair.notna(),
    }
    summary = summary.assign(**keys).sort_values([*GROUP, *keys, *ROW])
    hashes = summary.groupby(["dataset", "recipe"]).recipe_hash.transform("nunique")
    short = summary.recipe + " (" + summary.recipe_hash.str[:8] + ")"
    summary["label"] = summary.recipe.where(hashes == 1, short)
    summary["other_data"] = summary.groupby("dataset").data_sha256.transform("nunique") > 1
    with_data = summary.label + ", data " + summary.data_sha256.str[:8]
    summary["label"] = summary.label.where(~summary.other_data, with_data)
    summary["slug"] = _slugs(summary)
    codes = summary.groupby([*GROUP, "model"]).plugin_sha256.transform("nunique")
    summary["other_code"] = codes > 1
    return summary.drop(columns=list(keys)).reset_index(drop=True)


def _slugs(summary: pd.DataFrame) -> pd.Series:
    """The names of a recipe's files: with its hash and its data's where the name is not alone."""
    hashes = summary.groupby(["dataset", "recipe"]).recipe_hash.transform("nunique")
    plain = summary.recipe.str.fullmatch(store.NAME.pattern).astype(bool)
    names = summary.recipe.where(plain, "recipe")
    with_hash = names + "-" + summary.recipe_hash.str[:8]
    names = names.where((hashes == 1) & plain, with_hash)
    return names.where(~summary.other_data, names + "-" + summary.data_sha256.str[:8])


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """The test error of each row minus that of every other of its group, over their shared seeds.

    Columns: `RUN_KEY`, `model_other`, `plugin_sha256_other`; `mean`, `std`, `low`, `high`, `n` in
    the task's unit of differences; `val_difference`: the mean of the validation errors' over the
    same seeds; `across`: a shared seed was run by the two in different `SETTING`s.
    """
    columns = [*RUN_KEY, "seed", "test_error", "val_error", *SETTING]
    ended = runs.loc[runs.status == "ok", columns]
    both = ended.merge(ended, on=[*GROUP, "seed"], suffixes=("", "_other"))
    both["difference"] = both.test_error - both.test_error_other
    both["val_difference"] = both.val_error - both.val_error_other
    settings = both[SETTING].fillna("").to_numpy()
    others = both[[f"{column}_other" for column in SETTING]].fillna("").to_numpy()
    both["across"] = (settings != others).any(axis=1)
    by_pair = both.groupby([*RUN_KEY, *OTHER])
    found = estimates(by_pair.difference).join(by_pair.val_difference.mean())
    found = found.join(by_pair.across.any()).reset_index()
    same = (found[ROW].to_numpy() == found[OTHER].to_numpy()).all(axis=1)
    return found[~same].reset_index(drop=True)


def against_pair(summary: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """A row for each model whose plain pair was trained with the same recipe.

    Of several codes of the pair's plugin the model's own counts, else the first.

    Columns: those of `summary`; those of the pair with the suffix `_other`; `DIFFERENCE`; the
    ratios `params_ratio` and `flops_ratio`, model / plain.
    """
    pairs = summary.merge(
        summary, left_on=[*GROUP, "pair"], right_on=[*GROUP, "model"], suffixes=("", "_other")
    )
    pairs = with_differences(own_code(pairs), differences)
    pairs["params_ratio"] = pairs.params / pairs.params_other
    pairs["flops_ratio"] = pairs.flops_per_image / pairs.flops_per_image_other
    return pairs


def own_code(pairs: pd.DataFrame) -> pd.DataFrame:
    """Of each row and model beside it (`_other`) one, of the code that both have if there is."""
    other = pairs.plugin_sha256 != pairs.plugin_sha256_other
    first = pairs.assign(_other_code=other).sort_values("_other_code", kind="stable")
    return first.drop_duplicates([*RUN_KEY, "model_other"]).drop(columns="_other_code").sort_index()


def with_differences(pairs: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Pairs of rows (`ROW` and `OTHER`) with `DIFFERENCE`, missing if none is known."""
    names = {
        "mean": "difference",
        "std": "difference_std",
        "low": "difference_low",
        "high": "difference_high",
        "n": "seeds",
    }
    found = differences.rename(columns=names)
    pairs = pairs.merge(found, on=[*RUN_KEY, *OTHER], how="left")
    pairs["across"] = pairs.across.astype("boolean").fillna(False).astype(bool)
    return pairs


def family(rows: pd.DataFrame) -> pd.Series:
    """What kind of model each row is: "plain" without a pair, else its kernel source.

    A foreign module that has a pair is "foreign".
    """
    return rows.kernels.fillna("foreign").where(rows.pair.notna(), "plain")


def paper_rows(published: pd.DataFrame) -> list[str]:
    """Registry names of the rows of the paper's table, in its order."""
    rows = published.dropna(subset=["paper_row"]).sort_values("paper_row")
    return rows.registry_name.tolist()


def published_gaps(published: pd.DataFrame) -> dict[str, float]:
    """The published distance of each hypernetwork of the paper to its plain network."""
    rows, errors = paper_rows(published), published.set_index("registry_name").test_error
    return {
        hyper: float(errors[hyper] - errors[plain])
        for plain, hyper in zip(rows[::2], rows[1::2], strict=True)
    }


def choose_condition(
    speeds: pd.DataFrame, models: Iterable[str], devices: Iterable[str] = ()
) -> pd.DataFrame:
    """The speeds under the one `CONDITION` that most of the models were timed under.

    Those of `devices`, on which the models were trained, count before all others, the first device
    first, and speeds of single models before ratios of pairs; of equals, the first in order is
    taken.
    """
    conditions = speeds[CONDITION].astype("string").fillna("")
    known = conditions.assign(model=speeds.model, kind=speeds.kind)
    known = known[known.model.isin(list(models))]
    timed_on = next((device for device in devices if (known.device == device).any()), None)
    known = known if timed_on is None else known[known.device == timed_on]
    for kind in ("speed", "pair"):
        timed = known[known.kind == kind].groupby(CONDITION).model.nunique()
        if len(timed):
            chosen = timed.sort_index().sort_values(ascending=False, kind="stable").index[0]
            return speeds[(conditions == pd.Series(chosen, CONDITION)).all(axis=1)]
    return speeds.iloc[:0]


def with_images_per_s(summary: pd.DataFrame, speeds: pd.DataFrame) -> pd.DataFrame:
    """`summary` with `images_per_s`: training steps of the optimizer that the row was trained with.

    `speeds`: under one condition (`choose_condition`).
    """
    steps = speeds[(speeds.kind == "speed") & (speeds.what == "training_step")]
    key = [*ROW, "optimizer"]
    steps = steps.drop_duplicates(key, keep="last")
    steps = steps.rename(columns={"median": "images_per_s"})[[*key, "images_per_s"]]
    named = steps.dropna(subset=["optimizer"])
    found = summary.merge(named, on=key, how="left", validate="many_to_one")
    unnamed = steps[steps.optimizer.isna()].set_index("model").images_per_s
    assumed = found.optimizer.isna() | (found.optimizer == found.block.map(UNNAMED_OPTIMIZER))
    rest = found.model.map(unnamed).where(assumed.fillna(False))
    found["images_per_s"] = found.images_per_s.fillna(rest.astype("Float64"))
    return found


def with_speed_ratio(pairs: pd.DataFrame, speeds: pd.DataFrame) -> pd.DataFrame:
    """`against_pair` with `speed_ratio`, `speed_ratio_low` and `speed_ratio_high`.

    The ratio of speeds in training, model / plain, with the plain pair's optimizer, whose A/A
    run passed; `speeds` under one condition.
    """
    steps = speeds[(speeds.kind == "pair") & (speeds.what == "training_step") & ~speeds.noisy]
    names = {"median": "speed_ratio", "low": "speed_ratio_low", "high": "speed_ratio_high"}
    steps = steps.assign(optimizer_other=steps.optimizer.fillna(UNNAMED_OPTIMIZER["stored"]))
    key = [*ROW, "pair", "optimizer_other"]
    steps = steps.rename(columns=names)[[*key, *names.values()]].drop_duplicates(key, keep="last")
    return pairs.merge(steps, on=key, how="left", validate="many_to_one")


def with_trial_gain(summary: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """`summary` with `trial_gain`: how much lower the best trial's validation error is, in points.

    A trial is of the same data, model, code and epochs with other settings. Means over all seeds
    are compared: two settings share little of a seed's chance. Missing where the gain is less than
    the sampling error of the validation split.
    """
    same = ["data_sha256", *ROW, "epochs"]
    tried = summarize(trials, error="val_error")[[*same, "recipe_hash", "mean", "sampling"]]
    both = summary[[*RUN_KEY, "epochs", "val_mean"]].merge(tried, on=same, suffixes=("", "_tried"))
    both = both.assign(trial_gain=both.val_mean - both["mean"])
    better = (both.trial_gain > both.sampling).fillna(False)
    both = both[better & (both.recipe_hash != both.recipe_hash_tried)]
    gains = both.groupby(RUN_KEY, as_index=False).trial_gain.max()
    return summary.merge(gains, on=RUN_KEY, how="left")


@dataclass(frozen=True)
class Results:
    """The frames that a report of one data set is made of."""

    dataset: str
    task: Task
    data: KnownData
    runs: pd.DataFrame
    epochs: pd.DataFrame
    summary: pd.DataFrame
    """`summarize`, with `images_per_s`, `optimizer_text` (optimizers with rates and L2) and
    `trial_gain`.
    """
    differences: pd.DataFrame
    published: pd.DataFrame
    """Published rows of this data that have a registry name; empty for other data."""
    speeds: pd.DataFrame
    compared: pd.DataFrame
    """The speeds of one condition, which stand in the tables of errors."""

    @property
    def paper_rows(self) -> list[str]:
        """Registry names of the rows of the paper's table."""
        return paper_rows(self.published)

    @property
    def comparable(self) -> bool:
        """Whether published numbers may stand beside these: they are of the same items."""
        return self.data.form == "itself"

    @property
    def published_gaps(self) -> dict[str, float]:
        """The published distance of each hypernetwork of the paper to its plain network."""
        return published_gaps(self.published)


def _of_one_task(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the data set's task; others, of data with the same name, count as problems."""
    task = task_of(runs)
    same = runs.task == task.name
    problems = [
        f"record {run.path} is of the task {run.task}, others of its data set are of {task.name}"
        for run in runs[~same].itertuples()
    ]
    kept = runs[same].reset_index(drop=True)
    kept.attrs = runs.attrs | {"problems": runs.attrs["problems"] + problems}
    return kept


def _of_their_batch(speeds: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The speeds of batches that a recipe of the runs has: those of a demonstration differ.

    Ratios to other code are of no recipe.
    """
    recipes = runs.attrs["recipes"]
    batches = {recipes[key]["batch_size"] for key in runs.recipe_hash}
    return speeds[speeds.batch_size.isin(batches) | (speeds.kind == "compare")]


def load_results(results_dir: Path, dataset: str) -> Results:
    """Everything that is known of a data set."""
    runs = _of_one_task(load_runs(results_dir, dataset))
    task, data = task_of(runs), known_data(dataset, runs)
    speeds = _of_their_batch(load_speeds(results_dir), runs)
    speeds = speeds[speeds.task == task.name]
    published = load_published().dropna(subset=["registry_name"])
    published = published[published.data == data.published]
    summary = summarize(runs, paper_rows(published))
    devices = runs[runs.status == "ok"].device.value_counts().sort_index()
    devices = devices.sort_values(ascending=False, kind="stable").index
    compared = choose_condition(speeds, summary.model.unique(), devices)
    summary = with_images_per_s(summary, compared)
    recipes = runs.attrs["recipes"]
    texts = [optimizer_text(recipes[row.recipe_hash], row.block) for row in summary.itertuples()]
    summary["optimizer_text"] = pd.Series(texts, index=summary.index, dtype="string")
    summary = with_trial_gain(summary, load_runs(results_dir, dataset, studies=True))
    return Results(
        dataset=dataset,
        task=task,
        data=data,
        runs=runs,
        epochs=load_epochs(results_dir, dataset),
        summary=summary,
        differences=differences(runs),
        published=published,
        speeds=speeds,
        compared=compared,
    )
