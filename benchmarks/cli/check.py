"""`check`: the contract tests on one model, in plain words."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli.options import Parser, add_command, add_plugin, load_plugins


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(commands, "check", "the contract tests on one model, in plain words")
    add_plugin(parser)
    parser.add_argument("model", metavar="MODEL")
    return parser


def run(options: Namespace) -> int:
    """Print a line for each check; the exit code says whether all passed."""
    from models import registry

    load_plugins(options.plugin)
    registry.get(options.model)

    from benchmarks.runs import check

    problems = 0
    for title, problem in check.run(options.model):
        if problem is None:
            print(f"ok    {title}")
        else:
            print(f"FAIL  {title}: {problem}")
            problems += 1
    if problems:
        print(f"{options.model}: {problems} checks failed")
        return exit_codes.FAILED
    print(f"{options.model}: every check passed")
    return exit_codes.OK
