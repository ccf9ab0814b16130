"""How numbers of things are said."""

import pytest

from benchmarks.system.words import amount, counted


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0"), (1, "1"), (0.1914, "0.19"), (1.5, "1.5"), (398.86, "399"), (140_000, "140,000")],
)
def test_a_part_has_two_digits(count, told):
    assert amount(count) == told


def test_one_is_no_plural():
    assert [counted(count, "epoch") for count in (0.5, 1, 2)] == [
        "0.5 epochs",
        "1 epoch",
        "2 epochs",
    ]
