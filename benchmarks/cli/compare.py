"""`compare`: a pair's speed against other implementations."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes, output, speeds
from benchmarks.cli import options as shared
from benchmarks.tasks import IMAGES, TASKS, TEXT


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands, "compare", "measure a pair's speed against other implementations, interleaved"
    )
    shared.add_device(parser)
    shared.add_folders(parser)
    parser.add_argument(
        "model",
        nargs="?",
        default="hyper_resnet40_1",
        metavar="MODEL",
        help="a HyperResNet (%(default)s) or a HyperLSTM of one layer",
    )
    shared.add_speed(parser)
    return parser


def run(options: Namespace) -> int:
    """Print the rates and their ratios, and write the record."""
    from benchmarks.records import store
    from benchmarks.runs import comparison, text_comparison
    from benchmarks.runs.bench import timing_setup
    from models import registry

    task = TASKS[registry.get(options.model).task]
    progress = output.printed_progress(quiet=options.json)
    setup = timing_setup(shared.run_options(options), options.batch_size, progress, task)
    compare = {IMAGES: comparison.compare, TEXT: text_comparison.compare}[task]
    record = compare(options.model, setup)
    path = store.save_throughput(options.results_dir, record)
    speeds.print_comparison(record, path, options.json)
    return exit_codes.OK
