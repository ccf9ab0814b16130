"""Seeds: every text and list that is allowed, and one line for those that are not."""

import itertools
import time

import numpy as np
import pytest

from benchmarks.training import seeds
from tests.conftest import one_line

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0", [0]),
        ("0-2", [0, 1, 2]),
        ("3-3", [3]),
        ("0,3,5", [0, 3, 5]),
        ("5,0-2,1", [0, 1, 2, 5]),
        ("007", [7]),
        (str(LARGEST), [LARGEST]),
        (f"{LARGEST - 1}-{LARGEST}", [LARGEST - 1, LARGEST]),
    ],
)
def test_texts(text, expected):
    assert seeds.parsed(text) == expected


def test_as_many_as_are_allowed():
    assert len(seeds.parsed(f"0-{seeds.MAX_COUNT - 1}")) == seeds.MAX_COUNT
    assert seeds.checked(range(seeds.MAX_COUNT)) == list(range(seeds.MAX_COUNT))


WRONG = ["", ",", "1,,2", "0, 1", " 1", "1\n", "+1", "-1", "-", "0-", "2-1", "1-2-3", "1.0", "1e3"]
WRONG += ["0x10", "1_000", "True", "²", "0-²", "③", "٣", "１", "0-3000000000", "0-9999,10000"]
WRONG += [str(2**63), str(2**64), f"0-{2**64}", "9" * 6000]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:20]))
def test_other_texts_are_one_line_at_once(text):
    started = time.monotonic()
    with pytest.raises(seeds.SeedError) as error:
        seeds.parsed(text)
    assert "seeds from 0 on, up to 9223372036854775807; at most 10,000" in one_line(error)
    assert text[:20] in str(error.value) or "\n" in text
    assert len(str(error.value)) < 400 and time.monotonic() - started < 60  # not all are listed


def test_lists():
    assert seeds.checked([2, np.int64(0), 2]) == [2, 0]
    assert all(type(seed) is int for seed in seeds.checked(np.arange(3)))
    assert seeds.checked(seed for seed in (1, 0)) == [1, 0]


@pytest.mark.parametrize(
    "wrong, message",
    [
        (3, "seeds 3 are not allowed; give a list"),
        ("0-2", "seeds '0-2' are not allowed; give a list"),
        ([True], "seed True is not allowed; it is a whole number from 0 to"),
        ([1.0], "seed 1.0 is"),
        ([0, "1"], "seed '1' is"),
        ([None], "seed None is"),
        ([-1], "seed -1 is"),
        ([2**63], "seed 9223372036854775808 is"),
        ([2**64], "seed 18446744073709551616 is"),
        ([10**5000], "seed of thousands of digits is"),
        ([float("nan")], "seed nan is"),
        (range(3 * 10**9), "too many seeds; at most 10,000"),
        (itertools.count(), "too many seeds; at most 10,000"),
    ],
)
def test_other_lists_are_one_line(wrong, message):
    with pytest.raises(seeds.SeedError) as error:
        seeds.checked(wrong)
    assert message in one_line(error)
