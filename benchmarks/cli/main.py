"""The command line: its parser, and how what goes wrong becomes one line and an exit code."""

import contextlib
import importlib
import sys
from pathlib import Path

from benchmarks.cli import exit_codes
from benchmarks.cli.options import Parser
from benchmarks.cli.output import json_alone, print_any_text, print_error

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
    """The parser of all commands; `options.run` is then the function of the chosen one."""
    installed = Path(sys.argv[0]).stem == "run-bench"
    parser = Parser(
        prog="run-bench" if installed else "run_bench.py",
        description="How few trainable parameters reach which error, at which cost: the table of "
        "HyperNetworks (Ha, Dai, Le, ICLR 2017), measured.",
        epilog=f"start with: {'run-bench' if installed else 'python run_bench.py'} "
        f"reproduce --dataset digits. {exit_codes.DESCRIPTION}",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    for name in COMMANDS:
        command = importlib.import_module(f"benchmarks.cli.{name}")
        command.add_parser(commands).set_defaults(run=command.run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; gives its exit code. Wrong input is one line on stderr."""
    print_any_text()
    options = make_parser().parse_args(arguments)
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
