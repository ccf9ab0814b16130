"""The page of the studies is what their records give."""

import json
import shutil

import pandas as pd
import pytest

from benchmarks.records import store
from benchmarks.records.frame import load_runs
from benchmarks.report import studies_page
from benchmarks.training import recipes, studies
from tests.conftest import ROOT
from tests.records.test_store import RECORD

BASE = recipes.varied(
    recipes.RECIPES["demo"], "demo", {"epochs": 3, "stored": {"learning_rate": 0.05}}
)
STUDY = studies.Study("rates", "", BASE, (0,), ())


def trial(model, rate, seed, error, study="rates", dataset="d", name=None, epochs=3):
    changes = {"stored": {"learning_rate": rate}, "epochs": epochs}
    recipe = recipes.varied(BASE, name or f"demo.{rate}", changes).as_dict()
    history = [RECORD["history"][0] | {"val_error": error or 90.0}]
    made = {key: value for key, value in RECORD.items() if not key.startswith("test_")} | {
        "model": model,
        "seed": seed,
        "val_error": error,
        "dataset": dataset,
        "study": study,
        "recipe": recipe | {"block": "stored"},
        "history": history,
    }
    if error is None:
        made |= {"status": "diverged", "reason": "loss is not finite"}
    return made


def trials(folder, records, study="rates"):
    for record in records:
        store.save(folder, record)
    runs = load_runs(folder, studies=True)
    assert runs.attrs["problems"] == []
    found = studies_page.trials_of(runs, study)
    return studies_page.table(STUDY, found, runs.attrs["recipes"]).assign(study=study)


def resolved(folder):
    """The recipes of the trials in a folder, by hash."""
    return load_runs(folder, studies=True).attrs["recipes"]


def test_the_table_has_the_lowest_error_first_and_pools_seeds_only(tmp_path):
    records = [
        trial("m", 0.05, 0, 30.0),
        trial("m", 0.2, 0, 20.0),
        trial("m", 0.2, 1, 22.0),
        trial("a", 0.3, 0, 40.0),
    ]
    found = trials(tmp_path, records)
    assert found.changed.tolist() == [
        "stored.learning_rate 0.3",
        "stored.learning_rate 0.2",
        "nothing",
    ]
    assert found["mean"].tolist() == [40.0, 21.0, 30.0] and found.n.tolist() == [1, 2, 1]


def test_the_lowest_error_of_each_length_is_told(tmp_path):
    one = [
        trial("m", 0.4, 0, None),
        trial("m", 0.05, 0, 30.0),
        trial("m", 0.2, 0, 20.0),
        trial("m", 0.2, 1, 23.0),
    ]
    found = [
        trials(tmp_path, one),
        trials(tmp_path, [trial("m", 0.3, 0, 21.0, "other")], "other"),
    ]
    longer = trial("m", 0.1, 0, 10.0, "long", name="demo.long", epochs=9)
    found.append(trials(tmp_path, [longer], "long"))
    told = studies_page.chosen(pd.concat(found), resolved(tmp_path)).splitlines()
    assert told == [
        "- `m` on `d`, trials of 3 epochs: 4; the lowest validation error is 21.00 % "
        "(other, `demo.0.3`).",
        "- `m` on `d`, trials of 9 epochs: 1; the lowest validation error is 10.00 % "
        "(long, `demo.long`).",
    ]
    failed = trials(tmp_path / "failed", [trial("m", 0.4, 0, None)])
    told = studies_page.chosen(failed, {})
    assert told == "- `m` on `d`, trials of 3 epochs: 1; none ended well."
    assert studies_page.chosen(failed.iloc[:0], {}) == ""


@pytest.mark.parametrize(
    "errors, told",
    [
        ({0.1: 20.0, 0.2: 30.0}, ""),  # of two, one is always at the edge
        ({0.1: 20.0, 0.2: 10.0, 0.4: 30.0}, ""),
        ({0.1: 20.0, 0.2: 30.0, 0.4: 40.0}, "lowest"),
        ({0.1: 40.0, 0.2: 30.0, 0.4: 20.0}, "highest"),
        ({0.1: 40.0, 0.2: 30.0, 0.4: None}, ""),  # a rate that diverges is an end too
    ],
)
def test_a_best_rate_at_the_edge_of_those_tried_is_told(tmp_path, errors, told):
    found = trials(tmp_path, [trial("m", rate, 0, error) for rate, error in errors.items()])
    line = studies_page.chosen(found, resolved(tmp_path))
    edge = f", with the {told} learning rate of the 3 that were tried." if told else "`)."
    assert line.endswith(edge)


def test_data_sets_are_not_pooled(tmp_path):
    found = trials(tmp_path, [trial("m", 0.05, 0, 30.0), trial("m", 0.05, 0, 2.0, dataset="e")])
    assert found[["dataset", "mean"]].to_numpy().tolist() == [["d", 30.0], ["e", 2.0]]
    assert len(studies_page.chosen(found, resolved(tmp_path)).splitlines()) == 2


def test_records_that_cannot_be_read_are_listed(tmp_path):
    path = tmp_path / "studies" / "rates" / "d" / "m" / "r-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RECORD | {"seed": -1}))
    page = tmp_path / "page.md"
    page.write_text(f"{studies_page.BEGIN}\n")
    studies_page.write_page(tmp_path, page)
    assert "r-seed0.json" in page.read_text() and str(tmp_path) not in page.read_text()


def test_committed_page_is_what_the_records_give(tmp_path):
    page = shutil.copy(ROOT / "docs" / "recipes.md", tmp_path / "recipes.md")
    studies_page.write_page(ROOT / "results", page)
    assert page.read_text() == (ROOT / "docs" / "recipes.md").read_text()


def test_a_page_without_the_mark_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    with pytest.raises(studies.StudyError, match="has no line"):
        studies_page.write_page(tmp_path, page)


def test_a_page_that_is_not_there_is_made(tmp_path):
    page = tmp_path / "docs" / "recipes.md"
    studies_page.write_page(tmp_path / "results", page)
    assert page.read_text(encoding="utf-8") == f"# Recipe studies\n\n{studies_page.BEGIN}\n"
    page.write_text("another page", encoding="utf-8")
    with pytest.raises(studies.StudyError, match="has no line"):
        studies_page.head(page)
    assert page.read_text(encoding="utf-8") == "another page"


def test_the_rates_are_those_of_the_models_own_block(tmp_path):
    """A recipe has rates for stored and for generated kernels: here each way round."""
    records = []
    for rate, other, error in ((0.1, 0.8, 20.0), (0.2, 0.4, 15.0), (0.4, 0.2, 10.0)):
        for model, block in (("m", "generated"), ("n", "stored")):
            entry = trial(model, rate, 0, error)
            entry["recipe"] = entry["recipe"] | {"block": block}
            entry["recipe"]["generated"] = entry["recipe"]["stored"] | {"learning_rate": other}
            records.append(entry)
    told = studies_page.chosen(trials(tmp_path, records), resolved(tmp_path)).splitlines()
    assert "lowest learning rate of the 3" in told[0]
    assert "highest learning rate of the 3" in told[1]


def test_a_setting_of_which_seeds_diverged_is_not_the_best(tmp_path):
    seeds = [(0.2, 0, 9.0), (0.2, 1, None), (0.1, 0, 10.0), (0.1, 1, 10.2)]
    found = trials(tmp_path, [trial("m", rate, seed, error) for rate, seed, error in seeds])
    assert found["mean"].tolist() == [10.1, 9.0]
    assert "`demo.0.1`" in studies_page.chosen(found, resolved(tmp_path))
