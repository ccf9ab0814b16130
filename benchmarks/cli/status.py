"""`status`: what of a matrix is done, running, waiting or failed."""

from argparse import Namespace, _SubParsersAction
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared
from benchmarks.cli.output import print_json, print_table
from benchmarks.system.words import counted

if TYPE_CHECKING:
    from benchmarks.runs.status import State


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options: those of `train` that say which runs are meant."""
    parser = shared.add_command(
        commands,
        "status",
        "say what of a matrix of runs is done, running, waiting or failed, whatever the engine",
    )
    shared.add_data(parser)
    shared.add_flip(parser)
    shared.add_plugin(parser)
    shared.add_folders(parser)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="as of train")
    parser.add_argument(
        "--study",
        type=shared.expanded_path,
        metavar="FILE",
        help="the trials of a study in place of models, recipe and seeds",
    )
    shared.add_arithmetic(parser)
    shared.add_runs(parser)
    parser.set_defaults(seeds=None)  # so that it is known whether they were given
    parser.add_argument("--json", action="store_true", help="an object a run")
    return parser


def run(options: Namespace) -> int:
    """Print a row a run and the numbers of each state."""
    from benchmarks.runs.status import status, status_of_study

    if bool(options.models) == bool(options.study):
        raise ValueError("name the models, or --study FILE, and not both")
    if options.study and (options.recipe or options.seeds):
        raise ValueError("--recipe and --seeds are not allowed with --study, which says its own")
    shared.load_plugins(options.plugin)
    chosen = shared.run_options(options)
    if options.study:
        states = status_of_study(options.study, options.dataset, chosen)
    else:
        seeds = options.seeds or [0]
        states = status(options.models, options.dataset, options.recipe, seeds, chosen)
    if options.json:
        print_json([state.as_json() for state in states])
        return exit_codes.OK
    metric = states[0].spec.recipe.task.metric
    print_table([_row(state) for state in states], ("run", "seed", "state", "epochs", metric))
    numbers = Counter(state.state for state in states)
    listed = ", ".join(f"{count} {name}" for name, count in numbers.items())
    print(f"\n{counted(len(states), 'run')} on {states[0].dataset}: {listed}")
    for state in states:
        spec = state.spec
        if state.reason and state.state != "done":
            print(f"{spec.model}, {spec.recipe.name}, seed {spec.seed}: {state.reason}")
    return exit_codes.OK


def _row(state: "State") -> tuple[str, ...]:
    spec = state.spec
    epochs = f"{state.epoch}/{state.epochs or '?'}"
    task = spec.recipe.task
    error = "-" if state.error is None else task.shown(state.error)
    return f"{spec.model}, {spec.recipe.name}", str(spec.seed), state.state, epochs, error
