"""A frame as Markdown, LaTeX and CSV."""

import io

import pandas as pd
import pytest

from benchmarks.report.tables import BLANK, Column, csv, escape, filled, latex, markdown

FRAME = pd.DataFrame(
    {
        "model": pd.Series(["a_b", "<b>"], dtype="string"),
        "mean": [7.125, 8.0],
        "std": pd.Series([0.5, None], dtype="Float64"),
        "n": [3, 1],
        "ratio": [0.987654, 1.0],
        "low": [0.9, None],
        "high": [1.1, None],
        "size": pd.Series([1234567, None], dtype="Int64"),
        "text": pd.Series(["x & y", None], dtype="string"),
        "marks": ["†", ""],
    }
)
COLUMNS = [
    Column("model", "model", name=True, marks="marks"),
    Column("error", "mean", ".2f", " %", std="std", n="n"),
    Column("ratio", "ratio", ".3f", low="low", high="high"),
    Column("size", "size", ",.0f"),
    Column("text", "text"),
]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown():
    _, rule, first, second = markdown(FRAME, COLUMNS).splitlines()
    ratio = "0.988 [0.900, 1.100]"
    assert cells(first) == ["`a_b` †", "7.12 ± 0.50 % (n = 3)", ratio, "1,234,567", r"x \& y"]
    assert cells(second) == [r"\<b\>", "8.00 % (n = 1)", "1.000", BLANK, BLANK]
    assert [cell.endswith(":") for cell in cells(rule)] == [False, True, True, True, False]


def test_csv_has_what_the_columns_are_made_of_unrounded():
    found = pd.read_csv(io.StringIO(csv(FRAME.assign(more=1, less=2), COLUMNS, ["more", "n"])))
    parts = ["model", "mean", "std", "n", "ratio", "low", "high", "size", "text", "more"]
    assert found.columns.tolist() == parts
    assert found.ratio[0] == 0.987654 and found.model.tolist() == ["a_b", "<b>"]
    assert csv(FRAME, COLUMNS).splitlines()[2] == "<b>,8.0,,1,1.0,,,,"


def test_latex_is_booktabs_and_escaped():
    text = latex(FRAME, COLUMNS)
    for rule in ("{tabular}{lrrrl}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"):
        assert rule in text
    assert r"a\_b †" in text and r"0.50 \% (n = 3)" in text and r"x \& y" in text
    assert text.count(r"\\") == 3


@pytest.mark.parametrize("form", ["Int64", "Float64", "object"])
def test_what_is_missing_is_blank(form):
    frame = pd.DataFrame(dict.fromkeys("abc", pd.Series([None], dtype=form)))
    columns = [Column(name, name, ",.0f", low="b", high="c", std="c") for name in "abc"]
    assert markdown(frame, columns).splitlines()[2].count(BLANK) == 3
    assert filled(frame, columns) == []


def test_text_is_harmless():
    assert escape("a|b\n*c* [d](e) `f` <script> $x$ g_h _i_") == (
        r"a\|b \*c\* \[d\](e) \`f\` \<script\> \$x\$ g_h \_i\_"
    )
