"""How things are said, in messages and on pages."""


def counted(count: float, noun: str) -> str:
    """So many of something: "1 run", "1,200 runs", "0.19 epochs"."""
    told = amount(count)
    return f"{told} {noun}{'' if told == '1' else 's'}"


def amount(count: float) -> str:
    """A number of things, of which there may be a part: "1,200", "0.19"."""
    return f"{count:,.0f}" if count >= 10 or count == round(count) else f"{count:.2g}"
