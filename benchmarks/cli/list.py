"""`list`: the registered models with their closed-form counts."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import costs, exit_codes
from benchmarks.cli.options import Parser, add_command, add_plugin, load_plugins


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(commands, "list", "the registered models with their closed-form counts")
    add_plugin(parser)
    parser.add_argument("--json", action="store_true", help="a list of objects")
    return parser


def run(options: Namespace) -> int:
    """Print a row for each model."""
    from benchmarks.runs.listing import listing

    load_plugins(options.plugin)
    costs.print_rows(listing(), options.json)
    return exit_codes.OK
