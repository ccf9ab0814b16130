"""Text as symbols: Python's own documentation, a file of yours, or a folder with three files.

text = load("pydoc")
text = load("text:PATH")  # a UTF-8 file, or a folder with train.txt, valid.txt and test.txt
text = load("text+unknown:PATH")  # what only valid or test has is one more symbol
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch

from benchmarks.data.splits import DataError
from benchmarks.tasks import TEXT, Task

NAMES = ("pydoc",)
PARTS = ("train", "valid", "test")
PREFIXES = ("text:", "text+unknown:")
ALLOWED = ("pydoc", "text:PATH", "text+unknown:PATH")
SHARES = (0.90, 0.05)
"""Of a text in one file: training and validation, in order; the rest is the test split."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for what only the validation or test split has, where that is allowed."""
SHOWN = 5


@dataclass(frozen=True, eq=False)
class Text:
    """A text in three splits of symbols, each an int64 tensor (N), numbered as in `symbols`.

    `symbols` are those of the training split in order, and last `UNKNOWN` where it is needed.
    `fingerprint`: hashes and sizes for the record. `read_test()` is the only way to the test split.
    """

    task: ClassVar[Task] = TEXT
    flip: ClassVar[None] = None

    name: str
    symbols: str
    train: torch.Tensor
    validation: torch.Tensor
    fingerprint: dict
    _test: torch.Tensor = field(repr=False)
    _test_text: str = field(repr=False)
    _reads: dict = field(default_factory=lambda: {"test": 0}, repr=False)

    @property
    def num_classes(self) -> int:
        """What a model tells apart: the symbols."""
        return len(self.symbols)

    @property
    def outputs(self) -> str:
        """What stands for each of them: itself."""
        return self.symbols

    @property
    def test_reads(self) -> int:
        """How often the test split was read, through this object or its copies on other devices."""
        return self._reads["test"]

    def read_test(self) -> torch.Tensor:
        """The test split; every call is counted in `test_reads`."""
        self._reads["test"] += 1
        return self._test

    def read_test_as(self, symbols: str) -> torch.Tensor:
        """The test split as a model reads it that was trained on a text of other symbols.

        Raises:
            DataError: for what the model never saw, unless `UNKNOWN` is among its symbols.
        """
        foreign = sorted(set(self._test_text) - set(symbols))
        if foreign and UNKNOWN not in symbols:
            raise DataError(
                f"text {self.name!r} has symbols in test that the model never saw: "
                f"{_listed(foreign)}"
            )
        return _coded(self._test_text, symbols).to(self.read_test().device)

    def to(self, device: torch.device | str) -> "Text":
        """The same text on `device`; the counter of test reads is shared."""
        moved = {name: getattr(self, name).to(device) for name in ("train", "validation", "_test")}
        return replace(self, **moved)


def is_text(spec: str) -> bool:
    """Whether a data set that is named like this is a text."""
    return spec in NAMES or spec.startswith(PREFIXES)


def name_of(spec: str) -> str:
    """The name of a text in records and paths: pydoc, or the base name of the path.

    Raises:
        DataError: for a name that is not allowed.
    """
    if spec in NAMES:
        return spec
    path = _path(spec)
    name = re.sub(r"\.txt$", "", os.path.basename(os.path.abspath(path)))
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name in NAMES:
        raise DataError(
            f"text {name!r} has a name that is not allowed; it is of letters, digits, '.', '_' and "
            "'-', and not pydoc"
        )
    return name


def _path(spec: str) -> Path:
    prefix, _, path = spec.partition(":")
    if f"{prefix}:" not in PREFIXES or not path:
        raise DataError(f"unknown text {spec!r}; allowed are {', '.join(ALLOWED)}")
    return Path(os.path.expanduser(path))


def load(spec: str) -> Text:
    """The text that one of `ALLOWED` names.

    Symbols that the training split lacks are refused, or are one more symbol by "text+unknown:".

    Raises:
        DataError: in one line, for whatever the user can put right.
    """
    name = name_of(spec)
    if name in NAMES:
        return assemble(name, divided(pydoc()), unknown=False)
    path, unknown = _path(spec), spec.startswith("text+unknown:")
    if path.is_dir():
        return assemble(name, [_read(path / f"{part}.txt") for part in PARTS], unknown)
    return assemble(name, divided(_read(path)), unknown)


def pydoc() -> str:
    """The help topics of Python's documentation, which come with Python; they differ by version.

    White space is folded, and paragraphs that are there again are left out: they would be known
    from training.
    """
    from pydoc_data.topics import topics

    paragraphs: dict[str, None] = {}  # in order, each once
    for topic in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            paragraphs[" ".join(paragraph.split())] = None
    paragraphs.pop("", None)
    return "\n".join(paragraphs)


def divided(text: str) -> list[str]:
    """Training, validation and test in the order of the text."""
    first = int(len(text) * SHARES[0])
    second = first + int(len(text) * SHARES[1])
    return [text[:first], text[first:second], text[second:]]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"text {path}: {error.strerror}; a text is a file, or a folder with "
            f"{', '.join(f'{part}.txt' for part in PARTS)}"
        ) from None
    except ValueError as error:
        raise DataError(f"text {path} is not UTF-8: {error}") from None


def assemble(name: str, parts: Sequence[str], unknown: bool) -> Text:
    """A Text of its training, validation and test part.

    Raises:
        DataError: for a part that is shorter than two symbols, or symbols that training lacks.
    """
    for part, text in zip(PARTS, parts, strict=True):
        if len(text) < 2:
            raise DataError(
                f"text {name!r} has {len(text)} symbols in {part}; at least 2 are needed"
            )
    symbols = "".join(sorted(set(parts[0])))
    foreign = sorted(set(parts[1] + parts[2]) - set(symbols))
    if foreign and not unknown:
        where = [part for part, text in zip(PARTS, parts, strict=True) if {*foreign} & {*text}]
        raise DataError(
            f"text {name!r} has symbols in {' and '.join(where)} that its training split lacks: "
            f"{_listed(foreign)}; "
            f"text+unknown:PATH counts them as one more symbol"
        )
    if foreign and UNKNOWN not in symbols:
        symbols += UNKNOWN
    coded = [_coded(text, symbols) for text in parts]
    train, validation, test = coded
    fingerprint = {
        "sha256": hashlib.sha256("\0".join(parts).encode()).hexdigest(),
        "decoded_sha256": _sha256_of(coded, symbols),
        "split_seed": None,
        "train": len(train),
        "validation": len(validation),
        "test": len(test),
        "num_classes": len(symbols),
        "unknown": len(foreign),
    }
    return Text(name, symbols, train, validation, fingerprint, test, parts[2])


def _coded(text: str, symbols: str) -> torch.Tensor:
    """The numbers of a text's symbols; what is not among them has that of `UNKNOWN`."""
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    rest = numbers.get(UNKNOWN, 0)
    return torch.tensor([numbers.get(symbol, rest) for symbol in text])


def _listed(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SHOWN} more" if len(symbols) > SHOWN else ""
    return ", ".join(repr(symbol) for symbol in symbols[:SHOWN]) + more


def _sha256_of(parts: Sequence[torch.Tensor], symbols: str) -> str:
    """Of the numbers of the symbols, and of what they stand for."""
    digest = hashlib.sha256(symbols.encode())
    for part in parts:
        digest.update(part.numpy().astype("<i8").tobytes())
        digest.update(b"\0")
    return digest.hexdigest()


@dataclass(frozen=True)
class Streams:
    """A split as `batch` streams of symbols that are read side by side, chunk by chunk.

    A stream goes on where its last chunk ended, so that a network's state is carried. All chunks
    have `length` symbols of each stream; what is left at their ends is not read.

    Raises:
        DataError: if not even one chunk is there.
    """

    symbols: torch.Tensor
    batch: int
    length: int

    def __post_init__(self) -> None:
        if len(self) < 1:
            needed = self.batch * (self.length + 1)
            raise DataError(
                f"{self.batch} streams of {self.length} symbols, and the one after them, need "
                f"{needed:,} symbols; there are {len(self.symbols):,}"
            )

    def __len__(self) -> int:
        """How many chunks there are."""
        return max(0, len(self.symbols) // self.batch - 1) // self.length

    def chunk(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Symbols (length, batch) and those that follow each of them, (length, batch)."""
        steps = len(self.symbols) // self.batch
        streams = self.symbols[: steps * self.batch].view(self.batch, steps)
        first = number * self.length
        last = first + self.length
        return streams[:, first:last].T, streams[:, first + 1 : last + 1].T
