"""Pareto fronts and verdicts, by hand and on made-up records."""

import pandas as pd
import pytest

from benchmarks.report.verdicts import fronts, pareto, smallest_as_good, verdicts
from tests.records.test_store import RECORD
from tests.report.made import frames, hyper, record, rows


def answers(folder, records, models=None):
    """(answer, rival) of each question."""
    found = verdicts(*frames(folder, records), models)
    rivals = found.model_other.astype(object).where(found.model_other.notna(), None)
    return list(zip(found.answer, rivals, strict=True))


@pytest.mark.parametrize(
    "own, answer",
    [
        ((10.0, 10.2, 10.1), "yes"),
        ((15.0, 15.3, 15.1), "no"),
        ((11.0, 14.0, 12.5), "undecided"),
        ((10.0,), "undecided"),
        ((None, None, None, 10.0), "undecided"),  # no shared seed
    ],
)
def test_yes_no_and_undecided(tmp_path, own, answer):
    """As good as each other: the small plain network of two questions, and the bank."""
    plain = rows("narrow_resnet16_11", (12.0, 12.4, 12.1), 79)
    bank = rows("template_resnet16_1", (12.0, 12.4, 12.1), 82, pair="wide_resnet16_1")
    small, source = (answer, "narrow_resnet16_11"), (answer, "template_resnet16_1")
    none = ("not measured", None)
    found = answers(tmp_path, [*hyper(own), *plain, *bank], ["hyper_resnet16_1"])
    assert found == [none, small, small, source]


def test_the_pairing_decides_what_the_spread_hides(tmp_path):
    """Seeds that move both models alike: the intervals overlap by far, the difference is clear."""
    drift = (0.0, 4.0, 8.0)
    records = hyper([10 + d for d in drift])
    records += rows("narrow_resnet16_11", [10.4, 14.5, 18.6], 79)
    (_, first, *_) = verdicts(*frames(tmp_path, records)).to_dict("records")
    assert (first["answer"], first["model_other"]) == ("yes", "narrow_resnet16_11")
    assert first["high"] > 15 and first["difference"] == pytest.approx(-0.5)


def test_the_rival_is_chosen_by_validation_error(tmp_path):
    better_on_test = rows("narrow_resnet16_11", (5.0, 5.0, 5.1), 70, val_error=9.0)
    better_on_validation = rows("wide_resnet10_1", (30.0, 30.0, 30.1), 75, val_error=8.0)
    records = [*hyper((10.0, 10.1, 10.0)), *better_on_test, *better_on_validation]
    assert answers(tmp_path / "a", records)[1] == ("yes", "wide_resnet10_1")
    # One seed, or seeds of its own, give no interval: such a rival is named and passed over.
    for number, errors in enumerate([(31.0,), (31.0, 31.2), (None, None, None, 31.0)]):
        few = rows("narrow_resnet16_10", errors, 72, val_error=7.0)
        found = verdicts(*frames(tmp_path / f"few{number}", [*records, *few]))
        row = found.to_dict("records")[1]
        assert (row["answer"], row["model_other"]) == ("yes", "wide_resnet10_1")
        assert row["passed_over"] == "`narrow_resnet16_10`" and row["rivals"] == 3
        alone = verdicts(*frames(tmp_path / f"alone{number}", [*records[:3], *few]))
        row = alone.to_dict("records")[1]
        assert (row["answer"], row["model_other"]) == ("undecided", "narrow_resnet16_10")
        assert pd.isna(row["passed_over"])


def test_two_seeds_or_equal_differences_answer_nothing(tmp_path):
    for number, errors in enumerate([(12.0, 12.1), (10.01, 11.01, 12.01)]):
        records = [*hyper((10.0, 11.0, 12.0)), *rows("narrow_resnet16_11", errors, 79)]
        assert answers(tmp_path / str(number), records)[1][0] == "undecided"


def test_rivals_are_of_at_most_its_size_and_its_flops(tmp_path):
    on_16, on_22 = {"pair": "wide_resnet16_1"}, {"pair": "wide_resnet22_1"}
    records = [
        *hyper((10.0, 10.1, 10.0)),
        *rows("wide_resnet16_1", (1.0, 1.0, 1.1), 83),  # more than 3 % larger
        *rows("narrow_resnet22_9", (2.0, 2.0, 2.1), 82, macs=1031),  # costlier
        *rows("separable_resnet16_1", (3.0, 3.0, 3.1), 80, macs=10, **on_16),  # a source too
        *rows("shared_resnet16_1", (0.1, 0.1, 0.2), 83, **on_16),  # more than 3 % larger
        *rows("hashed_resnet16_1", (0.2, 0.2, 0.3), 82, **on_16),
        *rows("hashed_resnet22_1", (0.1, 0.1, 0.2), 80, **on_22),  # another backbone
        *rows("template_resnet16_1", (4.0, 4.0, 4.1), 83, **on_16),
        *rows("template_resnet22_1", (5.0, 5.0, 5.1), 80, **on_22),
    ]
    assert answers(tmp_path, records, ["hyper_resnet16_1"]) == [
        ("no", "wide_resnet16_1"),
        ("no", "narrow_resnet22_9"),
        ("no", "wide_resnet16_1"),
        ("no", "hashed_resnet16_1"),
    ]


def test_the_smallest_plain_network_that_is_not_measurably_worse(tmp_path):
    records = [
        *hyper((10.0, 10.2, 10.1)),
        *rows("narrow_resnet16_8", (12.0, 12.3, 12.1), 40),  # worse
        *rows("narrow_resnet16_9", (9.0,), 50),  # one seed: no interval
        *rows("narrow_resnet16_7", (14.0, 19.0), 30),  # two: none either
        *rows("template_resnet16_1", (10.0, 10.2, 10.1), 60, pair="wide_resnet16_1"),  # not plain
        *rows("narrow_resnet22_9", (10.3, 10.2, 10.4), 120),  # within its interval
        *rows("wide_resnet16_1", (8.0, 8.1, 8.2), 130),
    ]
    (row,) = smallest_as_good(*frames(tmp_path / "a", records), ["hyper_resnet16_1"]).to_dict(
        "records"
    )
    assert (row["model_other"], row["seeds"]) == ("narrow_resnet22_9", 3)
    assert row["difference"] == pytest.approx(-0.2)
    assert smallest_as_good(*frames(tmp_path / "b", records[:9]), ["hyper_resnet16_1"]).empty


def test_every_model_with_a_pair_is_asked_about(tmp_path):
    bank = rows("template_resnet16_1", (9.0, 9.1, 9.2), 82, pair="wide_resnet16_1")
    records = [*hyper((10.0, 10.0, 10.1)), *bank, *rows("wide_resnet16_1", (8.0, 8.1, 8.2), 100)]
    found = verdicts(*frames(tmp_path, records))
    assert set(found.model) == {"hyper_resnet16_1", "template_resnet16_1"}


def test_a_plugins_model_is_judged_by_its_row_and_not_by_its_name(tmp_path):
    """A foreign module called hyper_resnet without a pair is a plain network."""
    code = record()["code"] | {"plugin_sha256": "f" * 64}
    named = rows("hyper_resnet99", (5.0, 5.0, 5.1), 70, code=code)
    found = answers(tmp_path, [*hyper((10.0, 10.1, 10.0)), *named])
    assert found[1] == ("no", "hyper_resnet99") and len(found) == 4


def test_controls_are_not_asked_about(tmp_path):
    frozen = rows("hyper_resnet16_1_frozen_generator", (15.0, 15.3), pair="wide_resnet16_1")
    assert answers(tmp_path, frozen) == []


def test_a_hypernetwork_is_what_its_registry_row_says_not_its_name(tmp_path):
    """Of a plugin's models the record has the row's kernels; older ones do not tell."""
    code = RECORD["code"] | {"plugin_sha256": "e" * 64}
    of_plugin = {"code": code, "pair": "wide_resnet16_1"}
    mine = rows("mine", (10.0, 10.0, 10.1), kernels="hyper", frozen=None, **of_plugin)
    named = rows("hyper_resnet_mine", (9.0, 9.0, 9.1), kernels=None, frozen=None, **of_plugin)
    older = rows("hyper_resnet16_mine", (9.0, 9.0, 9.1), 82, **of_plugin)
    small = rows("narrow_mine", (12.0, 12.4, 12.1), 79, kernels="stored", frozen=None, code=code)
    found = verdicts(*frames(tmp_path, [*mine, *named, *older, *small]))
    found = found[found.model == "mine"]
    rivals = dict(zip(found.question.str.split(",").str[0], found.model_other, strict=True))
    assert rivals["the best plain network of at most its parameters (within 3 %)"] == "narrow_mine"
    assert rivals["the best other kernel source on its backbone"] == "hyper_resnet16_mine"


def test_a_frozen_part_is_what_the_registry_row_says(tmp_path):
    changes = {"pair": "wide_resnet16_1", "kernels": "hyper"}
    control = rows("control", (15.0, 15.3), frozen="generator", **changes)
    asked = rows("my_frozen_hyper", (15.0, 15.3), frozen=None, **changes)
    found = verdicts(*frames(tmp_path, [*control, *asked]))
    assert found.model.unique().tolist() == ["my_frozen_hyper"]


def front(folder, records, axis, **columns):
    """(members, perhaps) by name."""
    summary, differences = frames(folder, records)
    for column, values in columns.items():
        summary[column] = summary.model.map(values)
    if "images_per_s" not in summary:
        summary["images_per_s"] = pd.NA
    found = pareto(summary, axis, differences)
    names = summary.model[found.index]
    return names[found == "front"].tolist(), names[found == "perhaps"].tolist()


def test_fronts_by_hand(tmp_path):
    """a: cheapest. b dominates c and d, c within its interval, d beyond it. e: dear and best.
    f: as b, but costs more."""
    records = [
        *rows("a", (30.0, 30.1, 30.2), 10),
        *rows("b", (20.0, 21.0, 22.0), 20),
        *rows("c", (23.0, 20.0, 21.5), 20),
        *rows("d", (28.0, 29.1, 30.0), 25),
        *rows("e", (5.0, 5.0, 5.1), 90),
        *rows("f", (20.0, 21.0, 22.0), 30),
    ]
    assert front(tmp_path / "1", records, "params") == (["a", "b", "e"], ["c", "f"])
    assert front(tmp_path / "2", records, "flops_per_image") == (["e"], [])
    assert front(tmp_path / "3", records, "images_per_s") == ([], [])
    one = {"e": 100.0}
    assert front(tmp_path / "4", records, "images_per_s", images_per_s=one) == ([], [])
    summary, differences = frames(tmp_path / "5", records)
    marks = fronts(summary.assign(images_per_s=pd.NA), differences)
    assert marks.tolist() == ["P", "P", "(P)", "", "P F", "(P)"]


def test_more_throughput_is_better(tmp_path):
    records = [
        record(name, error=error) for name, error in zip("abc", (10.0, 12.0, 13.0), strict=True)
    ]
    rates = {"a": 100.0, "b": 300.0, "c": 200.0}
    assert front(tmp_path, records, "images_per_s", images_per_s=rates) == (["a", "b"], ["c"])


def test_equal_rows_are_both_on_the_front(tmp_path):
    records = [record("a"), record("b")]
    assert front(tmp_path, records, "params") == (["a", "b"], [])


def test_a_row_that_is_better_on_shared_seeds_is_not_beyond(tmp_path):
    """b has the lower mean by six seeds that a lacks; on those of both it is clearly worse."""
    a = rows("a", (10.0, 10.1, 10.2), 100)
    b = rows("b", (10.5, 10.61, 10.72, *[8.0] * 6), 90)
    assert front(tmp_path, [*a, *b], "params") == (["b"], ["a"])
