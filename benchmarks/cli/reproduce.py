"""`reproduce`: the paper's table, from training to the report."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared
from benchmarks.cli.output import printed_progress
from benchmarks.cli.plan import print_plan
from benchmarks.tasks import IMAGES, TASKS


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands,
        "reproduce",
        "make the paper's table: train what is missing of four models, time them, report",
    )
    parser.add_argument(
        "--task",
        choices=tuple(TASKS),
        help="which table where neither models nor a data set are named (images)",
    )
    shared.add_data(parser, default=None)
    shared.add_flip(parser)
    shared.add_plugin(parser)
    shared.add_device(parser)
    shared.add_engine(parser, "1; on digits one a core, at most one a run")
    shared.add_folders(parser)
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="other models (the paper's four rows; of text a HyperLSTM and its two plain rivals)",
    )
    shared.add_recipe(parser)
    return parser


def run(options: Namespace) -> int:
    """Train and time what is missing and write the report, if no run was stopped or refused."""
    from benchmarks.data.datasets import dataset_name, task_of
    from benchmarks.report.pages import build_report
    from benchmarks.runs.planning import plan
    from benchmarks.runs.reproduce import reproduce
    from models.registry import TABLES, get

    shared.load_plugins(options.plugin)
    of_models = get(options.models[0]).task if options.models else IMAGES.name
    dataset = options.dataset or TASKS[options.task or of_models].bundled
    task = task_of(dataset)
    if options.task not in (None, task.name):
        raise ValueError(f"--task {options.task} is not that of --dataset {dataset}, {task.name}")
    wanted = {
        "models": options.models or TABLES[task.name],
        "dataset": dataset,
        "recipe": options.recipe,
        "seeds": options.seeds,
        "options": shared.run_options(options),
    }
    if options.dry_run:
        return print_plan(plan(**wanted))
    result = reproduce(**wanted, progress=printed_progress())
    code = exit_codes.of_runs(result.runs)
    if result.halted:
        return max(code, exit_codes.STOPPED) if result.stopped else code
    if any(timing.record is None for timing in result.timings):
        code = exit_codes.FAILED
    name = dataset_name(dataset)
    for page in build_report(options.results_dir, options.reports_dir, name):
        print(f"report: {page}")
    return code
