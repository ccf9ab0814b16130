"""`export`: the weights of a checkpoint as safetensors."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli import options as shared


def add_parser(commands: _SubParsersAction) -> shared.Parser:
    """Its options."""
    parser = shared.add_command(
        commands, "export", "write the weights of a checkpoint as safetensors"
    )
    shared.add_data(parser, default=None)
    shared.add_plugin(parser)
    shared.add_folders(parser)
    parser.add_argument("checkpoint", type=shared.expanded_path, metavar="CHECKPOINT")
    parser.add_argument(
        "out",
        nargs="?",
        type=shared.expanded_path,
        metavar="OUT",
        help="a file; without it the weights go to their place under the results, to be shared "
        "(at most 1 MB; --dataset names what the run was trained on)",
    )
    parser.add_argument(
        "--materialize", action="store_true", help="stored kernels: loads into the plain network"
    )
    return parser


def run(options: Namespace) -> int:
    """Write the file."""
    from benchmarks.data import datasets
    from benchmarks.runs import trained, weights

    shared.load_plugins(options.plugin)
    if options.out is not None:
        if options.dataset is not None or options.download:
            raise ValueError(
                "--dataset and --download are not allowed with OUT: no data set is read"
            )
        count = trained.export(options.checkpoint, options.out, options.materialize)
        print(f"{options.out}: {count} tensors")
        return exit_codes.OK
    if options.materialize:
        raise ValueError("--materialize is not allowed without OUT: shared weights are as trained")
    data = datasets.load(options.dataset or "digits", options.data_dir, download=options.download)
    print(weights.publish(options.checkpoint, data, options.results_dir))
    return exit_codes.OK
