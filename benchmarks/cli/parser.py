"""argparse with one line of error, near names, and no abbreviations."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from benchmarks import __version__
from benchmarks.cli import exit_codes

ALIASES = {
    "gpu": "cuda",
    "cuda:0": "cuda",
    "--gpu": "--device cuda",
    "--cuda": "--device cuda",
    "--epochs": "--recipe epochs<N>",
    "--data": "--dataset",
    "--lr": "the command tune, or a recipe's file",
    "--learning-rate": "the command tune, or a recipe's file",
}
"""What other programs call options and devices, and what they are here."""


class Parser(argparse.ArgumentParser):
    """Options are written in full; what is not known gets a hint to what is near."""

    def __init__(self, **options: Any):
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Leave with one line on stderr."""
        message = " ".join(message.split())
        self.exit(exit_codes.WRONG_INPUT, f"error: {message} (see {self.prog} --help)\n")

    def take_late(self, options: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
        """Give an optional word its value where that came behind an option; gives what is left.

        argparse takes such a word at once or never.
        """
        left = list(arguments)
        for action in self._get_positional_actions():
            free = action.nargs == "?" and getattr(options, action.dest) is None
            if free and left and not left[0].startswith("-"):
                setattr(options, action.dest, self._get_values(action, [left.pop(0)]))
        return left

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Leave with one line if there are arguments that nothing took."""
        if not arguments:
            return
        options = [text.partition("=")[0] for text in arguments if text.startswith("-")]
        if options:
            hint = nearest(options[0], self._option_string_actions)
            self.error(f"unknown option {options[0]!r}{hint}")
        self.error(f"unexpected argument {arguments[0]!r}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse's own, with a hint."""
        if action.choices is None or value in action.choices:
            return
        choices = list(action.choices)
        told = f"{value!r} is not allowed; choose from {', '.join(choices)}"
        raise argparse.ArgumentError(action, told + nearest(value, choices))


class Version(argparse.Action):
    """Print the version, and in a checkout the commit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any):
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print and leave."""
        from benchmarks.records.provenance import code

        made_of = code()
        commit = ""
        if made_of["commit"]:
            changed = ", with changes" if made_of["dirty"] else ""
            commit = f" (commit {made_of['commit'][:12]}{changed})"
        print(f"{parser.prog} {__version__}{commit}")
        parser.exit(exit_codes.OK)


def nearest(value: str, allowed: Iterable[str]) -> str:
    """ "; nearest: ..." for what a text may have meant, or nothing."""
    if value in ALIASES:
        return f"; nearest: {ALIASES[value]}"
    near = difflib.get_close_matches(value.lower(), list(allowed), n=1)
    return f"; nearest: {near[0]}" if near else ""
