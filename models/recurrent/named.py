"""Recurrent networks by name, without torch: `{family}_{units}` and options.

    lstm_1000, ln_lstm_1000_x2, hyper_lstm_1000, ln_hyper_lstm_1000_z16

`_z{n}`: numbers of an embedding (4), `_m{n}`: units of the hyper cell (128), `_x{n}`: layers (1),
`_forget{n}`: the forget bias (1), in this order.
"""

import re
from dataclasses import dataclass, replace

from models.recurrent import counts
from models.recurrent.counts import Shape

PREFIXES = ("lstm", "ln_lstm", "hyper_lstm", "ln_hyper_lstm")
SYMBOLS = 50
"""Those of the Penn Treebank characters, for which sizes are told where no text is named."""
SYMBOLS_OF = {"Penn Treebank characters": SYMBOLS, "enwik8": 205}
"""Those of the texts of published numbers."""

# Few digits: a name from a record must not make anything of a size that no machine could hold.
_NAME = re.compile(
    rf"(?P<family>{'|'.join(PREFIXES)})_(?P<units>[1-9]\d{{0,3}})(?:_z(?P<z>[1-9]\d{{0,2}}))?"
    r"(?:_m(?P<m>[1-9]\d{0,3}))?(?:_x(?P<x>[1-9]))?(?:_forget(?P<forget>\d))?"
)
_DEFAULTS = {"z": 4, "m": 128, "x": 1, "forget": 1}


@dataclass(frozen=True)
class Row:
    """A recurrent network, whatever the number of symbols; the fields of `counts.Shape`."""

    family: str
    units: int
    layers: int
    hyper_units: int
    embedding: int
    forget_bias: float

    @property
    def layer_norm(self) -> bool:
        """Whether it normalises its gates and cell."""
        return self.family.startswith("ln_")

    def shape(self, symbols: int) -> Shape:
        """Its size over a number of symbols."""
        return Shape(
            symbols, self.units, self.layers, self.hyper_units, self.embedding, self.layer_norm
        )

    def printed_otherwise(self, data: str, printed: int) -> str | None:
        """What a published row counts otherwise: another text's symbols, or other parameters.

        `printed`: its parameters, two decimals of a million. Layer norms count with gains alone,
        or with biases too: the paper has both.
        """
        shape = self.shape(SYMBOLS_OF[data])
        both = [counts.total(replace(shape, norm_biases=biases)) for biases in (False, True)]
        counted = " or ".join(f"{count:,}" for count in dict.fromkeys(both))
        notes = []
        if shape.symbols != SYMBOLS:
            notes.append(
                f"published on {data}, {shape.symbols} symbols: {counted} parameters there"
            )
        if all(round(count, -4) != printed for count in both):
            told = "" if notes else f", counted are {counted}"
            notes.append(f"the paper prints {printed / 1e6:.2f} M parameters{told}")
        return "; ".join(notes) or None

    def pair(self) -> str | None:
        """The plain network of one layer with as many parameters (over `SYMBOLS` symbols).

        None for a plain network.
        """
        if not self.hyper_units:
            return None
        units = counts.plain_of_equal_size(self.shape(SYMBOLS))
        forget = "" if self.forget_bias == 1 else f"_forget{self.forget_bias:g}"
        return f"{'ln_' if self.layer_norm else ''}lstm_{units}{forget}"


def parsed(name: str) -> Row | None:
    """The row of a name; None if it is no name of a recurrent network.

    Raises:
        ValueError: for an option that is not allowed.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    given = {key: int(match[key]) for key in _DEFAULTS if match[key] is not None}
    for key, value in given.items():
        if value == _DEFAULTS[key]:
            raise ValueError(f"_{key}{value} is what it is without that; leave it out")
    hyper = "hyper" in match["family"]
    if not hyper and {"z", "m"} & set(given):
        raise ValueError("_z and _m are of a hyper cell, which an LSTM does not have")
    options = _DEFAULTS | given
    return Row(
        match["family"],
        int(match["units"]),
        options["x"],
        options["m"] if hyper else 0,
        options["z"] if hyper else 0,
        float(options["forget"]),
    )


def listed() -> list[str]:
    """The names that are listed: the paper's rows, small ones, and the plain pair of each."""
    names = []
    for hyper in (
        "hyper_lstm_1000",
        "ln_hyper_lstm_1000",
        "ln_hyper_lstm_1000_z16",
        "ln_hyper_lstm_1000_z16_x2",
        "hyper_lstm_1800_z64_m256",
        "ln_hyper_lstm_1800_z64_m256",
        "ln_hyper_lstm_2048_z64_m512",
        "hyper_lstm_256",
        "ln_hyper_lstm_256",
    ):
        row = parsed(hyper)
        assert row is not None
        names += [str(row.pair()), hyper]
    plain = ("lstm_1000", "lstm_1250", "lstm_1000_x2", "ln_lstm_1000", "lstm_1800", "lstm_2000")
    return list(dict.fromkeys([*names, *plain, "ln_lstm_1800", "lstm_256", "ln_lstm_256"]))
