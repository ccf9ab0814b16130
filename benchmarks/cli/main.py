"""The command line: its parser, and how what goes wrong becomes one line and an exit code."""

import contextlib
import importlib
import sys
from pathlib import Path

from benchmarks.cli import exit_codes
from benchmarks.cli.output import json_alone, print_error
from benchmarks.cli.parser import Parser, Version

COMMANDS = (
    "list",
    "cost",
    "check",
    "train",
    "evaluate",
    "export",
    "throughput",
    "compare",
    "study",
    "report",
    "verify",
    "reproduce",
)
"""Each is a module of this folder with `add_parser(commands)` and `run(options)`."""


def make_parser() -> Parser:
    """The parser of all commands; `options.run` and `options.parser` are then the chosen one's."""
    called = Path(sys.argv[0]).name
    parser = Parser(
        prog="run-bench" if called == "run-bench" else "run_bench.py",
        description="How few trainable parameters reach which error, at which cost: the table of "
        "HyperNetworks (Ha, Dai, Le, ICLR 2017), measured.",
        epilog="start with: python run_bench.py reproduce --dataset digits. "
        f"{exit_codes.DESCRIPTION}",
    )
    parser.add_argument("--version", action=Version, help="the version, and a checkout's commit")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for name in COMMANDS:
        command = importlib.import_module(f"benchmarks.cli.{name}")
        own = command.add_parser(commands)
        own.set_defaults(run=command.run, parser=own)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; gives its exit code. Wrong input is one line on stderr."""
    options, unknown = make_parser().parse_known_args(arguments)
    options.parser.refuse_unknown(unknown)
    try:
        with json_alone() if getattr(options, "json", False) else contextlib.nullcontext():
            return options.run(options)
    except ValueError as error:
        print_error(" ".join(str(error).split()))
        return exit_codes.WRONG_INPUT
    except OSError as error:
        print_error(str(error))
        return exit_codes.FAILED
    except KeyboardInterrupt:
        print("stopped; run again to resume", file=sys.stderr)
        return exit_codes.STOPPED
