"""`export`: the weights of a checkpoint as safetensors."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli.options import Parser, add_command, add_plugin, expanded_path, load_plugins


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(commands, "export", "write the weights of a checkpoint as safetensors")
    add_plugin(parser)
    parser.add_argument("checkpoint", type=expanded_path, metavar="CHECKPOINT")
    parser.add_argument("out", type=expanded_path, metavar="OUT")
    parser.add_argument(
        "--materialize", action="store_true", help="stored kernels: loads into the plain network"
    )
    return parser


def run(options: Namespace) -> int:
    """Write the file."""
    from benchmarks.runs import trained

    load_plugins(options.plugin)
    count = trained.export(options.checkpoint, options.out, options.materialize)
    print(f"{options.out}: {count} tensors")
    return exit_codes.OK
