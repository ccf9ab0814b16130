"""A table in its three forms."""

import csv
import io

import pytest

from benchmarks.report.tables import BLANK, Interval, Name, Number, Spread, Table

TABLE = Table(
    "t",
    ["model", "error", "ratio", "size", "text"],
    [
        [
            Name("a_b", " †"),
            Spread(7.125, ".2f", " %", 0.5, 3),
            Interval(0.987654, ".3f", "", 0.9, 1.1),
            Number(1234567),
            "x & y",
        ],
        [Name("<b>"), Spread(8.0, ".2f", " %", None, 1), Interval(1.0, ".3f"), Number(None), BLANK],
    ],
)


def test_markdown():
    first, second = TABLE.markdown().splitlines()[2:]
    assert [c.strip() for c in first.strip("|").split("|")] == [
        "`a_b` †",
        "7.12 ± 0.50 % (n = 3)",
        "0.988 [0.900, 1.100]",
        "1,234,567",
        "x &amp; y",
    ]
    assert [c.strip() for c in second.strip("|").split("|")] == [
        "&lt;b&gt;",
        "8.00 % (n = 1)",
        "1.000",
        BLANK,
        BLANK,
    ]


def test_csv_has_a_column_for_each_number_unrounded():
    first, second = csv.DictReader(io.StringIO(TABLE.csv()))
    assert first == {
        "model": "a_b †",
        "error": "7.125",
        "error, standard deviation": "0.5",
        "error, n": "3",
        "ratio": "0.987654",
        "ratio, low": "0.9",
        "ratio, high": "1.1",
        "size": "1234567",
        "text": "x & y",
    }
    assert (
        second["ratio, low"] == second["size"] == second["text"] == "" and second["model"] == "<b>"
    )


def test_latex_is_booktabs_and_escaped():
    text = TABLE.latex()
    assert all(
        rule in text
        for rule in (
            r"\begin{tabular}{lrrrr}",
            r"\toprule",
            r"\midrule",
            r"\bottomrule",
            r"\end{tabular}",
        )
    )
    assert r"a\_b †" in text and r"0.50 \% (n = 3)" in text and r"x \& y" in text
    assert text.count(r"\\") == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "1", True, 10**400, None, [1]])
def test_what_is_no_number_is_blank(bad):
    table = Table(
        "t", ["a", "b", "c"], [[Number(bad), Interval(bad, low=bad), Spread(bad, deviation=bad)]]
    )
    assert table.csv().splitlines()[1].replace(",", "") in ("", "0")
    assert table.markdown().splitlines()[2].count(BLANK) == 3


def test_blank_columns_can_go():
    table = Table("t", ["a", "b", "c"], [[BLANK, Number(None), 1], [BLANK, BLANK, 2]])
    assert table.without_blank_columns(first=1).headers == ["a", "c"]
    assert table.without_blank_columns(first=1).rows == [[BLANK, 1], [BLANK, 2]]
