"""`throughput`: images or characters per second in training and inference, by the protocol."""

from argparse import Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cli import exit_codes, output, speeds
from benchmarks.cli import options as shared

if TYPE_CHECKING:
    from benchmarks.runs.bench import TimingSetup


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands,
        "throughput",
        "measure images, or characters, per second in training and inference",
    )
    shared.add_plugin(parser)
    shared.add_device(parser)
    shared.add_folders(parser)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="one record each")
    parser.add_argument(
        "--pair",
        metavar="MODEL",
        help="instead, the ratio of a model to its plain pair, interleaved, after an A/A run",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="instead, the operators of a training step by their share of its time",
    )
    shared.add_speed(parser)
    return parser


def run(options: Namespace) -> int:
    """Time models, a pair, or the operators of a step."""
    if bool(options.models) == bool(options.pair):
        raise ValueError("name models, or one with --pair, not both")
    if options.pair and options.profile:
        raise ValueError("--profile is of models, not of a --pair")
    shared.load_plugins(options.plugin)

    from benchmarks.runs.bench import task_of, timing_setup

    progress = output.printed_progress(quiet=options.json)
    task = task_of(options.models or [options.pair])
    setup = timing_setup(shared.run_options(options), options.batch_size, progress, task)
    if options.profile:
        from benchmarks.runs.speed import profile_models

        profiles = profile_models(options.models, setup, progress)
        speeds.print_profiles(profiles, options.json)
        return exit_codes.OK if profiles.keys() == {*options.models} else exit_codes.FAILED
    if options.pair:
        return _pair(options.pair, setup, options.results_dir, options.json)

    from benchmarks.runs.speed import time_models

    timings = time_models(options.models, setup, options.results_dir, progress)
    records = [timing.record for timing in timings if timing.record is not None]
    if options.json:
        output.print_json(records)
    return exit_codes.OK if len(records) == len(timings) else exit_codes.FAILED


def _pair(name: str, setup: "TimingSetup", results_dir: Path, as_json: bool) -> int:
    from benchmarks.records import store
    from benchmarks.runs.speed import time_pair

    record = time_pair(name, setup)
    path = store.save_throughput(results_dir, record)
    speeds.print_pair(record, path, as_json)
    return exit_codes.OK
