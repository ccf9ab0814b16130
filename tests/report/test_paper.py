"""The section against the paper's table: gaps, words, what is open."""

from benchmarks.report import paper
from benchmarks.report.summary import PAPER_ORDER, summarize
from tests.report.test_pages import record

PUBLISHED = {
    name: {"test_error": error}
    for name, error in zip(PAPER_ORDER, (6.73, 8.02, 5.66, 7.23), strict=True)
}


def pair(plain, hyper, depth="40_1", recipe="fast"):
    """Records of a pair, an error a seed."""
    return [
        record(f"{kind}_resnet{depth}", seed, error, pair=of, recipe=recipe)
        for kind, errors, of in (("wide", plain, None), ("hyper", hyper, f"wide_resnet{depth}"))
        for seed, error in enumerate(errors)
    ]


def section(found, dataset="cifar10-jpeg", speeds=()):
    parts = paper.paper_sections(dataset, summarize(found), PUBLISHED, speeds)
    return "\n\n".join(part if isinstance(part, str) else part.markdown() for part in parts)


def test_the_gap_is_held_against_the_published_one():
    plain = (10.0, 10.2, 10.4)
    for hyper, word in (
        ((13.0, 13.2, 13.5), "wider"),
        ((10.5, 10.6, 10.9), "narrower"),
        ((11.2, 11.6, 11.6), "undecided"),
    ):
        (line,) = [
            line
            for line in section(pair(plain, hyper)).splitlines()
            if line.startswith("- `hyper_resnet40_1`")
        ]
        assert f"**{word}**" in line and "+1.29 in the paper" in line
    text = section(pair((10.0,), (11.0,)))
    assert "+1.00 points against +1.29 in the paper, of one seed: **undecided**" in text


def test_gaps_are_of_shared_seeds_of_one_recipe():
    text = section(pair((10.0, 10.4), (12.0,)) + pair((30.0,), (), recipe="quick"))
    fast, quick = [line for line in text.splitlines() if line.startswith("| `hyper_resnet40_1`")]
    assert "10.20 ± 0.28 % (n = 2)" in fast and "+2.00" in fast and fast.count("1.29") == 1
    assert "30.00 % (n = 1)" in quick and "+2.00" not in quick
    assert "recipe quick: no seed of both members has ended well" in text


def test_two_hashes_of_a_recipe_are_told_apart():
    other = pair((20.0,), (25.0,))
    for entry in other:
        entry["recipe"] = entry["recipe"] | {"hash": "b" * 16}
    text = section(pair((10.0,), (12.0,)) + other)
    assert (
        "recipe fast (aaaaaaaa): +2.00 points" in text
        and "recipe fast (bbbbbbbb): +5.00 points" in text
    )
    found = paper.gap(summarize(other)[0], "wide_resnet40_1", "hyper_resnet40_1")
    assert paper.gap_text(found, None) == "+5.00 points; no gap is published."


def test_what_is_open():
    text = section([record()])
    assert "canonical CIFAR-10" in text
    assert (
        "Rows without a run that ended well: " + ", ".join(f"`{name}`" for name in PAPER_ORDER)
        in text
    )
    assert "Recipe `fast` (200 epochs): no run that ended well." in text
    assert "Recipe `paper` (140,000 and 672,000 steps): no run that ended well." in text
    assert "never timed on a GPU: `wide_resnet40_1`" in text and "| pair of" not in text
    text = section(pair((1.0, 1.0, 1.0), (2.0, 2.0)), "cifar10")
    assert (
        "canonical" not in text
        and "Rows without a run that ended well: `wide_resnet40_2`, `hyper_resnet40_2`." in text
    )
    assert (
        "fewer seeds than 3 of `hyper_resnet40_1` 2, `wide_resnet40_2` 0, `hyper_resnet40_2` 0."
        in text
    )


def test_nothing_is_open_when_all_is_there():
    found = [
        entry
        for recipe in ("fast", "paper")
        for depth in ("40_1", "40_2")
        for entry in pair((6.0, 6.1, 6.2), (7.0, 7.1, 7.2), depth, recipe)
    ]
    speeds = [{"model": name, "environment": {"device_type": "cuda"}} for name in PAPER_ORDER]
    text = section(found, "cifar10", speeds)
    assert text.endswith("Nothing is open.") and text.count("narrower") == 4


def test_other_data_have_no_such_section():
    assert paper.paper_sections("svhn", summarize([record()]), PUBLISHED, []) == []
    assert paper.paper_sections("cifar10", summarize([record()]), {}, []) == []
