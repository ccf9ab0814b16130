"""`train`: train models and write a record for each run."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared
from benchmarks.cli.output import printed_progress
from benchmarks.cli.plan import print_plan


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(commands, "train", "train models and write a record for each run")
    shared.add_data(parser)
    shared.add_flip(parser)
    shared.add_plugin(parser)
    shared.add_device(parser)
    shared.add_engine(parser)
    shared.add_folders(parser)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    shared.add_recipe(parser)
    return parser


def run(options: Namespace) -> int:
    """Train what is missing."""
    from benchmarks.runs.matrix import train
    from benchmarks.runs.planning import plan

    shared.load_plugins(options.plugin)
    wanted = {
        "models": options.models,
        "dataset": options.dataset,
        "recipe": options.recipe,
        "seeds": options.seeds,
        "options": shared.run_options(options),
    }
    if options.dry_run:
        return print_plan(plan(**wanted))
    outcomes = train(**wanted, progress=printed_progress())
    return exit_codes.of_runs(outcomes)
