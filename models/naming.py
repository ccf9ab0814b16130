"""What a name that no model has may have meant."""

import difflib
import re
from collections.abc import Iterable

_ALIASES = (
    (r"hyper_?net(?:work)?s?", "hyper_resnet"),
    (r"hyper_?(?:wrn|wide_?res_?net)", "hyper_resnet"),
    (r"hyper_?res_?net", "hyper_resnet"),
    (r"wrn|wide_?res_?net", "wide_resnet"),
)
"""How papers and other code write the families, as a whole first word of a name."""


def plain(name: str) -> str:
    """The name as the registry would write it: `WRN-40-2` is `wide_resnet40_2`."""
    text = re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")
    for alias, family in _ALIASES:
        matched = re.match(rf"(?:{alias})(?=_|\d|$)", text)
        if matched:
            text = family + text[matched.end() :]
            break
    return re.sub(r"^([a-z_]*resnet)_(?=\d)", r"\1", text)


def near(name: str, names: Iterable[str]) -> list[str]:
    """Up to three of the names that are near one, the nearest first."""
    return difflib.get_close_matches(plain(name), list(names), n=3)


def family(name: str) -> str:
    """How a name begins, up to its depth: `hyper_resnet` of `hyper_resnet40_1`."""
    begin = re.match(r"[A-Za-z._-]+", name)
    return begin[0].rstrip("._-") if begin else name
