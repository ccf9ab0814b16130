"""How things are said, in messages and on pages."""


def counted(count: int, noun: str) -> str:
    """So many of something: "1 run", "1,200 runs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
