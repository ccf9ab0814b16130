"""`tune`: try learning rates and more for one model, on the validation split."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared
from benchmarks.cli.output import print_note, printed_progress
from benchmarks.cli.plan import print_plan
from benchmarks.cli.trials import print_trials


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands,
        "tune",
        "try learning rates, L2 and warm-up for one model on the validation split",
    )
    shared.add_data(parser)
    shared.add_flip(parser)
    shared.add_plugin(parser)
    shared.add_device(parser)
    shared.add_engine(parser)
    shared.add_folders(parser)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--trials",
        type=shared.whole(9),
        default=5,
        metavar="N",
        help="how many, 1 to 9, two fewer where the recipe has no L2, or no warm-up (%(default)s); "
        "give rivals as many",
    )
    shared.add_recipe(parser, "the name of a built-in one")
    return parser


def run(options: Namespace) -> int:
    """Make the study, its missing trials, and print which was best."""
    from benchmarks.data.datasets import dataset_name, task_of
    from benchmarks.runs import tuning
    from benchmarks.runs.matrix import run_study, specs_of_trials
    from benchmarks.runs.planning import plan_specs
    from benchmarks.training import studies
    from benchmarks.training.recipes import default_name

    shared.load_plugins(options.plugin)
    name, chosen = dataset_name(options.dataset), shared.run_options(options)
    base = options.recipe or default_name(name, task_of(options.dataset))
    text = tuning.study_text(options.model, base, options.trials, options.seeds)
    file = tuning.study_file(options.results_dir, options.model, base)
    study = studies.parsed(tuning.continued(file, text), file)
    count = sum(model == options.model for model, _ in study.trials)
    if count > options.trials:
        print_note(f"{file} has {count} trials already; they stay")
    if options.dry_run:
        specs = specs_of_trials(study, chosen)
        return print_plan(plan_specs(specs, options.dataset, chosen, study.name))
    tuning.write(file, text)
    outcomes = run_study(file, options.dataset, chosen, printed_progress())
    if not options.detach:  # else none has ended yet
        made = [o.record_path for o in outcomes if o.spec.model == options.model]
        print_trials(options.results_dir, file, made, base)
    return exit_codes.of_runs(outcomes)
