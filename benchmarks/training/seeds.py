"""Seeds: which numbers they may be, how many a call may name, and how a text names them."""

import operator
import re
from collections.abc import Iterable
from itertools import islice

from benchmarks.training.messages import shown

MAX_SEED = 2**63 - 1
"""The largest seed that torch and the columns of the records have."""
MAX_COUNT = 10_000
"""How many seeds one call or study may have."""

_PART = re.compile(r"([0-9]+)(?:-([0-9]+))?")


class SeedError(ValueError):
    """Seeds that are not allowed; the message is one line for the user."""


def parsed(text: str) -> list[int]:
    """The rising seeds of a text such as `0`, `0-2` or `0,3,5`; each once.

    Raises:
        SeedError: for other text, for a seed out of range, and for too many seeds.
    """
    error = SeedError(
        f"{shown(text)} is not allowed; write 0, 0-2 or 0,3,5 "
        f"(seeds from 0 on, up to {MAX_SEED}; at most {MAX_COUNT:,} of them)"
    )
    chosen: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise error
        first = _number(match[1])
        last = first if match[2] is None else _number(match[2])
        if not first <= last <= MAX_SEED or last - first >= MAX_COUNT:
            raise error
        chosen.update(range(first, last + 1))
        if len(chosen) > MAX_COUNT:
            raise error
    return sorted(chosen)


def _number(digits: str) -> int:
    """The number of a text of digits; of one too long to be a seed, a number that is too large."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= len(str(MAX_SEED)) else MAX_SEED + 1


def checked(seeds: Iterable[int]) -> list[int]:
    """The seeds as plain whole numbers, in their order, each once.

    Raises:
        SeedError: for what is no whole number, for a seed out of range, and for too many seeds.
    """
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise SeedError(f"seeds {shown(seeds)} are not allowed; give a list such as [0, 1, 2]")
    chosen: dict[int, None] = {}
    for count, seed in enumerate(islice(seeds, MAX_COUNT + 1)):
        if count == MAX_COUNT:
            raise SeedError(f"there are too many seeds; at most {MAX_COUNT:,} are allowed")
        chosen[_checked(seed)] = None
    return list(chosen)


def _checked(seed: object) -> int:
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number <= MAX_SEED:
        raise SeedError(
            f"seed {shown(seed)} is not allowed; it is a whole number from 0 to {MAX_SEED}"
        )
    return number
