"""`cost`: parameters and FLOPs, counted on the built models."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import costs, exit_codes
from benchmarks.cli.options import Parser, add_command, add_plugin, load_plugins


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(
        commands,
        "cost",
        "parameters and FLOPs, counted on the built models and checked; no training",
    )
    add_plugin(parser)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="(all listed)")
    parser.add_argument("--json", action="store_true", help="a list of objects")
    return parser


def run(options: Namespace) -> int:
    """Print a row for each model; the exit code says whether each could be built."""
    from models import registry

    load_plugins(options.plugin)
    names = options.models or registry.names()
    for name in names:
        registry.get(name)

    from benchmarks.runs.listing import cost

    rows = [cost(name) for name in names]
    costs.print_rows(rows, options.json)
    return exit_codes.FAILED if any(row["params"] is None for row in rows) else exit_codes.OK
