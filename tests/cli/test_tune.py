"""`tune`: a study of one model from a grid that all models share."""

import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torch import nn

from benchmarks.data.splits import DataSet
from benchmarks.runs import tuning
from benchmarks.system.files import locked
from benchmarks.training import recipes, studies
from models import registry
from tests.cli.conftest import code_of


@pytest.fixture
def fast_demo(monkeypatch):
    """`demo` in one epoch of batches of 64."""
    short = recipes.varied(recipes.RECIPES["demo"], "demo", {"epochs": 1, "batch_size": 64})
    monkeypatch.setitem(recipes.RECIPES, "demo", short)


def study_of(model, base, trials=9):
    text = tuning.study_text(model, base, trials, seeds=[0])
    return studies.parsed(text, tuning.study_file(Path("results"), model, base))


@pytest.mark.parametrize(
    "model, kind",
    [
        ("wide_resnet16_1", "stored"),
        ("hyper_resnet16_1", "scaled"),
        ("hashed_resnet16_1", "generated"),
    ],
)
def test_every_model_has_the_same_grid_of_its_own_block(model, kind):
    study, base = study_of(model, "epochs10"), recipes.load("epochs10")
    assert study.name == f"tune_{model}_epochs10" and study.base == base
    names = [recipe.name.removeprefix("epochs10.") for _, recipe in study.trials]
    assert names == [name for name, *_ in tuning.GRID]
    block, found = base.block(kind), []
    for _, recipe in study.trials:
        changes = recipes.differences(recipe.as_dict(), base.as_dict())
        assert all(key.startswith(f"{kind}.") for key in changes)
        found += [
            (key, value / getattr(block, key.split(".")[1])) for key, value in changes.items()
        ]
    expected = [(f"{kind}.{key}", factor) for _, key, factor in tuning.GRID[1:]]
    assert [key for key, _ in found] == [key for key, _ in expected]
    assert [ratio for _, ratio in found] == pytest.approx([ratio for _, ratio in expected])


def test_tuning_makes_a_study_and_prints_the_best(fast_demo, desk, capsys, monkeypatch):
    def refuse(self):
        raise AssertionError("the test set was read")

    monkeypatch.setattr(DataSet, "read_test", refuse)
    command = ["tune", "wide_resnet10_1", "--trials"]
    assert desk.code_of(*command, "2", "--dry-run") == 0
    assert "2 runs: 0 done already, 2 to train" in capsys.readouterr().out
    file = tuning.study_file(desk.folder / "results", "wide_resnet10_1", "demo")
    assert not file.exists()
    assert desk.code_of(*command, "2") == 0
    out = capsys.readouterr().out
    assert len(studies.load(file).trials) == 2
    rows = [line for line in out.splitlines() if "% (n = 1)" in line]
    errors = [float(line.split(" % (n = 1)")[0].split()[-1]) for line in rows]
    assert errors == sorted(errors) and len(errors) == 2
    assert "the test set was not read" in out
    if rows[0].startswith("nothing"):
        assert "The recipe was best as it is: --recipe demo" in out
    else:
        text = out.split("FILE.toml:\n\n")[1]
        assert tomllib.loads(text)["stored"] == {"learning_rate": 0.075}
    # More trials are added, fewer change nothing.
    assert desk.code_of(*command, "3") == 0
    assert capsys.readouterr().out.count("done already") == 2
    for dry_run in ([], ["--dry-run"]):
        assert desk.code_of(*command, "1", *dry_run) == 0
        told = capsys.readouterr()
        assert "3 runs: 3 done already" in told.out or told.out.count("done already") == 3
        assert "has 3 trials already; they stay" in told.err
    assert desk.code_of(*command, "3", "--seeds", "1") == 2
    assert "has another base, other seeds or other trials" in capsys.readouterr().err


def test_trials_of_other_code_are_no_rivals(fast_demo, own_models, desk, capsys):
    """They stay among the records, and are neither in the table nor the best."""
    text = (
        "from torch import nn\nfrom models.registry import register_model\n"
        "@register_model('edited')\ndef edited(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))  # {}\n"
    )
    plugin = desk.folder / "edited_nets.py"
    for edition in (1, 2):
        plugin.write_text(text.format(edition))
        desk.code_of("tune", "edited", "--trials", "2", "--plugin", plugin)
        out = capsys.readouterr().out
        assert sum("% (n = 1)" in line for line in out.splitlines()) == 2
    assert len(list((desk.folder / "results").rglob("*edited*/*/*/*.json"))) == 4
    study = desk.folder / "results" / "studies" / "tune_edited_demo" / "study.toml"
    study.write_text(study.read_text() + '[trials.wide_resnet10_1]\n"base" = {}\n')
    desk.code_of("tune", "edited", "--trials", "2", "--plugin", plugin)
    table = capsys.readouterr().out.split(str(study))[-1]
    assert table.count("% (n = 1)") == 2  # nor those of another model


def test_constant_rates_are_tuned():
    rates = [
        recipe.stored.learning_rate for _, recipe in study_of("lstm_16", "text_paper", 5).trials
    ]
    assert rates == [0.001, 0.0005, 0.002, 0.00025, 0.004]


def test_two_that_tune_at_once_lose_no_trial(tmp_path):
    file = tmp_path / "study.toml"
    texts = [tuning.study_text("wide_resnet16_1", "demo", n, seeds=[0]) for n in range(1, 8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: tuning.write(file, text), reversed(texts)))
    assert len(studies.load(file).trials) == 7
    with ThreadPoolExecutor(1) as pool:
        with locked(file.with_suffix(".lock")):
            waiting = pool.submit(tuning.write, file, texts[0])
            time.sleep(0.2)
            assert not waiting.done()
            longer = tuning.study_text("wide_resnet16_1", "demo", 8, seeds=[0])
            file.write_text(longer)
        waiting.result(timeout=60)
    assert file.read_text() == longer


def test_trials_that_diverge_are_in_the_table(fast_demo, own_models, desk, capsys):
    @registry.register_model("explodes")
    class Explodes(nn.Sequential):
        def __init__(self, classes):
            super().__init__(nn.Flatten(), nn.Linear(3072, classes))

        def forward(self, x):
            return super().forward(x) * float("inf")

    assert desk.code_of("tune", "explodes", "--trials", "1") == 0
    out = capsys.readouterr().out
    assert "1 diverged" in out and "no trial ended well" in out
    study = desk.folder / "results" / "studies" / "tune_explodes_demo" / "study.toml"
    assert desk.code_of("status", "--study", study) == 0
    told = capsys.readouterr().out
    assert "diverged" in told and "1 done" not in told
    assert desk.code_of("study", study) == 0
    page = desk.folder / "results" / "studies" / "README.md"
    assert f"page: {page}" in capsys.readouterr().out and "explodes" in page.read_text()


def test_the_recipe_of_the_best_trial_is_one(tmp_path):
    changed = {"epochs": 3, "stored.learning_rate": 0.1, "scaled.l2": 1e-4}
    file = tmp_path / "best.toml"
    file.write_text(tuning.recipe_text("epochs10", changed))
    recipe = recipes.load(str(file))
    name = "epochs10_epochs3_stored_learning_rate0.1_scaled_l20.0001"
    assert (recipe.name, recipe.epochs) == (name, 3)
    assert (recipe.stored.learning_rate, recipe.scaled.l2) == (0.1, 1e-4)


def test_a_foreign_module_is_tuned_as_stored_kernels(own_models):
    registry.register_model("my-mlp")(lambda classes: None)
    study = study_of("my-mlp", "demo", trials=2)
    assert [recipe.stored.learning_rate for _, recipe in study.trials] == [0.15, 0.075]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["wrn_16_1"], "nearest: wide_resnet16_1"),
        (["wide_resnet16_1", "--trials", "10"], "'10' is not allowed; .* from 1 to 9"),
        (["wide_resnet16_1", "--recipe", "quick"], "now epochs10"),
        (["wide_resnet16_1", "--recipe", "mine.toml"], "starts from a built-in one"),
        (["wide_resnet16_1", "--recipe", "paper"], "its learning rates are set by step"),
        (["lstm_16", "--recipe", "text_paper", "--trials", "6"], "the grid has 1 to 5"),
    ],
)
def test_wrong_input(arguments, message, capsys):
    assert code_of("tune", *arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message.split(" .*")[-1] in err
