"""`study`: trials that settle a recipe on the validation split."""

from argparse import Namespace, _SubParsersAction
from pathlib import Path

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared
from benchmarks.cli.output import printed_progress
from benchmarks.cli.plan import print_plan


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands,
        "study",
        "make the trials of a study file on the validation split; see tune",
    )
    shared.add_data(parser)
    shared.add_flip(parser)
    shared.add_plugin(parser)
    shared.add_device(parser)
    shared.add_engine(parser)
    shared.add_folders(parser)
    parser.add_argument(
        "study",
        type=shared.expanded_path,
        metavar="FILE",
        help="what to try (results/studies/*/study.toml)",
    )
    parser.add_argument(
        "--page",
        type=shared.expanded_path,
        metavar="PAGE",
        help="the page whose tables are written, made if it is not there (docs/recipes.md; with "
        "another --results-dir README.md among its studies)",
    )
    shared.add_stop(parser)
    return parser


def run(options: Namespace) -> int:
    """Make the trials that are missing and write the page."""
    from benchmarks.report import studies_page
    from benchmarks.runs.matrix import run_study
    from benchmarks.runs.planning import plan_study

    shared.load_plugins(options.plugin)
    chosen = shared.run_options(options)
    if options.dry_run:
        return print_plan(plan_study(options.study, options.dataset, chosen))
    usual = options.results_dir == options.parser.get_default("results_dir")
    page = options.page or (
        Path("docs/recipes.md") if usual else options.results_dir / "studies" / "README.md"
    )
    studies_page.head(page)  # a page without the mark is refused before the trials
    outcomes = run_study(options.study, options.dataset, chosen, printed_progress())
    if not options.detach:  # else none has ended yet
        studies_page.write_page(options.results_dir, page)
        print(f"page: {page}")
    return exit_codes.of_runs(outcomes)
