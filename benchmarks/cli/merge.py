"""`merge`: the records of other machines into one folder of results."""

from argparse import Namespace, _SubParsersAction
from collections import Counter

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands,
        "merge",
        "copy records of other folders of results that are missing here; refuse contradictions",
    )
    shared.add_plugin(parser)
    shared.add_folders(parser)
    parser.add_argument(
        "others",
        nargs="+",
        type=shared.expanded_path,
        metavar="OTHER_RESULTS",
        help="folders of results of other machines",
    )
    return parser


def run(options: Namespace) -> int:
    """Print what was copied and what was refused; the exit code says whether something was."""
    from benchmarks.runs.merging import merge

    shared.load_plugins(options.plugin)
    merged = merge(options.others, options.results_dir)
    for file in merged:
        if file.what == "copied":
            print(f"copied: {file.path}")
    for file in merged:
        if file.what == "refused":
            print(f"refused: {file.source}: {file.reason}")
    numbers = Counter(file.what for file in merged)
    print(
        f"{len(merged)} files: {numbers['copied']} copied, {numbers['there']} there already, "
        f"{numbers['refused']} refused"
    )
    return exit_codes.FAILED if numbers["refused"] else exit_codes.OK
