"""Marks: a sign means the same everywhere, and is explained where it stands."""

import pandas as pd
import pytest

from benchmarks.report import marks

COLUMNS = [column for column, _ in marks.MARKS.values()]


@pytest.mark.parametrize("sign", marks.MARKS)
def test_a_sign_is_behind_the_rows_of_its_column_and_is_explained(sign):
    column, meaning = marks.MARKS[sign]
    rows = pd.DataFrame({name: [False, False] for name in COLUMNS})
    rows = rows.assign(**{column: [True, pd.NA]}, plugin_sha256="0123456789")
    every = "".join(marks.MARKS)
    shown = f"{sign} 01234567" if sign == marks.CODE else sign
    assert marks.signs(rows, every).tolist() == [shown, ""]
    assert marks.notes(rows) == [f"{sign} {meaning}."]
    others = every.replace(sign, "")
    assert marks.signs(rows, others).tolist() == ["", ""] and marks.notes(rows, others) == []


def test_several_stand_in_their_order():
    rows = pd.DataFrame({name: [True] for name in COLUMNS}).assign(plugin_sha256="0123456789")
    assert marks.signs(rows, marks.ROW).tolist() == ["† ‡ § ¶ 01234567"]
    assert len(marks.notes(rows)) == len(marks.MARKS)
