"""The report: a pure function of records, honest about blanks, harmless whatever a record says."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from benchmarks.records import store, validation
from benchmarks.report import pages
from benchmarks.report.method import recipe_text
from benchmarks.report.page import Page, write_folder
from benchmarks.report.tables import optimizer_text
from benchmarks.tasks import IMAGES
from tests.conftest import ROOT
from tests.records.test_store import RECORD
from tests.report.made import BLOCK, FINGERPRINT, RECIPE, hyper, record, rows, speed, write

PAIRS = [*rows("wide_resnet16_1", (10.0, 11.0, 12.0), 100), *hyper((12.0, 13.0, 17.0))]
SPEEDS = [speed("wide_resnet16_1", 800.0), speed("hyper_resnet16_1", 700.0)]


def report(folder, records, speeds=(), dataset="made"):
    """The text of all pages that these records give, the front page first."""
    results = write(folder, records, speeds)
    (path,) = pages.build_report(results, folder / "reports", dataset)
    others = [file for file in sorted(path.parent.rglob("*.md")) if file != path]
    return "\n".join(file.read_text(encoding="utf-8") for file in [path, *others])


@pytest.fixture
def without_figures(monkeypatch):
    """For tests of text: drawing takes a second a figure."""
    monkeypatch.setattr(pages, "_draw", lambda *arguments: (None, {}))


@pytest.mark.usefixtures("without_figures")
def test_the_page_says_what_the_records_say(tmp_path):
    text = report(tmp_path, PAIRS, SPEEDS)
    for said in (
        "11.00 ± 1.00 %",
        "14.00 ± 2.65 %",
        "+3.00 [-1.30, +7.30]",
        "11.00 % [8.52, 13.48]",
        "Is `hyper_resnet16_1` (80 parameters, quick8) better than its plain pair? **Undecided**: "
        "+3.00 points [-1.30, +7.30] against `wide_resnet16_1` (100 parameters).",
        "6 runs of 2 models, 2 epochs each, on A processor",
        "0: 12.00 %, 1: 13.00 %, 2: 17.00 %",
        "measured on A processor, 2 threads, batch 128, bf16, compile default, torch 2.14.0",
        "0.800",  # of its pair's parameters
    ):
        assert said in text
    assert "0.875" not in text  # images/s of two runs make no ratio


@pytest.mark.usefixtures("without_figures")
def test_a_pair_that_was_not_trained_is_missing(tmp_path):
    text = report(tmp_path, [record("mine", 0, 10.0, "wide_resnet16_1")])
    assert "Runs of `wide_resnet16_1`, the pair of `mine`." in text
    both = [record("mine", 0, 10.0, "wide_resnet16_1"), record("wide_resnet16_1", 0, 9.0)]
    assert "the pair of" not in report(tmp_path / "both", both)


@pytest.mark.usefixtures("without_figures")
def test_a_pair_without_a_common_recipe_is_told(tmp_path):
    """As two that were each trained with what `tune` found for it."""
    mine = record("mine", 0, 10.0, "wide_resnet16_1")
    other = {"name": "other", "hash": "b" * 16}
    told = "Runs of `wide_resnet16_1` and of `mine` with one recipe: answers compare no others."
    assert told in report(tmp_path, [mine, record("wide_resnet16_1", 0, 9.0, recipe=other)])
    both = [mine, record("wide_resnet16_1", 0, 9.0), record("mine", 0, 9.0, recipe=other)]
    assert "with one recipe" not in report(tmp_path / "both", both)


@pytest.mark.usefixtures("without_figures")
def test_two_hashes_have_a_section_each(tmp_path):
    records = [record(error=10.0), record(seed=1, error=30.0, recipe={"hash": "b" * 16})]
    text = report(tmp_path, records)
    assert text.count("recipe `quick8`") == 2 and "20.00 %" not in text


@pytest.mark.usefixtures("without_figures")
def test_two_fingerprints_have_a_section_each_and_are_told(tmp_path):
    data = record()["dataset_fingerprint"] | {"sha256": "e" * 64}
    text = report(tmp_path, [record(), record(seed=1, error=30.0, dataset_fingerprint=data)])
    assert text.count("recipe `quick8`") == 2 and "20.00 %" not in text
    assert "The data differ between runs" in text and f"Data `{'e' * 16}`" in text
    tables = (tmp_path / "reports" / "made" / "tables").glob("*-models.csv")
    assert len(list(tables)) == 2
    assert "The data differ" not in report(tmp_path / "same", [record(), record(seed=1)])


def test_byte_for_byte(tmp_path):
    for name, records in (("a", PAIRS), ("b", list(reversed(PAIRS)))):
        report(tmp_path / name, records, SPEEDS)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a/reports").rglob("*.*")]
    assert {path.suffix for path in files} == {".md", ".svg", ".tex", ".csv"}
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_what_says_nothing_is_not_drawn(tmp_path):
    """Two models of one budget make no front and no sorted errors; one model no forest."""
    report(tmp_path / "pair", PAIRS, SPEEDS[:1])
    figures = tmp_path / "pair" / "reports" / "made" / "figures"
    assert {path.stem for path in figures.iterdir()} == {"forest", "quick8-gaps"}
    text = report(tmp_path / "one", PAIRS[:3])
    assert "forest" not in text
    assert not list((tmp_path / "one" / "reports").rglob("*.svg"))


@pytest.mark.usefixtures("without_figures")
def test_the_front_page_fits_two_screens_and_has_the_longest_recipe_of_each_model(tmp_path):
    short = {"name": "epochs1", "hash": "c" * 16, "steps": 351, "epochs": 1}
    records = [*PAIRS, *rows("wide_resnet16_1", (30.0, 31.0, 32.0), 100, recipe=short)]
    results = write(tmp_path, records)
    (path,) = pages.build_report(results, tmp_path / "reports", "made")
    text = path.read_text(encoding="utf-8")
    assert "11.00 ± 1.00 %" in text and "31.00" not in text
    assert len(text.splitlines()) < 60
    recipes = {file.name for file in (path.parent / "recipes").iterdir()}
    assert recipes == {"epochs1.md", "quick8.md"}
    assert all(f"recipes/{name}" in text for name in recipes)
    runs = pd.read_csv(path.parent / "results.csv")
    assert len(runs) == len(records) and set(runs.recipe) == {"quick8", "epochs1"}


@pytest.mark.usefixtures("without_figures")
def test_a_question_about_any_model(tmp_path):
    bank = rows("template_resnet16_1", (9.0, 9.1, 9.2), 82, pair="wide_resnet16_1")
    results = write(tmp_path, [*PAIRS, *bank])
    ask = pages.build_report
    (path,) = ask(results, tmp_path / "reports", "made", question="template_resnet16_1")
    text = path.read_text(encoding="utf-8")
    assert "Is `template_resnet16_1` (82 parameters, quick8) better than its plain pair?" in text
    assert "Is `hyper_resnet16_1`" not in text
    with pytest.raises(ValueError, match="no run of model 'nobody' on made; there are"):
        ask(results, tmp_path / "reports", "made", question="nobody")


def weaknesses(folder, records):
    """What weakens the answers of the front page."""
    report(folder, records)
    text = (folder / "reports" / "made" / "README.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if "Weakened by" in line]


@pytest.mark.usefixtures("without_figures")
def test_runs_that_are_not_clean_weaken_an_answer(tmp_path):
    plain, own = rows("wide_resnet16_1", (10.0, 10.1, 10.2)), (9.0, 9.12, 9.21)
    assert not weaknesses(tmp_path / "clean", [*plain, *hyper(own)])
    lost = {"status": "diverged", "reason": "loss is NaN", "test_error": None}
    few = [entry | lost for entry in hyper([None] * 3 + [10.0] * 7)]
    (line,) = weaknesses(tmp_path / "few", [*plain, *hyper(own), *few])
    assert "7 of its seeds diverged" in line
    front = (tmp_path / "few" / "reports" / "made" / "README.md").read_text(encoding="utf-8")
    assert "Runs that did not end well: 7 diverged (`hyper_resnet16_1`)" in front
    dirty = {"code": RECORD["code"] | {"dirty": True}}
    (line,) = weaknesses(tmp_path / "dirty", [*plain, *hyper(own, **dirty)])
    assert "its runs were made with uncommitted changes" in line


@pytest.mark.usefixtures("without_figures")
def test_a_difference_that_few_test_items_explain_is_weak(tmp_path):
    def entry(model, seed, wrong, pair=None):
        flags = np.zeros(200, bool)
        flags[wrong] = True
        data = FINGERPRINT | {"test": 200}
        packed = validation.packed(flags)
        error = 100 * float(flags.mean())
        return record(model, seed, error, pair, test_wrong=packed, dataset_fingerprint=data)

    records = []
    for seed, more in enumerate((0, 1, 0)):
        records.append(entry("wide_resnet16_1", seed, range(20)))
        own = range(20, 38 - more)
        records.append(entry("hyper_resnet16_1", seed, own, "wide_resnet16_1"))
    (line,) = weaknesses(tmp_path, records)
    assert (
        "**Yes**" in line and "within ±6.01 points, the sampling error of 200 test images" in line
    )


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("changed", ["data", "code"])
def test_each_kind_of_data_and_each_code_has_its_answer(tmp_path, changed):
    sha256 = {"sha256": "e" * 64, "decoded_sha256": "f" * 64}
    other = {
        "data": {"dataset_fingerprint": FINGERPRINT | sha256},
        "code": {"code": RECORD["code"] | {"plugin_sha256": "e" * 64}},
    }[changed]
    plain, own = (10.0, 10.1, 10.2), {"pair": "wide_resnet16_1", "kernels": "hyper"}
    first = {"code": RECORD["code"] | {"plugin_sha256": "a" * 64}} if changed == "code" else {}
    records = rows("wide_resnet16_1", plain)
    records += rows("mine", (9.0, 9.12, 9.21), **own, **first)
    records += rows("mine", (12.0, 12.12, 12.21), **own, **other)
    if changed == "data":
        records += rows("wide_resnet16_1", plain, **other)
    report(tmp_path, records)
    text = (tmp_path / "reports" / "made" / "README.md").read_text(encoding="utf-8")
    said = [line for line in text.splitlines() if "better than its plain pair?" in line]
    assert len(said) == 2 and any("eeeeeeee" in line for line in said)
    rule = next(line for line in text.splitlines() if line.startswith("Is a model better than"))
    assert ("¶ a model that its plugin defines" in rule) == (changed == "code")
    assert any("**Yes**" in line for line in said) and any("**No**" in line for line in said)


@pytest.mark.usefixtures("without_figures")
def test_answers_are_a_table_too(tmp_path):
    """Ratios are of the rival's: 80 parameters against 100, and 70 that are not worse."""
    smaller = rows("narrow_resnet16_11", (12.5, 13.5, 16.5), 70, macs=500)
    text = report(tmp_path, [*PAIRS, *smaller])
    table = text.split("## Answers")[1].split("\n\n")[2].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    start = "`hyper_resnet16_1`"
    assert [row[:4] for row in cells] == [
        [start, "`wide_resnet16_1`", "its plain pair", "undecided"],
        [
            start,
            "`narrow_resnet16_11`",
            "the best plain network of at most its parameters (within 3 %)",
            "undecided",
        ],
        [
            start,
            "`narrow_resnet16_11`",
            "the smallest plain network that is not measurably worse",
            "undecided",
        ],
    ]
    assert [row[5:] for row in cells] == [["0.80", "1.00"], ["1.14", "2.00"], ["1.14", "2.00"]]
    folder = tmp_path / "reports" / "made" / "tables"
    found = pd.read_csv(folder / "answers.csv")
    assert found.answer.tolist() == ["undecided"] * 3 and (folder / "answers.tex").is_file()


@pytest.mark.usefixtures("without_figures")
def test_what_weakens_an_answer_is_said(tmp_path):
    bf16 = {"environment": {"precision": "bf16"}}
    first, second, third = hyper((12.0, 13.0, 17.0))
    crossed = hyper((12.0,), **bf16)
    text = report(tmp_path / "a", [*PAIRS[:3], *crossed, second, third])
    assert "Weakened by: seed 0 bf16 against fp32 (without: +3.50)." in text
    text = report(tmp_path / "b", [PAIRS[0], first])
    undecided = (
        "**Undecided**: +2.00 points against `wide_resnet16_1` (100 parameters). Weakened by: "
    )
    assert undecided + "1 seed, no interval" in text
    smaller = rows("narrow_resnet16_11", (16.0, 16.1, 16.2), 70)
    text = report(tmp_path / "d", [*PAIRS, *smaller])
    assert (
        "(70 parameters), the only one trained. Weakened by: 1.14 times the rival's parameters."
        in text
    )
    better = rows("narrow_resnet16_11", (16.0, 16.1, 16.2), 79, val_error=9.0)
    text = report(tmp_path / "f", [*hyper((10.0, 10.0, 10.1), val_error=11.0), *better])
    assert (
        "-6.07 points [" in text and "+2.00 on the validation split, outside the interval" in text
    )
    dear = rows("narrow_resnet16_11", (16.0, 16.1, 16.2), 79, macs=500)
    dear += rows("narrow_resnet22_9", (17.0, 17.1, 17.2), 79)
    text = report(tmp_path / "e", [*PAIRS, *dear])
    assert "(79 parameters), the best of 2. Weakened by: 2.00 times the rival's FLOPs." in text
    assert (
        "Which smallest plain network is not measurably worse than `hyper_resnet16_1` (80 "
        "parameters, quick8)? `narrow_resnet16_11` (79 parameters), with 0.99 times its parameters "
        "and 0.50 times its FLOPs: -2.10 points [" in text
    )
    half = {"name": "quick8.half", "hash": "b" * 16}
    (tried,) = hyper((11.0,), recipe=half, study="rates")
    results = write(tmp_path / "c", PAIRS)
    store.save(results, {key: tried[key] for key in tried if not key.startswith("test_")})
    (path,) = pages.build_report(results, tmp_path / "c" / "reports", "made")
    assert (
        "studies tried 1 settings for its kind, 0 for the rival's; in trials other settings of the "
        "recipe lowered its validation error by 3.00 points." in path.read_text(encoding="utf-8")
    )


@pytest.mark.usefixtures("without_figures")
def test_pairs_and_comparisons_are_tables(tmp_path):
    ratio = {"median": 0.98, "low": 0.97, "high": 0.99, "pairs": 15}
    of_pair = {
        "null": ratio | {"median": 1.0},
        "ratio": ratio,
        "noisy": True,
        "attempts": [{}, {}, {}],
    }
    head = {"model": "hyper_resnet16_1", "device": "A processor", "batch_size": 128}
    compared = {"ratios": {"suite plain / nn.Conv2d": ratio}}
    valid = of_pair | {"noisy": False}
    inference = {"generated": valid, "materialized": valid}
    entries = [
        head | {"kind": "pair", **of_pair, "inference": inference},
        head
        | {
            "kind": "compare",
            "step": compared,
            "epoch": compared,
            "descriptions": {"nn.Conv2d": "by hand", "unused": "not here"},
        },
        head | {"kind": "compare", "batch_size": 64, "step": [], "epoch": None, "descriptions": []},
    ]
    text = report(tmp_path, PAIRS, entries)
    training, generated, materialized = [
        line for line in text.splitlines() if "1.000 [0.970, 0.990]" in line
    ]
    assert "training step" in training and "noisy" in training
    assert "0.980 [0.970, 0.990]" in training
    assert "inference, generated" in generated and "valid" in generated
    assert "inference, materialized" in materialized
    assert text.count("suite plain / nn.Conv2d") == 2 and "- nn.Conv2d: by hand" in text
    assert "not here" not in text


DIVERGED = {"status": "diverged", "error": None, "val_error": None}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    "changes, expected",
    [
        (DIVERGED | {"reason": "loss is not finite"}, "1 diverged"),
        (DIVERGED | {"reason": "no memory | <b>"}, r"no memory \| \<b\>"),
        (DIVERGED | {"reason": "x"}, "no run ended well"),
        (
            {"code": record()["code"] | {"dirty": True}},
            "† made with uncommitted changes",
        ),
        ({"code": record()["code"] | {"dirty": None, "commit": None}}, "Commits: unknown"),
        (
            {"resumed": [{"step": 1, "differing": {"torch": ["1", "2"]}, "note": None}]},
            "‡ resumed on another device, or with other code",
        ),
        ({"environment": {"device": "<b>|"}}, r"Device: \<b\>\|."),
        ({"environment": {"fallbacks": ["no *compiler*"]}}, r"Fall-backs: no \*compiler\*."),
        ({"macs_per_image": None, "generator_macs": None}, "–"),
    ],
)
def test_what_is_odd_is_told(tmp_path, changes, expected):
    text = report(tmp_path, [record(**changes)])
    assert expected in text and "<b>" not in text and "nan" not in text and "<NA>" not in text


def broken(**changes):
    return json.dumps(record() | changes)


@pytest.mark.usefixtures("without_figures")
def test_what_is_no_record_is_listed_and_the_rest_is_shown(tmp_path):
    contents = [
        '{"torn',
        "[]",
        broken(test_error=120.0),
        broken(test_error=float("nan")),
        broken(params=10**400),
        broken(params=10**30, params_by_component={"stem": 10**30}),
        broken(model="<script>alert(1)</script>"),
        broken(model="a|b"),
        broken(seed=[1]),
        broken(recipe={}),
        broken(environment=None),
        broken(),  # valid, but at another run's place
    ]
    text = report(tmp_path, [*PAIRS, *contents])
    assert "11.00 ± 1.00 %" in text and f"Files that are not records: {len(contents)}" in text
    for number in range(len(PAIRS), len(PAIRS) + len(contents)):
        assert text.count(f"m{number}/r-seed0.json") == 1
    assert str(tmp_path) not in text and "<script>" not in text and "a|b" not in text


def test_a_data_set_of_torn_records_alone_is_listed(tmp_path):
    assert "m0/r-seed0.json" in report(tmp_path, ['{"torn'])


@pytest.mark.usefixtures("without_figures")
def test_speeds_that_cannot_be_read_are_listed(tmp_path):
    folder = tmp_path / "results" / "throughput" / "x"
    folder.mkdir(parents=True)
    for number, content in enumerate(['{"torn', "[]", '{"model": ["a"]}']):
        (folder / f"m{number}.json").write_text(content)
    text = report(tmp_path, PAIRS)
    assert all(f"throughput/x/m{number}.json" in text for number in range(3))
    assert str(tmp_path) not in text


@pytest.mark.usefixtures("without_figures")
def test_rows_of_the_paper_without_a_record_have_published_numbers_only(tmp_path):
    text = report(tmp_path, [entry | {"dataset": "cifar10"} for entry in PAIRS], (), "cifar10")
    lines = [line for line in text.splitlines() if line.startswith("| `hyper_resnet40_1`")]
    (line,) = [line for line in lines if "not yet measured" in line]
    assert "8.02 %" in line and "97,000" in line and "not yet measured" in line


def test_rules_of_parts_are_said():
    rule = {"optimizer": "adam", "learning_rate": 0.006}
    block = BLOCK | {"embeddings": rule | {"learning_rate": 0.5}, "backbone": rule}
    told = "sgd 0.1, embeddings adam 0.5, backbone adam 0.006"
    assert f"stored kernels: {told} (cosine" in recipe_text(RECIPE | {"stored": block}, IMAGES)
    assert optimizer_text({"scaled": BLOCK}, "scaled") == "scaled sgd 0.1, L2 0.0005"
    assert optimizer_text({"stored": block}, "stored") == f"{told}, L2 0.0005"
    assert optimizer_text({"stored": block}, None) is None


def test_files_that_were_not_written_go(tmp_path):
    for name in ("figures/old.svg", "figures/kept.svg", "tables/old.csv", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    write_folder(tmp_path, {"README.md": Page()}, [tmp_path / "figures" / "kept.svg"])
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"kept.svg", "notes.txt", "README.md"}


def test_no_records(tmp_path):
    with pytest.raises(ValueError, match="no records of data set 'made'"):
        pages.build_report(tmp_path, tmp_path, "made")
    with pytest.raises(ValueError, match="no records under"):
        pages.build_report(tmp_path, tmp_path)


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """`results/` as git has it: what was measured here since then does not count."""
    command = ["git", "ls-files", "-z", "results"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    target = tmp_path_factory.mktemp("committed")
    for name in listed.stdout.split("\0")[:-1]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target / "results"


@pytest.mark.slow
def test_committed_reports_are_what_the_records_give(committed, tmp_path):
    built = pages.build_report(committed, tmp_path)
    assert built
    for path in built:
        own = ROOT / "reports" / path.parent.name
        names = [file for kind in ("md", "csv", "tex") for file in path.parent.rglob(f"*.{kind}")]
        for file in names:
            assert file.read_text() == (own / file.relative_to(path.parent)).read_text(), file


def test_committed_records_are_valid(committed):
    paths = [*store.run_files(committed), *store.trial_files(committed)]
    assert paths
    for path in paths:
        validation.validate(store.load(path))


@pytest.mark.usefixtures("without_figures")
def test_the_index_says_what_each_report_is_of(tmp_path):
    text = report(tmp_path, PAIRS)
    opening = text.split("\n\n")[1]
    index = (tmp_path / "reports" / "README.md").read_text()
    assert f"- [made](made/README.md): {opening}\n" in index and "run" in opening
