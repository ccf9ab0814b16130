"""The marks of rows and pairs: a sign means the same in every table and on every page."""

from collections.abc import Iterable

import pandas as pd

MARKS = {
    "†": ("dirty", "made with uncommitted changes, or of unknown origin"),
    "‡": (
        "resumed_changed",
        "resumed on another device, or with other code, torch, recipe, data or settings",
    ),
    "§": ("mixed", "its seeds differ in device, precision or torch version"),
    "‖": ("across", "a seed of the two was run on another device, precision or torch version"),
    "¶": (
        "other_code",
        "a model that its plugin defines in several ways; the digits are of the code's hash",
    ),
}
"""By sign, the column that it marks and what it means."""
ROW = "†‡§¶"
"""The signs behind the name of a row's model."""
PAIR = "‖"
"""That of a difference between two rows."""
CODE = "¶"


def signs(rows: pd.DataFrame, chosen: str) -> pd.Series:
    """Those of the `chosen` signs that each row has, with the code's hash behind `CODE`."""
    marks = pd.Series("", index=rows.index)
    for sign in chosen:
        text = f"{sign} " + rows.plugin_sha256.str[:8] if sign == CODE else sign
        marks += _flags(rows, sign).map({True: " ", False: ""})
        marks += pd.Series(text, index=rows.index).where(_flags(rows, sign), "").astype(object)
    return marks.str.strip()


def notes(rows: pd.DataFrame, chosen: Iterable[str] = MARKS) -> list[str]:
    """What those of the `chosen` signs mean that some row has."""
    return [f"{sign} {MARKS[sign][1]}." for sign in chosen if _flags(rows, sign).any()]


def _flags(rows: pd.DataFrame, sign: str) -> pd.Series:
    return rows[MARKS[sign][0]].astype("boolean").fillna(False).astype(bool)
