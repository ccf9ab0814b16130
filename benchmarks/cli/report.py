"""`report`: regenerate the report from the records."""

from argparse import Namespace, _SubParsersAction
from pathlib import Path

from benchmarks.cli import exit_codes
from benchmarks.cli.options import Parser, add_command, add_folders, expanded_path


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(commands, "report", "regenerate the report from the records")
    add_folders(parser)
    parser.add_argument(
        "--dataset",
        metavar="D",
        help="one data set, as `train` names it or by its name in results (all that have records)",
    )
    parser.add_argument(
        "--question",
        metavar="MODEL",
        help="the model that the front page asks about (the hypernetworks)",
    )
    parser.add_argument(
        "--html",
        action="store_true",
        help="also write index.html beside each report: one file to sort, filter and plot the "
        "rows in a browser, without a network",
    )
    parser.add_argument(
        "--open", action="store_true", help="write index.html and open it in the browser"
    )
    parser.add_argument(
        "--readme",
        type=expanded_path,
        metavar="PAGE",
        help="also rewrite the tables of the paper's rows and of text in this page",
    )
    return parser


def run(options: Namespace) -> int:
    """Write the pages."""
    from benchmarks.report.pages import build_report

    dataset = options.dataset
    if dataset and ":" in dataset:
        from benchmarks.data import datasets  # it loads torch, which a report does without

        dataset = datasets.dataset_name(dataset)
    html = options.html or options.open
    pages = build_report(options.results_dir, options.reports_dir, dataset, options.question, html)
    for page in pages:
        print(f"report: {page}")
    if options.readme:
        _write_readme(options.results_dir, options.readme)
    if options.open:
        _open([page for page in pages if page.suffix == ".html"])
    return exit_codes.OK


def _open(pages: list[Path]) -> None:
    import webbrowser

    for page in pages:
        if not webbrowser.open_new_tab(page.resolve().as_uri()):
            raise OSError(f"no browser was found to open {page}")


def _write_readme(results_dir: Path, page: Path) -> None:
    from benchmarks.report import readme
    from benchmarks.runs.listing import listed
    from models import registry

    counts = [listed(registry.get(name)) for name in registry.PAPER_TABLE]
    readme.write(results_dir, page, counts)
    print(f"table: {page}")
