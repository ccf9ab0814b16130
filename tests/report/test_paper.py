"""The section on the paper's table: gaps, words, what is open."""

from benchmarks.records.frame import load_published
from benchmarks.report import paper
from benchmarks.report.page import Page
from benchmarks.report.summary import paper_rows
from models import registry
from tests.report.made import record, results_of, speed

ROWS = paper_rows(load_published())


def pair(plain, hyper, depth="40_1", recipe="fast", first_seed=0, **changes):
    """Records of a pair, an error a seed."""
    made = []
    for kind, errors, of in (("wide", plain, None), ("hyper", hyper, f"wide_resnet{depth}")):
        for seed, error in enumerate(errors, first_seed):
            values = {"recipe": {"name": recipe} | changes.get("recipe", {})}
            made.append(record(f"{kind}_resnet{depth}", seed, error, pair=of, **values))
    return made


def section(folder, records, dataset="cifar10-jpeg", speeds=()):
    page = Page()
    records = [entry | {"dataset": dataset} for entry in records]
    paper.paper_section(page, results_of(folder, records, speeds, dataset))
    return page.text


def test_the_paper_rows_are_those_of_the_registry():
    assert tuple(ROWS) == registry.PAPER_TABLE


def test_the_gap_is_compared_with_the_published_one(tmp_path):
    plain = (10.0, 10.2, 10.4)
    for number, (hyper, word) in enumerate(
        (
            ((13.0, 13.2, 13.5), "wider"),
            ((10.5, 10.6, 10.9), "narrower"),
            ((11.2, 11.6, 11.6), "undecided"),
        )
    ):
        lines = section(tmp_path / str(number), pair(plain, hyper)).splitlines()
        (line,) = [line for line in lines if line.startswith("- `hyper_resnet40_1`")]
        assert f"**{word}**" in line and "+1.29 in the paper" in line
    text = section(tmp_path / "one", pair((10.0,), (11.0,)))
    assert "+1.00 points against +1.29 in the paper, of one seed: **undecided**" in text


def test_gaps_are_of_shared_seeds_of_one_recipe(tmp_path):
    records = pair((10.0, 10.4), (12.0,)) + pair((30.0,), (), recipe="quick")
    text = section(tmp_path, records)
    fast, quick = [line for line in text.splitlines() if line.startswith("| `hyper_resnet40_1`")]
    assert "10.20 ± 0.28 % (n = 2)" in fast and "+2.00" in fast and fast.count("1.29") == 1
    assert "30.00 % (n = 1)" in quick and "+2.00" not in quick
    assert "recipe quick: no seed of both members has ended well" in text


def test_the_gap_of_models_of_a_plugin(tmp_path):
    records = pair((10.0,), (12.0,))
    for entry in records:
        entry["code"] = entry["code"] | {"plugin_sha256": "f" * 64}
    assert "recipe fast: +2.00 points" in section(tmp_path, records)


def test_two_hashes_of_a_recipe_are_told_apart(tmp_path):
    other = pair((20.0,), (25.0,), first_seed=1, recipe="fast")
    for entry in other:
        entry["recipe"] = entry["recipe"] | {"hash": "b" * 16}
    text = section(tmp_path, pair((10.0,), (12.0,)) + other)
    assert "recipe fast (aaaaaaaa): +2.00 points" in text
    assert "recipe fast (bbbbbbbb): +5.00 points" in text


def test_what_is_open(tmp_path):
    names = ", ".join(f"`{name}`" for name in ROWS)
    text = section(tmp_path / "jpeg", [record()])
    assert "CIFAR-10 itself" in text and "| pair of" not in text
    assert f"Rows without a run that ended well: {names}" in text
    assert "Recipe `fast` (200 epochs): no run that ended well." in text
    assert "Recipe `paper` (140,000 and 672,000 steps): no run that ended well." in text
    assert "never timed on a GPU: `wide_resnet40_1`" in text
    text = section(tmp_path / "itself", pair((1.0, 1.0, 1.0), (2.0, 2.0)), "cifar10")
    assert "CIFAR-10 itself" not in text
    assert "without a run that ended well: `wide_resnet40_2`, `hyper_resnet40_2`." in text
    wanting = "`hyper_resnet40_1` 2, `wide_resnet40_2` 0, `hyper_resnet40_2` 0."
    assert f"fewer seeds than 3 of {wanting}" in text


def test_nothing_is_open_when_all_is_there(tmp_path):
    records = []
    for recipe in ("fast", "paper"):
        for depth in ("40_1", "40_2"):
            records += pair((6.0, 6.1, 6.2), (7.0, 7.1, 7.2), depth, recipe)
    on_gpu = {"threads": 2, "device_type": "cuda"}
    speeds = [speed(name, 1.0, environment=on_gpu) for name in ROWS]
    text = section(tmp_path, records, "cifar10", speeds)
    assert text.strip().endswith("Nothing is open.") and text.count("narrower") == 4


def test_other_data_have_no_such_section(tmp_path):
    assert section(tmp_path, [record()], "svhn").strip() == ""
