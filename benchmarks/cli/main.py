"""The command line: its parser, and how what goes wrong becomes one line and an exit code."""

import contextlib
import importlib
import sys
import traceback
from pathlib import Path

from benchmarks.cli import exit_codes
from benchmarks.cli.options import add_traceback
from benchmarks.cli.output import json_alone, print_any_text, print_error
from benchmarks.cli.parser import Parser, Version
from benchmarks.system import faults
from benchmarks.system.pipes import outlive_readers

COMMANDS = (
    "list",
    "cost",
    "check",
    "train",
    "evaluate",
    "export",
    "throughput",
    "compare",
    "tune",
    "study",
    "status",
    "report",
    "verify",
    "merge",
    "reproduce",
)
"""Each is a module of this folder with `add_parser(commands)` and `run(options)`."""


def make_parser() -> Parser:
    """The parser of all commands; `options.run` and `options.parser` are then the chosen one's."""
    installed = Path(sys.argv[0]).stem == "run-bench"
    parser = Parser(
        prog="run-bench" if installed else "run_bench.py",
        description="How few trainable parameters reach which error, at which cost: the table of "
        "HyperNetworks (Ha, Dai, Le, ICLR 2017), measured.",
        epilog=f"start with: {'run-bench' if installed else 'python run_bench.py'} "
        f"reproduce --dataset digits. {exit_codes.DESCRIPTION}",
    )
    add_traceback(parser)
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
    """Run a command; gives its exit code. Whatever goes wrong is one line on stderr."""
    outlive_readers()
    print_any_text()
    options, unknown = make_parser().parse_known_args(arguments)
    options.parser.refuse_unknown(options.parser.take_late(options, unknown))
    try:
        with json_alone() if getattr(options, "json", False) else contextlib.nullcontext():
            return options.run(options)
    except KeyboardInterrupt:
        print("stopped; run again to resume", file=sys.stderr)
        return exit_codes.STOPPED
    except BaseException as error:
        if not faults.is_fault(error):
            raise
        if options.traceback:
            traceback.print_exception(error)
        return _said(error)


def _said(error: BaseException) -> int:
    """Print an error in one line; gives the exit code.

    A ValueError of the suite is wrong input and says so itself. What a user's code raises, and any
    other error, is a failure, with the file and line of its origin.
    """
    if faults.is_users(error) or not isinstance(error, ValueError | OSError):
        print_error(faults.described(error))
        return exit_codes.FAILED
    print_error(" ".join(str(error).split()))
    return exit_codes.WRONG_INPUT if isinstance(error, ValueError) else exit_codes.FAILED
