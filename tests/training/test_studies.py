"""Recipe studies: what is tried, that the test set stays unread, and the page."""

import shutil
from pathlib import Path

import pytest

import run_bench
from benchmarks.records.frame import load_runs
from benchmarks.report import studies_page
from benchmarks.training import recipes, studies
from tests.conftest import ROOT

BASE = recipes.RECIPES["demo"]
TEXT = """
about = "Two rates."
base = "demo"
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
        "demo",
        64,
        (0, 1),
    )
    (plain, first), (generated, second) = study.trials
    assert (plain, generated) == ("wide_resnet10_1", "hyper_resnet10_1")
    assert (first.name, first.stored.learning_rate, first.epochs) == ("demo.rate0.02", 0.02, 1)
    assert first.batch_size == 64
    assert second.scaled.learning_rate == 0.01 and second.stored == recipes.RECIPES["demo"].stored


def test_the_base_of_a_study_may_have_a_former_name(tmp_path):
    study = studies.load(write(tmp_path, TEXT.replace('"demo"', '"smoke"')))
    assert [recipe.name for _, recipe in study.trials] == ["smoke.rate0.02", "smoke.rate0.01"]
    assert recipes.differences(study.base.as_dict(), BASE.as_dict()) == {"batch_size": 64}


@pytest.mark.parametrize(
    "text, message",
    [
        (TEXT.replace('about = "Two rates."', ""), "about is missing"),
        (TEXT.replace('"demo"', '"dmeo"'), "nearest: demo"),
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
    runs = load_runs(tmp_path / "results", studies=True)
    assert len(runs) == 2 and not runs.attrs["problems"]
    assert runs.test_error.isna().all() and set(runs.status) == {"ok"}
    assert set(runs.study) == {"rates"}
    text = page.read_text()
    assert text.startswith("# Mine") and "old" not in text
    assert "Trials: `hyper_resnet10_1` on `digits` 1, `wide_resnet10_1` on `digits` 1." in text
    assert "epochs 1, stored.learning_rate 0.02" in text
    capsys.readouterr()
    assert run_bench.main(command) == 0
    assert capsys.readouterr().out.count("done already") == 2 and page.read_text() == text
    assert run_bench.main(["verify", *map(str, places[:4])]) == 0
    assert "2 records, 2 checkpoints: nothing wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    "model, block", [("wide_resnet16_1", "stored"), ("hyper_resnet16_1", "scaled")]
)
def test_the_built_in_blocks_are_those_of_the_lowest_validation_error(model, block):
    """Chosen by `val_error` alone, on these data; as many trials of five epochs for both."""
    runs = load_runs(ROOT / "results", studies=True)
    trials = runs[(runs.epochs == 5) & (runs.dataset == "cifar10-jpeg")]
    counts = trials.model.value_counts()
    assert counts["wide_resnet16_1"] == counts["hyper_resnet16_1"]
    own = trials[trials.model == model].set_index("recipe_hash")
    best = own.val_error.idxmin()
    assert own.block[best] == block
    chosen = recipes.from_record(runs.attrs["recipes"][best]).block(block)
    for name in ("epochs10", "epochs8", "epochs15", "epochs200", "epochs30"):
        assert recipes.load(name).block(block) == chosen
