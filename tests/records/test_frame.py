"""The one door from records to pandas: columns, types, problems."""

import json

import pandas as pd
import pytest

from benchmarks.records import store
from benchmarks.records.frame import (
    EPOCH_COLUMNS,
    RUN_COLUMNS,
    RUN_KEY,
    load_epochs,
    load_published,
    load_runs,
)
from benchmarks.records.speeds import SPEED_COLUMNS, load_speeds
from tests.conftest import ROOT
from tests.records.test_store import RECORD
from tests.report.made import BLOCK, PLAIN_PARTS, TEXT_RECIPE, record, text_rows, write


def test_the_columns_are_a_contract(tmp_path):
    """Names and types, with and without rows; each is described."""
    for results in (ROOT / "results", tmp_path):
        for frame, columns in (
            (load_runs(results), RUN_COLUMNS),
            (load_speeds(results), SPEED_COLUMNS),
            (load_epochs(results), EPOCH_COLUMNS),
        ):
            assert frame.dtypes.astype(str).to_dict() == columns
            assert "object" not in set(frame.dtypes.astype(str))
    for load, columns in ((load_runs, RUN_COLUMNS), (load_speeds, SPEED_COLUMNS)):
        for column in columns:
            assert f"`{column}`" in load.__doc__ or "CONDITION" in load.__doc__, column


def test_a_row_by_hand(tmp_path):
    store.save(tmp_path, RECORD)
    (row,) = load_runs(tmp_path).to_dict("records")
    expected = {
        "dataset": "d",
        "data_sha256": "a" * 64,
        "recipe": "r",
        "recipe_hash": "a" * 16,
        "model": "m",
        "plugin_sha256": "",
        "seed": 0,
        "test_error": 5.0,
        "val_error": 4.0,
        "params": 3,
        "macs_per_image": 10,
        "flops_per_image": 20,
        "generator_flops": 0,
        "epochs": 1,
        "steps": 10,
        "block": "stored",
        "optimizer": "sgd",
        "train_seconds": 1.0,
        "steady_seconds": 1.0,
        "device": "A processor",
        "test_images": 1,
        "dirty": False,
        "resumed_changed": False,
        "path": "runs/d/m/r-seed0.json",
    }
    assert {key: row[key] for key in expected} == expected
    assert pd.isna(row["pair"]) and pd.isna(row["study"]) and pd.isna(row["reason"])


def older(version):
    """The record as that version had it."""
    made = json.loads(json.dumps(RECORD | {"schema_version": version}))
    del made["engine"]
    if version < 5:
        for key in ("counting", "flip", "untrained", "test_wrong"):
            del made[key]
    if version < 4:
        del made["flops_per_image"], made["generator_flops"]
    return made


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_older_versions_come_out_the_same(tmp_path, version):
    store.save(tmp_path / "new", RECORD)
    store.save(tmp_path / "old", older(version))
    columns = [name for name in RUN_COLUMNS if name != "schema_version"]
    new, old = (load_runs(tmp_path / name)[columns] for name in ("new", "old"))
    pd.testing.assert_frame_equal(new, old)


def test_what_cannot_be_read_is_listed(tmp_path):
    path = store.save(tmp_path, RECORD)
    path.with_name("r-seed1.json").write_text('{"torn')
    path.with_name("r-seed2.json").write_text(json.dumps(RECORD | {"seed": 2, "test_error": 101}))
    path.with_name("r-seed3.json").write_text(json.dumps(RECORD))  # seed 0, at another place
    frame = load_runs(tmp_path)
    assert len(frame) == 1 and len(frame.attrs["problems"]) == 3
    for number, problem in enumerate(frame.attrs["problems"], start=1):
        assert f"runs/d/m/r-seed{number}.json" in problem and str(tmp_path) not in problem
    assert frame.attrs["recipes"] == {"a" * 16: RECORD["recipe"]}


def test_runs_and_trials_are_apart(tmp_path):
    trial = {key: value for key, value in RECORD.items() if not key.startswith("test_")}
    store.save(tmp_path, RECORD)
    store.save(tmp_path, trial | {"study": "rates", "dataset": "e"})
    assert load_runs(tmp_path).dataset.tolist() == ["d"]
    assert load_runs(tmp_path, "e").empty
    trials = load_runs(tmp_path, studies=True)
    assert trials.study.tolist() == ["rates"] and trials.test_error.isna().all()
    assert load_runs(tmp_path, "d", studies=True).empty


def test_epochs_are_those_of_the_history(tmp_path):
    store.save(tmp_path, RECORD)
    (row,) = load_epochs(tmp_path).to_dict("records")
    assert {key: row[key] for key in RECORD["history"][0]} == RECORD["history"][0]
    assert [row[key] for key in RUN_KEY] == ["d", "a" * 64, "r", "a" * 16, "m", ""]
    assert load_epochs(tmp_path / "none").empty


def test_the_statement_of_the_docstring_runs():
    runs = load_runs(ROOT / "results")
    ended = runs[runs.status == "ok"]
    told = ended.groupby(RUN_KEY).test_error.agg(["mean", "std", "count"])
    assert told["count"].sum() == len(ended) > 0


def test_speeds(tmp_path):
    place = tmp_path / "throughput" / "x"
    (place / "pair").mkdir(parents=True)
    step = {"median": 5.0, "q1": 4.0, "q3": 6.0, "windows": 3, "joules_per_image": 0.5}
    head = {"model": "m", "device": "x", "batch_size": 8, "environment": {"threads": 2}}
    single = head | {"measurements": {"training_step": step}, "peak_memory_bytes": 10**9}
    (place / "m.json").write_text(json.dumps(single))
    ratio = {"median": 0.9, "low": 0.8, "high": 1.0, "pairs": 15}
    pair = head | {
        "pair": ["m", "p"],
        "ratio": ratio,
        "null": ratio,
        "attempts": [1],
        "noisy": True,
    }
    (place / "pair" / "m.json").write_text(json.dumps(pair))
    (place / "odd.json").write_text("[]")
    frame = load_speeds(tmp_path)
    (problem,) = frame.attrs["problems"]
    assert "throughput/x/odd.json" in problem
    rows = frame.set_index("what")
    assert rows.loc["peak_memory", ["unit", "median"]].tolist() == ["bytes", 1e9]
    assert rows.loc["energy", "median"] == 0.5
    steps = rows.loc["training_step"].set_index("kind")
    assert steps.loc["speed", ["median", "low", "high", "n"]].tolist() == [5.0, 4.0, 6.0, 3]
    assert steps.loc["pair", ["median", "aa_low", "n", "attempts"]].tolist() == [0.9, 0.8, 15, 1]
    assert bool(steps.loc["pair", "noisy"]) and steps.loc["pair", "pair"] == "p"


@pytest.mark.parametrize(
    "task, rate, energy",
    [("images", "images/s", "J/image"), ("text", "characters/s", "J/character")],
)
def test_speeds_are_in_the_items_of_their_task(tmp_path, task, rate, energy):
    place = tmp_path / "throughput" / "x"
    place.mkdir(parents=True)
    step = {"median": 5.0, "q1": 4.0, "q3": 6.0, "windows": 3, "joules_per_image": 0.5}
    record = {"model": "m", "device": "x", "measurements": {"training_step": step}}
    (place / "m.json").write_text(json.dumps(record | {"task": task}))
    (place / "old.json").write_text(json.dumps(record | {"model": "old"}))
    frame = load_speeds(tmp_path)
    assert frame.set_index("model").task.to_dict() == {"m": task, "old": "images"}
    rows = frame[frame.model == "m"].set_index("what")
    assert rows.unit.to_dict() == {"training_step": rate, "energy": energy}
    assert rows.loc["training_step", ["low", "high", "n"]].tolist() == [4.0, 6.0, 3]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"task": "sounds"},
        {"task": ["text"]},
        {"measurements": {"training_step": {"median": "x"}}},
        {"measurements": {"energy": {"median": 1.0}}},
    ],
)
def test_a_speed_without_its_number_is_listed(tmp_path, content):
    place = tmp_path / "throughput" / "x"
    place.mkdir(parents=True)
    (place / "m.json").write_text(json.dumps({"model": "m", "device": "x"} | content))
    frame = load_speeds(tmp_path)
    assert frame.empty and "throughput/x/m.json" in frame.attrs["problems"][0]


def test_published_rows():
    frame = load_published()
    paper = frame.dropna(subset=["paper_row"])
    assert paper.test_error.tolist() == [6.73, 8.02, 5.66, 7.23]
    assert frame.source.notna().all() and frame.test_error.between(0, 100).all()


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"steps": None}, 2),  # as recorded
        ({"steps": 70}, 70 / 351),
        ({"steps": 702}, 2),
    ],
)
def test_epochs_may_be_a_part_where_steps_decide(tmp_path, own, told):
    recipe = {"block": "stored", "stored": BLOCK | own, "steps": own["steps"] or 702}
    recipe |= {"trained_epochs": 2, "batch_size": 128}
    results = write(tmp_path, [record(recipe=recipe)])
    assert load_runs(results).epochs.tolist() == [told]


def test_epochs_of_a_text_are_of_its_streams(tmp_path):
    (entry,) = text_rows("lstm_312", (1.9,), PLAIN_PARTS)
    recipe = TEXT_RECIPE | {"block": "stored", "stored": BLOCK | {"steps": 12}, "steps": 12}
    results = write(tmp_path, [entry | {"recipe": recipe}])
    # 128 streams of 2,444 symbols make 24 chunks of 100.
    assert load_runs(results).epochs.tolist() == [12 / 24]
