"""The report: a pure function of records, honest about blanks, harmless whatever a record says."""

import json
import shutil
import subprocess

import pytest

from benchmarks.records import store
from benchmarks.report import page as page_of
from benchmarks.report import pages
from benchmarks.report.tables import optimizer_text
from tests.conftest import ROOT
from tests.report.made import BLOCK, RECIPE, hyper, record, rows, speed, write

PAIRS = [*rows("wide_resnet16_1", (10.0, 11.0, 12.0), 100), *hyper((12.0, 13.0, 17.0))]
SPEEDS = [speed("wide_resnet16_1", 800.0), speed("hyper_resnet16_1", 700.0)]


def report(folder, records, speeds=(), dataset="made"):
    """The text of the page that these records give."""
    results = write(folder, records, speeds)
    (path,) = pages.build_report(results, folder / "reports", dataset)
    return path.read_text()


@pytest.fixture
def without_figures(monkeypatch):
    """For tests of text: drawing takes a second a figure."""
    monkeypatch.setattr(pages.plots, "write_figures", lambda *arguments: {})


@pytest.mark.usefixtures("without_figures")
def test_the_page_says_what_the_records_say(tmp_path):
    text = report(tmp_path, PAIRS, SPEEDS)
    for said in (
        "11.00 ± 1.00 %",
        "14.00 ± 2.65 %",
        "+3.00 [-1.30, +7.30]",
        "11.00 % [8.52, 13.48]",
        "**Undecided**: +3.00 points in test error [-1.30, +7.30] over 3 seeds against "
        "`wide_resnet16_1`",
        "0: 12.00 %, 1: 13.00 %, 2: 17.00 %",
        "measured on A processor, 2 threads, batch 128, bf16, compile default, torch 2.14.0",
        "0.800",  # of its pair's parameters
    ):
        assert said in text
    assert "0.875" not in text  # images/s of two runs make no ratio


@pytest.mark.usefixtures("without_figures")
def test_two_hashes_have_a_section_each(tmp_path):
    records = [record(error=10.0), record(seed=1, error=30.0, recipe={"hash": "b" * 16})]
    text = report(tmp_path, records)
    assert text.count("## Recipe `quick8`") == 2 and "20.00 %" not in text


@pytest.mark.usefixtures("without_figures")
def test_two_fingerprints_have_a_section_each_and_are_told(tmp_path):
    data = record()["dataset_fingerprint"] | {"sha256": "e" * 64}
    text = report(tmp_path, [record(), record(seed=1, error=30.0, dataset_fingerprint=data)])
    assert text.count("## Recipe `quick8`") == 2 and "20.00 %" not in text
    assert "The data differ between runs" in text and f"Data `{'e' * 16}`" in text
    tables = (tmp_path / "reports" / "made" / "tables").glob("*-models.csv")
    assert len(list(tables)) == 2
    assert "The data differ" not in report(tmp_path / "same", [record(), record(seed=1)])


def test_byte_for_byte(tmp_path):
    for name, records in (("a", PAIRS), ("b", list(reversed(PAIRS)))):
        report(tmp_path / name, records, SPEEDS)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a/reports").rglob("*.*")]
    assert {path.suffix for path in files} == {".md", ".svg", ".png", ".tex", ".csv"}
    assert len(files) == 20
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_one_point_is_not_drawn(tmp_path):
    text = report(tmp_path, PAIRS, SPEEDS[:1])
    assert "Not drawn, for lack of measurements: error against training images/s." in text
    assert "error-flops_per_image.svg" in text


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
    entries = [
        head | {"kind": "pair", **of_pair, "inference": {"generated": of_pair | {"noisy": False}}},
        head
        | {
            "kind": "compare",
            "step": compared,
            "epoch": compared,
            "descriptions": {"nn.Conv2d": "by hand", "unused": "elsewhere"},
        },
        head | {"kind": "compare", "batch_size": 64, "step": [], "epoch": None, "descriptions": []},
    ]
    text = report(tmp_path, PAIRS, entries)
    training, inference = [line for line in text.splitlines() if "1.000 [0.970, 0.990]" in line]
    assert "training step" in training and "noisy" in training
    assert "0.980 [0.970, 0.990]" in training
    assert "inference, generated" in inference and "valid" in inference
    assert text.count("suite plain / nn.Conv2d") == 2 and "- nn.Conv2d: by hand" in text
    assert "elsewhere" not in text


DIVERGED = {"status": "diverged", "error": None, "val_error": None}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    "changes, expected",
    [
        (DIVERGED | {"reason": "loss is not finite"}, "1 diverged"),
        (DIVERGED | {"reason": "no memory | <b>"}, r"no memory \| \<b\>"),
        (DIVERGED | {"reason": "x"}, "no run ended well"),
        ({"code": RECIPE and record()["code"] | {"dirty": True}}, "† made from a tree"),
        ({"code": record()["code"] | {"dirty": None, "commit": None}}, "Commits: unknown"),
        (
            {"resumed": [{"step": 1, "differing": {"torch": ["1", "2"]}, "note": None}]},
            "‡ resumed from a checkpoint",
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
@pytest.mark.parametrize(
    "content",
    [
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
    ],
)
def test_what_is_no_record_is_listed_and_the_rest_is_shown(tmp_path, content):
    text = report(tmp_path, [*PAIRS, content])
    assert "11.00 ± 1.00 %" in text and "Runs that did not end well" in text
    assert f"m{len(PAIRS)}/r-seed0.json" in text
    assert str(tmp_path) not in text and "<script>" not in text and "a|b" not in text


def test_a_data_set_of_torn_records_alone_is_listed(tmp_path):
    assert "m0/r-seed0.json" in report(tmp_path, ['{"torn'])


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("content", ['{"torn', "[]", '{"model": ["a"]}'])
def test_speeds_that_cannot_be_read_are_listed(tmp_path, content):
    place = tmp_path / "results" / "throughput" / "x" / "m.json"
    place.parent.mkdir(parents=True)
    place.write_text(content)
    text = report(tmp_path, PAIRS)
    assert "throughput/x/m.json" in text and str(tmp_path) not in text


@pytest.mark.usefixtures("without_figures")
def test_rows_of_the_paper_without_a_record_have_published_numbers_only(tmp_path):
    text = report(tmp_path, [entry | {"dataset": "cifar10"} for entry in PAIRS], (), "cifar10")
    (line,) = [line for line in text.splitlines() if line.startswith("| `hyper_resnet40_1`")]
    assert "8.02 %" in line and "97,000" in line and "not yet measured" in line


def test_rules_of_parts_are_said():
    rule = {"optimizer": "adam", "learning_rate": 0.006}
    block = BLOCK | {"embeddings": rule | {"learning_rate": 0.5}, "backbone": rule}
    told = "sgd 0.1, embeddings adam 0.5, backbone adam 0.006"
    assert f"stored kernels: {told} (cosine" in pages.recipe_text(RECIPE | {"stored": block})
    assert optimizer_text({"scaled": BLOCK}, "scaled") == "scaled sgd 0.1, L2 0.0005"
    assert optimizer_text({"stored": block}, "stored") == f"{told}, L2 0.0005"
    assert optimizer_text({"stored": block}, None) is None


def test_files_that_were_not_written_go(tmp_path):
    for name in ("old.svg", "old.png", "kept.svg"):
        (tmp_path / name).touch()
    page_of.remove_others(tmp_path, {"kept.svg"})
    assert [path.name for path in tmp_path.iterdir()] == ["kept.svg"]


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


def test_committed_reports_are_what_the_records_give(committed, tmp_path):
    built = pages.build_report(committed, tmp_path)
    assert built
    for path in built:
        own = ROOT / "reports" / path.parent.name
        for file in [path, *(path.parent / "tables").iterdir()]:
            assert file.read_text() == (own / file.relative_to(path.parent)).read_text(), file


def test_committed_records_are_valid(committed):
    paths = [*store.run_files(committed), *store.trial_files(committed)]
    assert paths
    for path in paths:
        store.validate(store.load(path))
