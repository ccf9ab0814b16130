"""Statistics over seeds, Pareto fronts and verdicts, by hand and on made-up records."""

import pytest

from benchmarks.report.recipe_tables import pair_section, summary_section, verdict_text
from benchmarks.report.summary import Speeds, estimate, paired_difference, summarize
from benchmarks.report.verdicts import includes_zero, pareto, verdicts
from tests.report.test_pages import record, speed

SEEDS = range(3)
NO_SPEEDS = Speeds(None, {})


def rows(model, errors, params, pair=None, macs=1000, val_error=None):
    return [
        record(
            model,
            seed,
            error,
            pair,
            params=params,
            macs_per_image=macs,
            val_error=val_error or error,
        )
        for seed, error in enumerate(errors)
    ]


def hyper(errors):
    return rows("hyper_resnet16_1", errors, 80, pair="wide_resnet16_1")


def test_t_interval_by_hand():
    """t(2) at 97.5 % is 4.3027, t(1) 12.706."""
    found = estimate([10.0, 11.0, 12.0])
    assert (found.mean, found.deviation, found.n) == (11.0, 1.0, 3)
    assert (
        found.high - found.mean
        == pytest.approx(4.3027 / 3**0.5, abs=1e-4)
        == found.mean - found.low
    )
    assert estimate([1.0, 2.0]).high == pytest.approx(1.5 + 12.706 * 0.5, abs=1e-3)
    assert estimate([3.0]).low is None and estimate([3.0]).mean == 3.0
    assert estimate([]) is None


def test_the_interval_covers_as_often_as_it_says():
    import random

    draw = random.Random(0)
    hits = sum(
        found.low <= 7 <= found.high
        for _ in range(2000)
        if (found := estimate(draw.gauss(7, 0.3) for _ in SEEDS))
    )
    assert 0.935 <= hits / 2000 <= 0.965


def answers(found):
    (group,) = summarize(found)
    return {v.row.model: v for v in verdicts(group)}, [
        (v.answer, v.rival and v.rival.model) for v in verdicts(group)
    ]


@pytest.mark.parametrize(
    "own, answer",
    [
        ((10.0, 10.2, 10.1), "yes"),
        ((15.0, 15.3, 15.1), "no"),
        ((11.0, 14.0, 12.5), "undecided"),
        ((10.0,), "undecided"),
    ],
)
def test_yes_no_and_undecided(own, answer):
    """As good as each other: the small plain network of the first two questions, and the bank of the last two."""
    plain = rows("narrow_resnet16_11", (12.0, 12.4, 12.1), 79)
    bank = rows("template_resnet16_1", (12.0, 12.4, 12.1), 82, pair="wide_resnet16_1")
    _, found = answers([*hyper(own), *plain, *bank])
    assert found == [
        (answer, name) for name in ("narrow_resnet16_11", "template_resnet16_1") for _ in range(2)
    ]


def test_the_pairing_decides_what_the_spread_hides():
    """Seeds that move both models alike: the rows' intervals overlap by far, the difference is clear."""
    drift = (0.0, 4.0, 8.0)
    found, told = answers(
        [
            *hyper([10 + d for d in drift]),
            *rows("narrow_resnet16_11", [10.5 + d for d in drift], 79),
        ]
    )
    assert told[0] == ("yes", "narrow_resnet16_11")
    assert found["hyper_resnet16_1"].row.estimate.high > 15


def test_the_rival_is_chosen_by_validation_error():
    better_on_test = rows("narrow_resnet16_11", (5.0, 5.0, 5.1), 70, val_error=9.0)
    better_on_validation = rows("wide_resnet10_1", (30.0, 30.0, 30.1), 75, val_error=8.0)
    _, told = answers([*hyper((10.0, 10.0, 10.1)), *better_on_test, *better_on_validation])
    assert told[0] == ("yes", "wide_resnet10_1")


def test_rivals_are_of_at_most_its_size_and_its_macs():
    larger = rows("wide_resnet16_1", (1.0, 1.0, 1.1), 81)
    costlier = rows("narrow_resnet22_9", (2.0, 2.0, 2.1), 80, macs=1001)
    separable = rows("separable_resnet16_1", (3.0, 3.0, 3.1), 80, pair="wide_resnet16_1", macs=10)
    large_source = rows("shared_resnet16_1", (0.1, 0.1, 0.2), 83, pair="wide_resnet16_1")
    source = rows("hashed_resnet16_1", (0.2, 0.2, 0.3), 82, pair="wide_resnet16_1")
    other_source = rows("hashed_resnet22_1", (0.1, 0.1, 0.2), 80, pair="wide_resnet22_1")
    large_bank = rows("template_resnet16_1", (4.0, 4.0, 4.1), 83, pair="wide_resnet16_1")
    other_bank = rows("template_resnet22_1", (5.0, 5.0, 5.1), 80, pair="wide_resnet22_1")
    plain, sources = (
        [*larger, *costlier, *separable],
        [*large_source, *source, *other_source, *large_bank, *other_bank],
    )
    _, told = answers([*hyper((10.0, 10.0, 10.1)), *plain, *sources])
    assert told == [
        ("no", "narrow_resnet22_9"),
        ("no", "wide_resnet16_1"),
        ("not measured", None),
        ("no", "hashed_resnet16_1"),
    ]


def test_sentences():
    plain = rows("narrow_resnet16_11", (12.0, 12.4, 12.1), 79)
    (group,) = summarize([*hyper((15.0, 15.3, 15.1)), *plain])
    first, _, third, _ = map(verdict_text, verdicts(group))
    assert first.startswith(
        "Is `hyper_resnet16_1` (80 parameters) better than the best plain network of at most its parameters?"
    )
    assert (
        "**No**: +2.97 points in test error [+2.82, +3.11] over 3 seeds against `narrow_resnet16_11` (79 parameters"
        in first
    )
    assert "**Not measured**: none was trained with this recipe." in third
    (group,) = summarize([*hyper((15.0,)), *plain])
    assert "of one seed, which gives no interval" in verdict_text(verdicts(group)[0])
    (group,) = summarize([*hyper((15.0,)), *plain[1:]])
    assert "shares no seed" in verdict_text(verdicts(group)[0])


def test_the_answers_are_at_the_top_longest_trained_first():
    plain, own = rows("narrow_resnet16_11", (12.0, 12.4, 12.1), 79), hyper((10.0, 10.2, 10.1))
    longer = [
        r | {"recipe": r["recipe"] | {"hash": "b" * 16, "steps": 9000}} for r in [*own[:1], *plain]
    ]
    _, note, table = summary_section(summarize([*own, *plain, *longer]))
    _, _, *lines = table.markdown().splitlines()
    assert len(lines) == 4 and "§" not in note  # two questions have a rival, under two recipes
    long, short = (
        ("undecided", " -2.00 |", "9,000", "quick8 (bbbbbbbb)"),
        ("yes", "-2.07 [", "702", "quick8 (aaaaaaaa)"),
    )
    for line, parts in zip(lines, 2 * [long] + 2 * [short], strict=True):
        assert all(
            part in line for part in ("`hyper_resnet16_1`", "`narrow_resnet16_11`", *parts)
        ), line
    assert summary_section(summarize(own)) == []


def test_pairs_across_settings_are_marked():
    """A seed that one of the two ran in another precision; seeds that only one has do not matter."""
    pair = rows("wide_resnet16_1", (10.0, 10.2), 80)
    for seed, precision, marked in ((1, "bf16", True), (2, "bf16", False), (1, "fp32", False)):
        own = hyper((11.0, 11.2, 11.1))
        for run in [*pair, *own]:
            run["environment"] = run["environment"] | {"precision": "fp32"}
        own[seed]["environment"] = own[seed]["environment"] | {"precision": precision}
        (group,) = summarize([*own, *pair])
        assert (
            "A seed of the two was run on another" in verdict_text(verdicts(group)[1])
        ) == marked
        _, note, table = pair_section(group, NO_SPEEDS)
        assert (
            ("`hyper_resnet16_1` §" in table.markdown())
            == ("§ a seed of the two" in note)
            == marked
        )


def test_controls_are_not_asked_about():
    frozen = rows("hyper_resnet16_1_frozen_generator", (15.0, 15.3), 80, pair="wide_resnet16_1")
    assert answers(frozen)[1] == []


def test_fronts_by_hand():
    """a: cheapest; b: dominates c and d, c within its interval, d beyond; e: dear and best; f: as b, but costs more."""
    found = [
        *rows("a", (30.0, 30.1, 30.2), 10),
        *rows("b", (20.0, 21.0, 22.0), 20),
        *rows("c", (23.0, 20.0, 21.5), 20),
        *rows("d", (28.0, 29.1, 30.0), 25),
        *rows("e", (5.0, 5.0, 5.1), 90),
        *rows("f", (20.0, 21.0, 22.0), 30),
    ]
    (group,) = summarize(found)
    front = pareto(group, "parameters", NO_SPEEDS)
    assert front.members == ["a", "b", "e"]
    assert front.perhaps == ["c", "f"]
    assert pareto(group, "macs", NO_SPEEDS).members == ["e"]
    assert pareto(group, "throughput", NO_SPEEDS).members == []
    one = Speeds(("x",), {("e", None): speed("e", 100.0)})
    assert (
        pareto(group, "throughput", one).members == []
    )  # the only one that was timed is on no front


def test_more_throughput_is_better():
    (group,) = summarize(
        [*rows("slow", (10.0,), 10), *rows("fast", (12.0,), 10), *rows("bad", (13.0,), 10)]
    )
    speeds = Speeds(
        ("x",),
        {
            (m, None): speed(m, rate)
            for m, rate in (("slow", 100.0), ("fast", 300.0), ("bad", 200.0))
        },
    )
    front = pareto(group, "throughput", speeds)
    assert front.members == ["fast", "slow"] and front.perhaps == []


def test_equal_rows_are_both_on_the_front():
    (group,) = summarize([*rows("a", (10.0,), 10), *rows("b", (10.0,), 10)])
    assert pareto(group, "parameters", NO_SPEEDS).members == ["a", "b"]


def test_includes_zero():
    assert includes_zero(estimate([-1.0, 1.0])) and not includes_zero(estimate([1.0, 1.1]))
    assert not includes_zero(None) and not includes_zero(estimate([0.0]))


def test_difference_is_over_shared_seeds():
    (group,) = summarize([*rows("a", (1.0, 2.0, 4.0), 1), *rows("b", (0.0, 0.0), 1)])
    assert paired_difference(group.row("a"), group.row("b")).mean == 1.5
    assert paired_difference(group.row("a"), None) is None
