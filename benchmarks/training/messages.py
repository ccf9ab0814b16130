"""The parts of a one-line error: the value as it was written, what is allowed, what is near."""

import difflib
from collections.abc import Iterable


def shown(value: object) -> str:
    """The value as it was written, shortened in the middle if it is very long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "of thousands of digits"
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


def nearest(value: object, allowed: Iterable[str]) -> str:
    """ " (nearest: name)", or nothing where no allowed name is near."""
    near = difflib.get_close_matches(str(value), list(allowed), n=1)
    return f" (nearest: {near[0]})" if near else ""


def not_among(name: str, value: object, allowed: Iterable[str]) -> str:
    """That a value is none of those that are allowed."""
    allowed = list(allowed)
    choices = ", ".join(allowed)
    hint = nearest(value, allowed)
    return f"{name} {shown(value)} is not allowed; choose from {choices}{hint}"


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """That a table has a key that it may not have."""
    allowed = list(allowed)
    return f"unknown key {shown(key)}; allowed are {', '.join(allowed)}{nearest(key, allowed)}"
