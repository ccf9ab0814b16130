"""Recipe studies: what is tried, that the test set stays unread, and the page."""

import json
import shutil
from pathlib import Path

import pytest

import run_bench
from benchmarks.records import store
from benchmarks.report import studies_page
from benchmarks.training import recipes, studies
from tests.conftest import ROOT
from tests.records.test_store import TRIAL

BASE = recipes.RECIPES["smoke"]
TEXT = """
about = "Two rates."
base = "smoke"
seeds = [0, 1]
[fixed]
batch_size = 64
[trials.wide_resnet10_1]
"rate0.02" = { epochs = 1, stored = { learning_rate = 0.02 } }
[trials.hyper_resnet10_1]
"rate0.01" = { epochs = 1, scaled = { learning_rate = 0.01 } }
"""


def write(folder, text=TEXT):
    path = folder / "results" / "studies" / "rates" / "study.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_is_tried(tmp_path):
    study = studies.load(write(tmp_path))
    assert (study.name, study.base.name, study.base.batch_size, study.seeds) == (
        "rates",
        "smoke",
        64,
        (0, 1),
    )
    (plain, first), (generated, second) = study.trials
    assert (plain, generated) == ("wide_resnet10_1", "hyper_resnet10_1")
    assert (first.name, first.stored.learning_rate, first.epochs) == ("smoke.rate0.02", 0.02, 1)
    assert first.batch_size == 64
    assert second.scaled.learning_rate == 0.01 and second.stored == recipes.RECIPES["smoke"].stored


@pytest.mark.parametrize(
    "text, message",
    [
        (TEXT.replace('about = "Two rates."', ""), "about is missing"),
        (TEXT.replace('"smoke"', '"smoek"'), "nearest: smoke"),
        (TEXT.replace("learning_rate = 0.02", "learning_rat = 0.02"), "unknown key 'learning_rat'"),
        (TEXT.replace('"Two rates."', '"x"\nmore = 1'), "unknown key 'more'"),
        (TEXT.replace("about", "abuot"), "about is missing or no text"),
        (TEXT.replace("[fixed]", "trails = 3\n[fixed]"), "unknown key 'trails'.*nearest: trials"),
        (TEXT.replace("[0, 1]", '["0"]'), "seeds is missing or no list of whole numbers"),
        (TEXT.replace("[0, 1]", "[true]"), "seeds is missing or no list of whole numbers"),
        (TEXT + "x = 3", "trials of hyper_resnet10_1 are no table of tables"),
        (
            TEXT + '"half" = { precision = "bf16" }',
            "precision is not allowed in a trial of hyper_resnet10_1",
        ),
        (TEXT + '"eager" = { compile = "off" }', "compile is not allowed in a trial"),
        ("about = ", "Invalid value"),
    ],
)
def test_bad_studies(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        studies.load(write(tmp_path, text))


def test_a_study_has_its_place(tmp_path, monkeypatch, capsys):
    path = write(tmp_path)
    monkeypatch.chdir(path.parent)
    assert studies.load(Path("study.toml")).name == "rates"
    studies.refuse_elsewhere(Path("study.toml"), tmp_path / "results")
    other = shutil.copy(path, tmp_path / "study.toml")
    assert run_bench.main(["study", str(other), "--results-dir", str(tmp_path / "results")]) == 2
    assert "/studies/<name>/study.toml" in capsys.readouterr().err
    assert (
        run_bench.main(["study", str(tmp_path / "results" / "studies" / "raets" / "study.toml")])
        == 2
    )
    assert "No such file" in capsys.readouterr().err


def test_a_study_trains_reads_no_test_set_and_writes_its_page(tmp_path, monkeypatch, capsys):
    from benchmarks.data.splits import DataSet

    def refuse(self):
        raise AssertionError("the test set was read")

    monkeypatch.setattr(DataSet, "read_test", refuse)
    path, page = (
        write(tmp_path, TEXT.replace("seeds = [0, 1]", "seeds = [0]")),
        tmp_path / "page.md",
    )
    page.write_text(f"# Mine\n\n{studies_page.BEGIN}\n\nold\n")
    places = [
        "--results-dir",
        tmp_path / "results",
        "--checkpoint-dir",
        tmp_path / "checkpoints",
        "--page",
        page,
    ]
    command = [
        str(part)
        for part in ["study", path, *places, "--dataset", "digits", "--data-dir", tmp_path]
    ]
    assert run_bench.main(command) == 0
    found, problems = store.load_study(tmp_path / "results", "rates")
    assert len(found) == 2 and not problems
    assert all(
        "test_error" not in r and r["status"] == "ok" and r["study"] == "rates" for r in found
    )
    text = page.read_text()
    assert text.startswith("# Mine") and "old" not in text
    assert "Trials: `hyper_resnet10_1` on `digits` 1, `wide_resnet10_1` on `digits` 1." in text
    assert "epochs 1, stored.learning&#95;rate 0.02" in text
    capsys.readouterr()
    assert run_bench.main(command) == 0
    assert capsys.readouterr().out.count("done already") == 2 and page.read_text() == text
    assert run_bench.main(["verify", *map(str, places[:4])]) == 0
    assert "2 records, 2 checkpoints: nothing wrong" in capsys.readouterr().out


def trial(model, rate, seed, error):
    recipe = recipes.varied(BASE, f"smoke.{rate}", {"stored": {"learning_rate": rate}})
    return TRIAL | {"model": model, "seed": seed, "val_error": error, "recipe": recipe.as_dict()}


def test_the_table_has_the_lowest_error_first_and_pools_seeds_only():
    found = [
        trial("m", 0.05, 0, 30.0),
        trial("m", 0.2, 0, 20.0),
        trial("m", 0.2, 1, 22.0),
        trial("a", 0.3, 0, 40.0),
    ]
    table = studies_page.table(studies.Study("rates", "", BASE, (0,), ()), found)
    assert [[str(cell) for cell in row[2:4]] for row in table.rows] == [
        ["stored.learning_rate 0.3", "40.00 % (n = 1)"],
        ["stored.learning_rate 0.2", "21.00 ± 1.41 % (n = 2)"],
        ["nothing", "30.00 % (n = 1)"],
    ]


@pytest.mark.parametrize("model", ["wide_resnet16_1", "hyper_resnet16_1"])
def test_the_built_in_blocks_are_those_of_the_lowest_validation_error(model):
    """Chosen by `val_error` alone, of as many trials of five epochs for the one member of the pair as for the other."""
    found = [
        r
        for path in studies.find(ROOT / "results")
        for r in store.load_study(ROOT / "results", path.parent.name)[0]
    ]
    found = [r for r in found if r["recipe"]["epochs"] == 5]
    trials = {
        name: [r for r in found if r["model"] == name]
        for name in ("wide_resnet16_1", "hyper_resnet16_1")
    }
    assert len(trials["wide_resnet16_1"]) == len(trials["hyper_resnet16_1"])
    best = min(
        (r for r in trials[model] if r["val_error"] is not None), key=lambda r: r["val_error"]
    )
    chosen = recipes.from_record(best["recipe"]).block(best["recipe"]["block"])
    assert best["recipe"]["block"] == {"w": "stored", "h": "scaled"}[model[0]]
    for name in ("quick", "quick8", "quick15", "fast"):
        assert recipes.RECIPES[name].block(best["recipe"]["block"]) == chosen


def test_the_lowest_error_of_each_length_is_told():
    one, other = (
        [trial("m", 0.05, 0, 30.0), trial("m", 0.2, 0, 20.0), trial("m", 0.2, 1, 23.0)],
        [trial("m", 0.3, 0, 21.0)],
    )
    failed = trial("m", 0.4, 0, None)
    longer = trial("m", 0.1, 0, 10.0) | {
        "recipe": recipes.varied(BASE, "smoke.long", {"epochs": 9}).as_dict()
    }
    assert studies_page.chosen({"one": [failed, *one], "other": [*other, longer]}).splitlines() == [
        "- `m` on `d`, trials of 3 epochs: 4; the lowest validation error is 21.00 % (other, `smoke.0.3`).",
        "- `m` on `d`, trials of 9 epochs: 1; the lowest validation error is 10.00 % (other, `smoke.long`).",
    ]
    assert (
        studies_page.chosen({"one": [failed]})
        == "- `m` on `d`, trials of 3 epochs: 1; none ended well."
    )
    assert studies_page.chosen({"none": []}) == ""
    odd = longer | {"recipe": {"name": "odd", "hash": "x"}}
    assert (
        "trials of unknown epochs: 1; the lowest validation error is 10.00 %"
        in studies_page.chosen({"one": [*one, odd]})
    )


def test_data_sets_are_not_pooled():
    found = [trial("m", 0.05, 0, 30.0), trial("m", 0.05, 0, 2.0) | {"dataset": "other"}]
    rows = studies_page.table(studies.Study("rates", "", BASE, (0,), ()), found).rows
    assert [[str(row[1]), str(row[3])] for row in rows] == [
        ["d", "30.00 % (n = 1)"],
        ["other", "2.00 % (n = 1)"],
    ]
    assert len(studies_page.chosen({"rates": found}).splitlines()) == 2


def test_committed_page_is_what_the_records_give(tmp_path):
    page = shutil.copy(ROOT / "docs" / "recipes.md", tmp_path / "recipes.md")
    studies_page.write_page(ROOT / "results", page)
    assert page.read_text() == (ROOT / "docs" / "recipes.md").read_text()
    for path in (ROOT / "results" / "studies").glob("*/*/*/*.json"):
        record = json.loads(path.read_text())
        store.validate(record)
        assert "test_error" not in record
