"""The README's table is what the records give."""

import pytest

from benchmarks.report import readme
from benchmarks.runs import listing
from models import registry
from tests.conftest import ROOT
from tests.report.made import FINGERPRINT, FOLDERS, record, text_records, write

COUNTS = [listing.listed(registry.get(name)) for name in registry.PAPER_TABLE]


def run(folder, model, error, seed=0, recipe="r", steps=10, dataset="cifar10-jpeg"):
    changes = {"name": recipe, "hash": f"{sum(map(ord, recipe)):016}", "steps": steps}
    pair = model.replace("hyper", "wide") if model.startswith("hyper") else None
    write(folder.parent, [record(model, seed, error, pair, recipe=changes, dataset=dataset)])


@pytest.fixture
def results(tmp_path):
    return write(tmp_path, [])


def cells(folder, model):
    text = readme.table(folder, COUNTS).text
    # That of the table of errors, the first one.
    line = next(line for line in text.splitlines() if line.startswith(f"| `{model}`"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_readme_has_the_table_that_the_records_give(tmp_path):
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text())
    readme.write(ROOT / "results", page, COUNTS)
    assert page.read_text() == (ROOT / "README.md").read_text()


def test_a_row_without_records_has_its_counts(results):
    run(results, "wide_resnet40_1", 20.0)
    found = cells(results, "hyper_resnet40_1")
    assert found[:3] == ["`hyper_resnet40_1`", "96,602", "166,036,736"]
    assert found[-2:] == ["+1.29", "8.02 %"] and set(found[3:-2]) == {"–"}


def test_a_filled_table_is_not_emptied(results):
    page = results / "page.md"
    page.write_text(f"{readme.BEGIN}\nkept\n{readme.END}\n")
    run(results, "wide_resnet40_1", 20.0, dataset="pets")
    with pytest.raises(readme.PageError, match="no run of the paper's rows on CIFAR-10"):
        readme.write(results, page, COUNTS)
    assert "kept" in page.read_text()


def test_the_longest_recipe_of_each_row_is_shown(results):
    run(results, "wide_resnet16_1", 1.0, recipe="other", steps=10**6)  # not a row of the table
    run(results, "wide_resnet40_1", 20.0, recipe="short", steps=5)
    for seed, error in enumerate((12.0, 13.0)):
        run(results, "wide_resnet40_1", error, seed, recipe="full")
        run(results, "hyper_resnet40_1", error + 2, seed, recipe="full")
    found = cells(results, "hyper_resnet40_1")
    assert found[3:7] == ["14.50 ± 0.71 %", "+2.00", "2", "full"]
    assert cells(results, "wide_resnet40_2")[3] == "–"


def test_a_longer_recipe_without_a_common_seed_does_not_hide_the_difference(results):
    for model, error in (("wide_resnet40_1", 12.0), ("hyper_resnet40_1", 14.0)):
        run(results, model, error, recipe="short", steps=5)
    run(results, "wide_resnet40_1", 8.0, 0, recipe="full")
    run(results, "hyper_resnet40_1", 9.0, 1, recipe="full")
    assert cells(results, "hyper_resnet40_1")[3:7] == ["14.00 %", "+2.00", "1", "short"]
    assert cells(results, "wide_resnet40_1")[3] == "12.00 %"


@pytest.mark.parametrize("itself", ["cifar10", "cifar10-9980"])
def test_cifar10_itself_comes_first(results, itself):
    for model in registry.PAPER_TABLE:
        run(results, model, 20.0)
    run(results, "wide_resnet40_1", 7.0, dataset=itself)
    assert cells(results, "wide_resnet40_1")[3] == "7.00 %"
    assert cells(results, "hyper_resnet40_2")[3] == "–"


@pytest.mark.parametrize("sha256", ["0" * 64, FOLDERS["cifar10-jpeg"]])
def test_a_folders_name_does_not_decide_whose_errors_are_shown(results, sha256):
    known = sha256 in FOLDERS.values()
    entry = record("wide_resnet40_1", 0, 20.0, dataset="pets" if known else "made")
    entry["dataset"] = "pets" if known else "cifar10-9980"
    entry["dataset_fingerprint"] = FINGERPRINT | {"sha256": sha256}
    write(results.parent, [entry])
    assert ("20.00 %" in readme.table(results, COUNTS).text) is known


@pytest.mark.parametrize(
    "dataset, what", [("cifar10-9980", "CIFAR-10 itself"), ("cifar10-jpeg", "CIFAR-10 re-encoded")]
)
def test_the_note_says_on_what_and_how_long(results, dataset, what):
    page = results / "page.md"
    page.write_text(f"{readme.BEGIN}\n{readme.END}\n")
    run(results, "wide_resnet40_1", 20.0, dataset=dataset)
    run(results, "hyper_resnet40_1", 20.0, dataset=dataset)
    readme.write(results, page, COUNTS)
    text = page.read_text()
    assert what in text and "2 runs of 2 models, 2 epochs each, on A processor" in text
    assert f"](reports/{dataset}/figures/forest.svg)" in text


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{readme.END}\n{readme.BEGIN}\n")
    with pytest.raises(readme.PageError, match=r"missing\.md is not a file; it needs lines"):
        readme.write(tmp_path, tmp_path / "missing.md", [])
    for text, told in (
        ("nothing", "has no lines"),
        (f"{readme.END}\n{readme.BEGIN}\n", "after .*written by"),
        (f"{readme.TEXT_BEGIN}\n{readme.BEGIN}\n{readme.END}\n", "after .*table of text"),
    ):
        page.write_text(text)
        with pytest.raises(readme.PageError, match=told):
            readme.write(ROOT / "results", page, COUNTS)
        assert page.read_text() == text


def test_the_texts_have_a_table_of_their_own(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        f"{readme.BEGIN}\n{readme.END}\nbetween\n{readme.TEXT_BEGIN}\n{readme.END}\nafter\n"
    )
    results = write(
        tmp_path, [record("wide_resnet40_1", 0, 20.0, dataset="cifar10-jpeg"), *text_records()]
    )
    readme.write(results, page, COUNTS)
    images, texts = page.read_text().split("between")
    assert "20.00 %" in images and "lstm" not in images
    assert "1.890 ± 0.007" in texts and "-0.013 [" in texts and "%" not in texts.replace("95 %", "")
    assert texts.count("| pydoc ") == 1 and texts.endswith("after\n")
    assert [texts.count(f"| `{name}`") for name in ("lstm_312", "ln_lstm_312")] == [1, 1]
    before = page.read_text()
    readme.write(results, page, COUNTS)
    assert page.read_text() == before
    for path in (results / "runs" / "pydoc").rglob("*.json"):
        path.unlink()
    readme.write(results, page, COUNTS)
    assert page.read_text() == before  # the table of text is not emptied


def test_a_stray_record_hides_no_text(tmp_path):
    stray = record("wide_resnet16_1", 0, 10.0) | {"dataset": "pydoc"}
    results = write(tmp_path, [*text_records(), stray])
    assert "`hyper_lstm_256`" in readme.text_table(results).text


def test_a_longer_run_of_one_member_hides_no_pair(results):
    for seed, error in enumerate((12.0, 13.0)):
        run(results, "wide_resnet40_1", error, seed)
        run(results, "hyper_resnet40_1", error + 2, seed)
    run(results, "hyper_resnet40_1", 9.0, recipe="longer", steps=99)
    found = cells(results, "hyper_resnet40_1")
    assert "+2.00" in found and "r" in found and "longer" not in found
    run(results, "wide_resnet40_1", 8.0, recipe="longer", steps=99)
    found = cells(results, "hyper_resnet40_1")
    assert "+1.00" in found and "longer" in found


def test_the_data_with_most_rows_and_seeds_is_shown(results):
    """A first run on other data of the same images does not empty the table."""
    for model in ("wide_resnet40_1", "hyper_resnet40_1"):
        run(results, model, 12.0, dataset="cifar10-9980")
    run(results, "wide_resnet40_1", 3.0, dataset="cifar10")
    assert cells(results, "wide_resnet40_1")[3] == "12.00 %"
    run(results, "hyper_resnet40_1", 4.0, dataset="cifar10")
    run(results, "hyper_resnet40_1", 4.0, seed=1, dataset="cifar10")
    assert cells(results, "wide_resnet40_1")[3] == "3.00 %"
