"""Statistics over seeds and paired differences, by hand, and over the committed records."""

import json
import math
import random

import numpy as np
import pandas as pd
import pytest

from benchmarks.records import store
from benchmarks.records.frame import RUN_KEY, load_published, load_runs
from benchmarks.records.speeds import load_speeds
from benchmarks.report import weak_points
from benchmarks.report.comparison import comparison, sections, seed_ticks
from benchmarks.report.gap_plots import gaps_by_epoch
from benchmarks.report.overview import opening
from benchmarks.report.summary import (
    against_pair,
    choose_condition,
    differences,
    estimates,
    paper_rows,
    sampling_error,
    summarize,
    with_images_per_s,
    with_speed_ratio,
    with_trial_gain,
)
from tests.conftest import ROOT
from tests.records.test_store import RECORD
from tests.report.made import BLOCK, frames, hyper, on, record, results_of, rows, speed, write

PLAIN = rows("wide_resnet16_1", (10.0, 11.0, 12.0))


def estimate(values):
    frame = pd.DataFrame({"key": "k", "value": pd.Series(values, dtype="Float64")})
    return estimates(frame.groupby("key").value).iloc[0]


def test_t_interval_by_hand():
    """t(2) at 97.5 % is 4.3027."""
    found = estimate([10.0, 11.0, 12.0])
    assert (found["mean"], found["std"], found.n) == (11.0, 1.0, 3)
    half = pytest.approx(4.3027 / 3**0.5, abs=1e-4)
    assert found.high - 11 == half and 11 - found.low == half
    for values in ([1.0, 2.0], [0.1, 0.1, 0.1], [-0.01, 12.33 - 12.34, 0.02 - 0.03], [0.0] * 3):
        assert pd.isna(estimate(values).low) and pd.isna(estimate(values).high)
    single = estimate([3.0])
    assert single["mean"] == 3.0 and pd.isna(single["std"])
    assert pd.isna(single.low) and pd.isna(single.high)


def test_the_interval_covers_as_often_as_it_says():
    draw = random.Random(0)
    values = [draw.gauss(7, 0.3) for _ in range(6000)]
    frame = pd.DataFrame({"key": np.arange(6000) // 3, "value": values})
    found = estimates(frame.groupby("key").value)
    assert 0.935 <= ((found.low <= 7) & (found.high >= 7)).mean() <= 0.965


def test_statistics_by_hand(tmp_path):
    summary, pairs = frames(tmp_path, [*PLAIN, *hyper((12.0, 13.0, 17.0))])
    assert summary.model.tolist() == ["wide_resnet16_1", "hyper_resnet16_1"]
    assert summary["mean"].tolist() == [11.0, 14.0]
    (pair,) = against_pair(summary, pairs).to_dict("records")
    assert (pair["difference"], pair["seeds"]) == (3.0, 3)
    assert pair["difference_std"] == pytest.approx(math.sqrt(3))
    sampled = sampling_error(pd.Series([7.0]), pd.Series([10_000]))
    assert sampled[0] == pytest.approx(0.2551, abs=1e-4)


def test_pairs_use_shared_seeds_only(tmp_path):
    records = [*rows("wide_resnet16_1", (10.0, 20.0)), *hyper((13.0, None, 50.0))]
    (pair,) = against_pair(*frames(tmp_path, records)).to_dict("records")
    assert (pair["difference"], pair["seeds"]) == (3.0, 1) and pd.isna(pair["difference_low"])


def test_two_hashes_fingerprints_or_plugins_are_never_pooled(tmp_path):
    data = record()["dataset_fingerprint"] | {"sha256": "e" * 64}
    code = record()["code"] | {"plugin_sha256": "f" * 64}
    records = [
        record(error=10.0),
        record(seed=1, error=20.0, recipe={"hash": "b" * 16}),
        record(seed=2, error=30.0, dataset_fingerprint=data),
        record(seed=3, error=40.0, code=code),
    ]
    summary, pairs = frames(tmp_path, records)
    assert sorted(summary["mean"]) == [10.0, 20.0, 30.0, 40.0] and set(summary.n) == {1}
    assert summary.other_data.all() and pairs.empty
    assert set(summary.label) == {
        "quick8 (aaaaaaaa), data aaaaaaaa",
        "quick8 (aaaaaaaa), data eeeeeeee",
        "quick8 (bbbbbbbb), data aaaaaaaa",
    }


def test_runs_that_did_not_end_well_are_counted_and_not_in_the_mean(tmp_path):
    failed = {"status": "diverged", "reason": "loss is not finite", "val_error": None}
    summary, _ = frames(tmp_path, [record(), record(seed=1, error=None, **failed)])
    (row,) = summary.to_dict("records")
    assert (row["mean"], row["n"], row["statuses"]) == (10.0, 1, "1 diverged, 1 ok")
    summary, _ = frames(tmp_path / "none", [record(error=None, **failed)])
    (row,) = summary.to_dict("records")
    assert pd.isna(row["mean"]) and row["n"] == 0 and row["statuses"] == "1 diverged"


def test_hours_are_of_the_epochs_that_were_disturbed_least(tmp_path):
    """Where other programs ran beside a seed, or beside an epoch of it."""
    records = [record(seed=seed) for seed in (0, 1)]
    for made, of_epochs in zip(records, ((9.0, 9.0, 9.0), (2.0, 900.0, 3.0)), strict=True):
        last = made["history"][-1]
        made["history"] = [
            last | {"epoch": number, "seconds": seconds}
            for number, seconds in enumerate(of_epochs, start=1)
        ]
    summary, _ = frames(tmp_path, records)
    assert summary.train_seconds.tolist() == [9.0]  # three epochs of 3 s


def test_hours_are_of_runs_that_one_device_made(tmp_path):
    """A run that moved holds the waiting, and the time of two devices."""
    moved = record(seed=1)
    moved["history"] = [entry | {"seconds": 9000.0} for entry in moved["history"]]
    moved["resumed"] = [{"step": 5, "note": None, "differing": {"device": ["a", "b"]}}]
    summary, _ = frames(tmp_path, [record(), moved])
    expected = sum(entry["seconds"] for entry in record()["history"])
    assert summary.train_seconds.tolist() == [expected] and summary.n.tolist() == [2]
    summary, _ = frames(tmp_path / "none", [moved])
    assert summary.train_seconds.isna().all() and summary.n.tolist() == [1]


def test_seeds_and_pairs_of_different_precision_are_marked(tmp_path):
    bf16 = {"environment": {"precision": "bf16"}}
    records = [record(), record(seed=1, **bf16), *hyper((11.0, 12.0))]
    summary, pairs = frames(tmp_path, records)
    assert summary.set_index("model").mixed.to_dict() == {
        "wide_resnet16_1": True,
        "hyper_resnet16_1": False,
    }
    assert pairs.across.all()
    records = [record(), record(seed=1, **bf16), *hyper((11.0,))]  # seed 1 is not shared
    _, pairs = frames(tmp_path / "other", records)
    assert not pairs.across.any()


def conditions(folder, records, models):
    return choose_condition(load_speeds(write(folder, [], records)), models)


def test_the_condition_that_measured_most_is_chosen(tmp_path):
    records = [
        speed("a", 1.0, "Y"),
        speed("b", 2.0, "Y"),
        speed("a", 9.0, "X"),
        speed("b", 7.0, "Y", batch_size=1024),
    ]
    found = conditions(tmp_path, records, ["a", "b"])
    assert found.set_index("model")["median"].to_dict() == {"a": 1.0, "b": 2.0}
    environment = speed("a", 1.0)["environment"] | {"deterministic": True}
    repeated = speed("a", 5.0, environment=environment)
    assert conditions(tmp_path / "1", [repeated], ["a"]).deterministic.all()
    both = conditions(tmp_path / "2", [repeated, speed("a", 4.0)], ["a"])
    assert both["median"].tolist() == [4.0]
    assert conditions(tmp_path / "3", [], ["a"]).empty


def test_speeds_of_the_devices_of_the_runs_count_first(tmp_path):
    speeds = load_speeds(
        write(tmp_path, [], [speed("a", 1.0, "Y"), speed("b", 2.0, "Y"), speed("a", 9.0, "X")])
    )
    cases = (
        (["X", "Z"], [9.0]),
        (["X", "Y"], [9.0]),  # the one that made most of the runs, however few were timed on it
        (["Y", "X"], [1.0, 2.0]),
        (["Z"], [1.0, 2.0]),
        ([], [1.0, 2.0]),
    )
    for devices, expected in cases:
        assert choose_condition(speeds, ["a", "b"], devices)["median"].tolist() == expected


def test_speeds_of_a_demonstration_stay_out_of_other_reports(tmp_path):
    """Its batches are smaller: no recipe of these runs has them."""
    speeds = [speed("wide_resnet16_1", 9.0, batch_size=16), speed("wide_resnet16_1", 5.0)]
    results = results_of(tmp_path, [record()], speeds)
    assert results.speeds["median"].tolist() == [5.0]
    assert results.summary.images_per_s.tolist() == [5.0]


def test_a_speed_is_of_the_optimizer_that_the_row_was_trained_with(tmp_path):
    scaled = {"block": "scaled", "scaled": BLOCK | {"backbone": BLOCK}}
    models = ["wide_resnet16_1", "hyper_resnet16_1"]
    summary, _ = frames(tmp_path, [record(), *hyper((11.0,), recipe=scaled)])
    assert summary.optimizer.tolist() == ["sgd", "scaled sgd, backbone sgd"]
    unnamed = [speed(name, 5.0) for name in models]
    named = speed("hyper_resnet16_1", 4.0, optimizer="scaled sgd, backbone sgd")
    for number, (records, expected) in enumerate(
        [(unnamed, [5.0, None]), ([*unnamed, named], [5.0, 4.0]), ([named], [None, 4.0])]
    ):
        speeds = conditions(tmp_path / str(number), records, models)
        rates = with_images_per_s(summary, speeds).images_per_s
        assert [None if pd.isna(rate) else rate for rate in rates] == expected


def test_of_two_records_of_a_speed_the_last_counts(tmp_path):
    models = ["wide_resnet16_1", "hyper_resnet16_1"]
    summary, _ = frames(tmp_path, [record(), *hyper((11.0,))])
    for number, named in enumerate(({}, {"optimizer": "sgd"})):
        records = [speed("wide_resnet16_1", rate, **named) for rate in (5000.0, 6000.0)]
        rates = with_images_per_s(summary, conditions(tmp_path / str(number), records, models))
        assert rates.model.tolist() == models and rates.images_per_s[0] == 6000.0
        assert pd.isna(rates.images_per_s[1])  # it was never timed


def test_a_pairs_speed_ratio_is_that_of_its_pair_record(tmp_path):
    ratio = {"median": 0.98, "low": 0.97, "high": 0.99, "pairs": 15}
    head = speed("hyper_resnet16_1", 5.0) | {"kind": "pair", "noisy": False, "ratio": ratio}
    head["pair"] = ["hyper_resnet16_1", "wide_resnet16_1"]
    models = ["wide_resnet16_1", "hyper_resnet16_1"]
    pairs = against_pair(*frames(tmp_path, [*PLAIN, *hyper((12.0,))]))
    rates = [speed(name, 5.0) for name in models]
    changes = [{}, {"noisy": True}, {"device": "another"}, {"optimizer": "adam"}]
    for number, change in enumerate(changes):
        speeds = conditions(tmp_path / str(number), [*rates, head | change], models)
        (found,) = with_speed_ratio(pairs, speeds).speed_ratio
        assert found == 0.98 if not change else pd.isna(found)
    speeds = conditions(tmp_path / "alone", [head], models)
    (found,) = with_speed_ratio(pairs, speeds).to_dict("records")
    assert [found[f"speed_ratio{end}"] for end in ("", "_low", "_high")] == [0.98, 0.97, 0.99]


def test_the_papers_rows_come_first_and_pairs_are_adjacent(tmp_path):
    names = ["hyper_resnet16_1", "hyper_resnet40_1", "wide_resnet16_1", "wide_resnet40_1"]
    records = [
        record(name, pair=name.replace("hyper", "wide") if "hyper" in name else None)
        for name in names
    ]
    results = results_of(
        tmp_path, [made | {"dataset": "cifar10"} for made in records], (), "cifar10"
    )
    assert results.paper_rows[:2] == ["wide_resnet40_1", "hyper_resnet40_1"]
    assert results.summary.model.tolist() == [*results.paper_rows[:2], names[2], names[0]]


def test_the_statistics_of_the_committed_records_are_what_they_were():
    """Means, deviations, intervals and gaps as computed before the report used pandas."""
    golden = json.loads((ROOT / "tests" / "report" / "golden.json").read_text())
    runs = load_runs(ROOT / "results", "cifar10-jpeg")
    summary = summarize(runs, paper_rows(load_published()))
    keys = ["recipe_hash", "model"]
    pairs = against_pair(summary, differences(runs)).set_index(keys)
    found = summary.set_index(keys)
    for row in golden:
        here = found.loc[tuple(row[key] for key in keys)]
        for name in ("mean", "std", "low", "high", "val_mean", "n"):
            assert_same(here[name], row[name])
        if row["difference"]:
            pair = pairs.loc[tuple(row[key] for key in keys)]
            names = ("difference", "difference_low", "difference_high", "seeds")
            for name, expected in zip(names, row["difference"], strict=True):
                assert_same(pair[name], expected)


def assert_same(value, expected):
    assert pd.isna(value) if expected is None else value == pytest.approx(expected, rel=1e-12)


def test_a_line_of_pandas_gives_the_numbers_of_the_report():
    runs = load_runs(ROOT / "results", "cifar10-jpeg")
    told = runs.query('status == "ok"').groupby(RUN_KEY).test_error.agg(["mean", "std", "count"])
    summary = summarize(runs).set_index(RUN_KEY)
    assert len(told) == summary["mean"].notna().sum()
    pd.testing.assert_series_equal(told["mean"], summary["mean"].loc[told.index])
    pd.testing.assert_series_equal(told["std"], summary["std"].loc[told.index])


def test_known_data_are_known_by_their_fingerprint_and_not_by_a_folders_name(tmp_path):
    named = record() | {"dataset": "cifar10-9980"}  # a folder with that name, and other images
    assert not results_of(tmp_path / "a", [named], dataset="cifar10-9980").comparable
    itself = on("cifar10-9980", record()) | {"dataset": "my-copy"}
    found = results_of(tmp_path / "b", [itself], dataset="my-copy")
    assert found.comparable and found.data.note.startswith("CIFAR-10 itself")


def test_the_validation_difference_is_of_the_shared_seeds(tmp_path):
    plain = rows("wide_resnet16_1", (10.0, 11.0, 12.0, 50.0, 60.0))
    _, pairs = frames(tmp_path, [*plain, *hyper((12.0, 13.0, 17.0))])
    (pair,) = pairs[pairs.model == "hyper_resnet16_1"].to_dict("records")
    assert pair["n"] == 3 and pair["val_difference"] == pair["mean"] == 3.0


def test_hours_are_of_one_device(tmp_path):
    other = {"device": "Another"}
    records = [
        *rows("narrow_resnet16_11", (12.0,)),
        *rows("wide_resnet16_1", (10.0,)),
        *hyper((11.0,), environment=other),
    ]
    found = comparison(results_of(tmp_path, records)).set_index("model").hours
    assert found.notna().to_dict() == {
        "narrow_resnet16_11": True,
        "wide_resnet16_1": True,
        "hyper_resnet16_1": False,
    }


def test_a_move_of_a_run_whose_steps_are_not_known_is_said(tmp_path):
    resumed = [{"step": 5, "note": None, "differing": {"device": ["a", "b"]}}]
    there = {"environment": {"device": "Another"}, "resumed": resumed}
    (plain,) = rows("wide_resnet16_1", (10.0,))
    (moved,) = hyper((11.0,), **there)
    del moved["recipe"]["steps"]
    results = results_of(tmp_path, [plain, moved])
    (row,) = against_pair(results.summary, results.differences).to_dict("records")
    assert weak_points.crossing(row, results).startswith("seed 0 (resumed at step 5) Another")


def tried(model, errors, digit="b"):
    """Trials of a recipe whose hash is of one digit."""
    recipe = {"name": f"quick8.{digit}", "hash": digit * 16}
    made = rows(model, errors, recipe=recipe, study="rates")
    return [{key: value for key, value in entry.items() if key[:5] != "test_"} for entry in made]


def gains(folder, trials):
    """`trial_gain` by model, of three seeds of the pair with 10 to 17 %."""
    results = write(folder, [*PLAIN, *hyper((12.0, 13.0, 17.0))])
    for trial in trials:
        store.save(results, trial)
    runs = load_runs(results)
    found = with_trial_gain(summarize(runs), load_runs(results, studies=True))
    return found.set_index("model").trial_gain.dropna().to_dict()


def test_the_best_trial_of_other_settings_is_compared_with_the_mean(tmp_path):
    """Of 5,000 validation images 11 % has a sampling error of 0.44 points; the mean is 11 %."""
    plain, other = "wide_resnet16_1", "narrow_resnet16_11"
    better = tried(plain, (10.0, 10.5))
    assert gains(tmp_path / "a", better) == {plain: pytest.approx(0.75)}
    best = [*better, *tried(plain, (None, None, None, 9.0), "c"), *tried(other, (1.0,))]
    assert gains(tmp_path / "b", best) == {plain: pytest.approx(2.0)}
    assert gains(tmp_path / "c", tried(plain, (10.6, 10.7))) == {}
    (same,) = tried(plain, (1.0,))
    assert gains(tmp_path / "d", [same | {"recipe": PLAIN[0]["recipe"]}]) == {}
    longer = same["recipe"] | {"epochs": 3}
    assert gains(tmp_path / "e", [same | {"recipe": longer}]) == {}
    assert gains(tmp_path / "f", []) == {}


def test_better_trials_weaken_an_answer():
    def told(own, other):
        (text,) = weak_points.better_trials({"trial_gain": own, "trial_gain_other": other})
        return text.removeprefix("in trials other settings of the recipe lowered ")

    assert told(0.781, pd.NA) == "its validation error by 0.78 points"
    assert told(0.781, 0.76) == "its validation error by 0.78 points, the rival's by 0.76"
    assert told(None, 0.76) == "the rival's validation error by 0.76 points"
    assert weak_points.better_trials({"trial_gain": None, "trial_gain_other": pd.NA}) == []


def test_hours_are_of_runs_beside_as_many_others(tmp_path):
    beside = {"environment": {"parallel_seeds": 3}}
    records = [*rows("a", (1.0, 1.1)), *rows("b", (2.0,)), *rows("c", (3.0, 3.1), **beside)]
    results = results_of(tmp_path, records)
    assert comparison(results).set_index("model").hours.notna().to_dict() == {
        "a": True,
        "b": True,
        "c": False,
    }
    assert results.summary.timed_on.iloc[-1].endswith(", 3 runs side by side")
    alone = results.runs.train_seconds.iloc[0]
    assert f"{5 * alone / 3600 - 2 * alone / 3600 * 2 / 3:,.1f} hours" in opening(results)


def test_a_pair_of_two_codes_is_the_models_own(tmp_path):
    """Its curve, its ticks and its row are against the code that both have."""
    first, second = ({"code": RECORD["code"] | {"plugin_sha256": name * 64}} for name in "12")
    records = [
        *rows("plain", (10.0, 10.1, 10.2), kernels="stored", **first),
        *rows("plain", (12.0, 12.1, 12.2), kernels="stored", **second),
        *rows("mine", (11.0, 11.12, 11.21), pair="plain", kernels="hyper", **second),
    ]
    results = results_of(tmp_path, records)
    mine = comparison(results).set_index("model").loc[["mine"]]
    assert mine.difference.round(2).tolist() == [-0.99]
    (section,) = sections(results)
    rows_of = section.rows[section.rows.model == "mine"]
    ticks = seed_ticks(section, results.runs)
    assert len(rows_of) == 1 and (ticks.difference < 0).sum() == 3
    gaps = gaps_by_epoch(results.epochs, results.summary, results.differences)
    assert gaps[gaps.epoch == 2].gap.round(2).tolist() == [-0.99]
