"""`evaluate`: the test error of a checkpoint."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared
from benchmarks.cli.output import print_note


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(commands, "evaluate", "measure the test error of a checkpoint")
    shared.add_data(parser)
    shared.add_plugin(parser)
    shared.add_device(parser)
    shared.add_folders(parser)
    parser.add_argument("checkpoint", type=shared.expanded_path, metavar="CHECKPOINT")
    return parser


def run(options: Namespace) -> int:
    """Print the error and the loss."""
    from benchmarks.data import datasets
    from benchmarks.runs import trained
    from benchmarks.runs.settings import settings_of, with_overrides
    from benchmarks.training import recipes

    shared.load_plugins(options.plugin)
    chosen = shared.run_options(options)
    recipe = with_overrides(recipes.load("demo"), chosen)
    data = datasets.load(options.dataset, options.data_dir, download=options.download)
    settings = settings_of(chosen, recipe, print_note)
    result = trained.evaluate_checkpoint(options.checkpoint, data, settings, print_note)
    task = data.task
    print(
        f"{result['model']} (seed {result['seed']}) on {result['dataset']}: test {task.metric} "
        f"{task.shown(result['test_error'])}, cross-entropy {result['test_loss']:.4f}"
    )
    if not result["same_data"]:
        print_note(f"it was trained on other data than {result['dataset']}")
    return exit_codes.OK
