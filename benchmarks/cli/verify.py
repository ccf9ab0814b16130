"""`verify`: records and checkpoints against hashes, schema, counts and each other."""

from argparse import Namespace, _SubParsersAction
from collections import Counter

from benchmarks.cli import exit_codes
from benchmarks.cli.options import Parser, add_command, add_folders, add_plugin, load_plugins
from benchmarks.cli.output import print_note
from benchmarks.system.words import counted


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(
        commands,
        "verify",
        "check records, checkpoints and weights against hashes, schema and counts",
    )
    add_plugin(parser)
    add_folders(parser)
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a path, or a part of one such as digits/hyper_resnet40_1 (all)",
    )
    return parser


def run(options: Namespace) -> int:
    """Print a line for each problem; the exit code says whether there is one."""
    from benchmarks.runs import verify

    load_plugins(options.plugin)
    results_dir, checkpoint_dir = options.results_dir, options.checkpoint_dir
    paths = verify.find(results_dir, checkpoint_dir)
    if options.runs:
        paths = verify.named(options.runs, results_dir, checkpoint_dir)
    if not paths:
        raise ValueError(f"no records or checkpoints under {results_dir} and {checkpoint_dir}")
    wrong = 0
    for path in paths:
        for problem in verify.problems(path, results_dir, checkpoint_dir):
            print(f"{path}: {problem}")
            wrong += 1
    for note in verify.shared_names(results_dir):
        print_note(note)
    kinds = Counter(path.suffix for path in paths)
    shared = kinds[".safetensors"]
    of_weights = f", {counted(shared, 'file')} of weights" if shared else ""
    records, checkpoints = kinds[".json"], kinds[".ckpt"]
    files = f"{counted(records, 'record')}, {counted(checkpoints, 'checkpoint')}{of_weights}"
    print(f"{files}: {wrong or 'nothing'} wrong")
    return exit_codes.FAILED if wrong else exit_codes.OK
