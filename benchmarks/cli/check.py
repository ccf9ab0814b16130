"""`check`: the contract tests on models, in plain words."""

from argparse import Namespace, _SubParsersAction

from benchmarks.cli import exit_codes
from benchmarks.cli.options import Parser, add_command, add_plugin, load_plugins
from benchmarks.system.words import counted


def add_parser(commands: _SubParsersAction) -> Parser:
    """Its options."""
    parser = add_command(
        commands, "check", "try outputs, gradients, counts and saving of models, in plain words"
    )
    add_plugin(parser)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    return parser


def run(options: Namespace) -> int:
    """Print a line for each check of each model; the exit code says whether all passed."""
    from models import registry

    load_plugins(options.plugin)
    for name in options.models:
        registry.get(name)
    passed = [_check(name, options.traceback) for name in options.models]
    return exit_codes.OK if all(passed) else exit_codes.FAILED


def _check(name: str, show_traceback: bool) -> bool:
    """Whether a model passes every check."""
    from benchmarks.runs import check

    problems = 0
    for title, problem in check.run(name, show_traceback):
        if problem is None:
            print(f"ok    {title}")
        else:
            print(f"FAIL  {title}: {problem}")
            problems += 1
    print(f"{name}: {counted(problems, 'check') + ' failed' if problems else 'every check passed'}")
    return problems == 0
