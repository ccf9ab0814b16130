"""`list`: the registered models with their closed-form counts."""

from argparse import ArgumentTypeError, Namespace, _SubParsersAction

from benchmarks.cli import costs, exit_codes
from benchmarks.cli.options import add_command, add_plugin, load_plugins
from benchmarks.cli.parser import Parser
from benchmarks.tasks import TASKS

UNITS = {"k": 1_000, "m": 1_000_000}


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(commands, "list", "show the models with their parameters and FLOPs")
    add_plugin(parser)
    parser.add_argument(
        "pattern",
        nargs="?",
        metavar="NAME",
        help="a part of a name, or a pattern such as 'hyper*_projection'",
    )
    parser.add_argument("--task", choices=tuple(TASKS), help="only models that read this (all)")
    parser.add_argument(
        "--family", metavar="F", help="how names begin or the kernel source: hyper_resnet, template"
    )
    parser.add_argument("--pair", metavar="M", help="a plain model and those that it is pair of")
    parser.add_argument(
        "--size", type=parameters, metavar="N", help="about N parameters (10 %%): 97000, 97k, 0.5M"
    )
    parser.add_argument("--min-params", type=parameters, metavar="N", help="at least N parameters")
    parser.add_argument("--max-params", type=parameters, metavar="N", help="at most N parameters")
    parser.add_argument("--json", action="store_true", help="a list of objects")
    return parser


def parameters(text: str) -> int:
    """`97000`, `97,000`, `97k` or `0.5M` to a number of parameters."""
    plain = text.replace(",", "").lower()
    unit = UNITS.get(plain[-1:], 1)
    try:
        value = float(plain[:-1] if unit > 1 else plain) * unit
    except ValueError:
        value = 0.0
    if not 1 <= value < 1e12:
        raise ArgumentTypeError(f"{text!r} is not allowed; write 97000, 97k or 0.5M")
    return round(value)


def run(options: Namespace) -> int:
    """Print a row for each model that is wanted."""
    from benchmarks.runs.listing import Wanted, listing

    load_plugins(options.plugin)
    wanted = Wanted(
        task=options.task,
        pattern=options.pattern,
        family=options.family,
        pair=options.pair,
        size=options.size,
        min_params=options.min_params,
        max_params=options.max_params,
    )
    rows = listing(wanted)
    if not rows:
        raise ValueError("no listed model is like that; `list` alone shows all")
    costs.print_models(rows, options.json)
    return exit_codes.OK
