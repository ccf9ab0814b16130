"""`cost`: parameters and FLOPs, counted on the built models."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import costs, exit_codes
from benchmarks.cli.options import Parser, add_command, add_plugin, load_plugins
from benchmarks.tasks import TASKS


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(
        commands,
        "cost",
        "count parameters by component and FLOPs on the built models",
    )
    add_plugin(parser)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="(all listed)")
    parser.add_argument(
        "--task", choices=tuple(TASKS), help="only listed models that read this (all)"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects")
    return parser


def run(options: Namespace) -> int:
    """Print what each model costs; the exit code says whether each was built and counted right."""
    from models import registry

    load_plugins(options.plugin)
    if options.models and options.task:
        raise ValueError("--task is of the listed models: name models, or a task, not both")
    names = options.models or registry.names(options.task)
    for name in names:
        registry.get(name)

    from benchmarks.runs.listing import cost

    rows = [cost(name) for name in names]
    costs.print_costs(rows, options.json)
    bad = any(row["params"] is None or row["wrong"] for row in rows)
    return exit_codes.FAILED if bad else exit_codes.OK
