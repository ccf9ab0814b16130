"""The README's table is what the records give."""

import pytest

from benchmarks.report import readme
from benchmarks.runs import listing
from models import registry
from tests.conftest import ROOT
from tests.report.made import record, write

COUNTS = [listing.listed(registry.get(name)) for name in registry.PAPER_TABLE]


def run(folder, model, error, seed=0, recipe="r", steps=10, dataset="cifar10-jpeg"):
    changes = {"name": recipe, "hash": f"{sum(map(ord, recipe)):016}", "steps": steps}
    write(folder.parent, [record(model, seed, error, recipe=changes, dataset=dataset)])


@pytest.fixture
def results(tmp_path):
    return write(tmp_path, [])


def cells(folder, model):
    text = readme.table(folder, COUNTS).text
    (line,) = [line for line in text.splitlines() if f"`{model}`" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_readme_has_the_table_that_the_records_give(tmp_path):
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text())
    readme.write(ROOT / "results", page, COUNTS)
    assert page.read_text() == (ROOT / "README.md").read_text()


def test_without_records_the_counts_are_there(results):
    counts = ["96,602", "0.097 M", "166,036,736", "103,088,128"]
    assert cells(results, "hyper_resnet40_1") == ["`hyper_resnet40_1`", "8.02 %", "–", *counts]
    assert "measured error (not yet)" in readme.table(results, COUNTS).text


def test_the_recipe_with_most_rows_is_shown(results):
    run(results, "wide_resnet16_1", 1.0, recipe="other", steps=10**6)
    run(results, "wide_resnet40_1", 20.0, recipe="long", steps=1000)
    for seed, error in enumerate((12.0, 13.0)):
        run(results, "wide_resnet40_1", error, seed, recipe="full")
        run(results, "hyper_resnet40_1", error + 2, seed, recipe="full")
    text = readme.table(results, COUNTS).text
    assert "measured error (cifar10-jpeg, recipe full)" in text
    assert cells(results, "hyper_resnet40_1")[2] == "14.50 ± 0.71 % (n = 2)"
    assert cells(results, "wide_resnet40_2")[2] == "–"


@pytest.mark.parametrize("itself", ["cifar10", "cifar10-9980"])
def test_cifar10_itself_comes_first(results, itself):
    for model in registry.PAPER_TABLE:
        run(results, model, 20.0)
    run(results, "wide_resnet40_1", 7.0, dataset=itself)
    assert cells(results, "wide_resnet40_1")[2] == "7.00 % (n = 1)"
    assert cells(results, "hyper_resnet40_2")[2] == "–"


@pytest.mark.parametrize(
    "dataset, what",
    [
        ("cifar10", "."),
        ("cifar10-9980", ": CIFAR-10 itself"),
        ("cifar10-jpeg", ": CIFAR-10 re-encoded as JPEG"),
    ],
)
def test_the_note_says_how_long_and_on_what(results, dataset, what):
    page = results / "page.md"
    page.write_text(f"{readme.BEGIN}\n{readme.END}\n")
    readme.write(results, page, COUNTS)
    assert "Measured after" not in page.read_text()
    run(results, "wide_resnet16_1", 20.0, steps=7, dataset=dataset)  # not a row of the table
    run(results, "wide_resnet40_1", 20.0, dataset=dataset)
    run(results, "hyper_resnet40_1", 20.0, steps=2000, dataset=dataset)
    readme.write(results, page, COUNTS)
    assert f"\n\nMeasured after 10 or 2,000 steps on `{dataset}`{what}" in page.read_text()


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{readme.END}\n{readme.BEGIN}\n")
    with pytest.raises(readme.PageError, match="has no lines"):
        readme.write(ROOT / "results", page, COUNTS)
