"""The section on the paper's table: gaps, words, what is open."""

from benchmarks.records.frame import load_published
from benchmarks.report import paper
from benchmarks.report.summary import paper_rows
from models import registry
from tests.report.made import on, record, results_of, speed

ROWS = paper_rows(load_published())


def pair(plain, hyper, depth="40_1", recipe=None):
    """Records of a pair, an error a seed."""
    made = []
    for kind, errors, of in (("wide", plain, None), ("hyper", hyper, f"wide_resnet{depth}")):
        for seed, error in enumerate(errors):
            name = f"{kind}_resnet{depth}"
            changes = {"name": "fast"} | (recipe or {})
            made.append(record(name, seed, error, pair=of, recipe=changes))
    return made


def lines(folder, records, dataset="cifar10-jpeg"):
    """What is said of the gaps."""
    records = [on(dataset, entry) for entry in records]
    return paper.gap_lines(results_of(folder, records, dataset=dataset))


def still_open(folder, records, dataset="cifar10", speeds=()):
    records = [on(dataset, entry) for entry in records]
    return " ".join(paper.still_open(results_of(folder, records, speeds, dataset)))


def test_the_paper_rows_are_those_of_the_registry():
    assert tuple(ROWS) == registry.PAPER_TABLE


def test_the_gap_is_compared_with_the_published_one(tmp_path):
    plain = (10.0, 10.2, 10.4)
    cases = (
        ((13.0, 13.2, 13.5), "**No**", "wider"),
        ((10.5, 10.6, 10.9), "**No**", "narrower"),
        ((11.2, 11.6, 11.6), "**It may be**", "in the paper. Weakened by"),
    )
    for number, (hyper, answer, word) in enumerate(cases):
        (line,) = lines(tmp_path / str(number), pair(plain, hyper))
        assert answer in line and word in line and "+1.29" in line
    (line,) = lines(tmp_path / "one", pair((10.0,), (11.0,)))
    assert "**Undecided**: +1.00 points (fast), +1.29 in the paper" in line
    assert (
        "Weakened by: 1 seed, no interval; 702 steps (plain), 140,000 in the paper; 702 steps"
        in line
    )


def test_what_weakens_a_gap_of_three_seeds_is_said(tmp_path):
    long = {"epochs": 1911, "steps": 672_000}
    (line,) = lines(tmp_path / "long", pair((6.0, 6.1, 6.2), (7.0, 7.1, 7.3), recipe=long))
    assert "Weakened by" not in line
    records = pair((6.0, 6.1, 6.2), (7.0, 7.1, 7.3), recipe=long | {"steps": 140_000})
    records[3]["environment"] = records[3]["environment"] | {"device": "Another"}
    (line,) = lines(tmp_path / "short", records)
    assert line.endswith(
        "Weakened by: seed 0 Another against A processor (without: +1.05); 140,000 steps "
        "(hyper), 672,000 in the paper."
    )


def test_gaps_are_of_shared_seeds_of_the_longest_recipe(tmp_path):
    short = {"name": "quick", "steps": 5, "hash": "c" * 16}
    records = pair((10.0, 10.4), (12.0,)) + pair((30.0,), (35.0,), recipe=short)
    (line,) = lines(tmp_path, records)
    assert "+2.00 points (fast)" in line


def test_the_gap_of_models_of_a_plugin(tmp_path):
    records = pair((10.0,), (12.0,))
    for entry in records:
        entry["code"] = entry["code"] | {"plugin_sha256": "f" * 64}
    (line,) = lines(tmp_path, records)
    assert "+2.00 points (fast)" in line


def test_what_is_open(tmp_path):
    names = ", ".join(f"`{name}`" for name in ROWS)
    text = still_open(tmp_path / "jpeg", [record()], "cifar10-jpeg")
    assert f"Rows of the paper without a run: {names}." in text
    assert "Runs as long as the paper's (recipe `paper`: 140,000 steps of the plain" in text
    assert "Speed on a GPU of `wide_resnet40_1`" in text
    records = [*pair((1.0, 1.0, 1.0), (2.0, 2.0)), record("narrow_resnet40_6")]
    text = still_open(tmp_path / "itself", records)
    assert "without a run: `wide_resnet40_2`, `hyper_resnet40_2`." in text
    assert "3 seeds of `hyper_resnet40_1` (2), `narrow_resnet40_6` (1)." in text


def test_nothing_is_open_when_all_is_there(tmp_path):
    records = []
    for depth in ("40_1", "40_2"):
        long = {"epochs": 1911, "steps": 672_000}
        records += pair((6.0, 6.1, 6.2), (7.0, 7.1, 7.2), depth, recipe=long)
    on_gpu = {"threads": 2, "device_type": "cuda"}
    speeds = [speed(name, 1.0, environment=on_gpu) for name in ROWS]
    assert still_open(tmp_path, records, "cifar10", speeds) == ""


def test_other_data_have_no_rows_of_the_paper(tmp_path):
    assert lines(tmp_path / "a", [record()], "svhn") == []
    three = [record("wide_resnet40_1", seed=seed) for seed in range(3)]
    one = still_open(tmp_path / "b", three[:1], "svhn")
    assert one == "3 seeds of `wide_resnet40_1` (1)."
    assert still_open(tmp_path / "c", three, "svhn") == ""


def test_a_gap_of_seeds_enough_comes_before_a_longer_one_of_few(tmp_path):
    longer = {"name": "longer", "steps": 900, "hash": "d" * 16}
    records = pair((10.0, 10.2, 10.4), (13.0, 13.2, 13.5))
    (line,) = lines(tmp_path, [*records, *pair((9.0,), (10.0,), recipe=longer)])
    assert "**No**: +3.03 points [" in line and "(fast)" in line


def test_steps_that_no_record_tells_are_no_fault(tmp_path):
    records = pair((10.0, 10.2, 10.4), (13.0, 13.2, 13.5))
    for entry in records:
        entry["recipe"] = {key: entry["recipe"][key] for key in entry["recipe"] if key != "steps"}
    (line,) = lines(tmp_path, records)
    assert "**No**" in line and "steps (" not in line
