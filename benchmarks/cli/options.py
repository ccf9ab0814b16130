"""Groups of options that several commands share, and what their values mean."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.cli import exit_codes
from benchmarks.cli.parser import Parser
from benchmarks.runs.options import ENGINES, MAX_JOBS, MAX_THREADS, RunOptions
from benchmarks.training import recipes
from benchmarks.training import seeds as seed_numbers
from benchmarks.training.messages import shown
from benchmarks.training.recipe_types import MAX_BATCH_SIZE

_DIGITS = re.compile(r"[0-9]{1,20}")
_DEVICE = re.compile(r"[0-9]{1,4}|(GPU|MIG)-[A-Za-z0-9/-]+")
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def add_command(commands: argparse._SubParsersAction, name: str, text: str) -> Parser:
    """The parser of a command; `text` says what it does."""
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=exit_codes.DESCRIPTION,
    )
    add_traceback(parser, default=argparse.SUPPRESS)  # it may stand before the command too
    return parser


def add_traceback(parser: Parser, default: object = False) -> None:
    """--traceback, of every command."""
    parser.add_argument(
        "--traceback",
        action="store_true",
        default=default,
        help="print the traceback of an error too, which is otherwise one line",
    )


def seeds(text: str) -> list[int]:
    """`0-2` or `0,3,5` to a list."""
    try:
        return seed_numbers.parsed(text)
    except seed_numbers.SeedError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> float:
    """A finite number above 0, in digits such as `90`, `0.5` or `1e3`."""
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not allowed; it is a number above 0")
    return value


def whole(most: int, least: int = 1) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` to `most`."""

    def number(text: str) -> int:
        value = int(text) if _DIGITS.fullmatch(text) else 0
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{shown(text)} is not allowed; it is a whole number from {least} to {most}"
            )
        return value

    return number


def expanded_path(text: str) -> Path:
    """A path, `~` being the user's home; a shell does not expand it after "="."""
    return Path(os.path.expanduser(text))


def add_plugin(parser: Parser) -> None:
    """--plugin, for `load_plugins`."""
    parser.add_argument(
        "--plugin",
        type=os.path.expanduser,
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file that registers models (docs/adding-a-model.md); may be repeated",
    )


def load_plugins(paths: list[str]) -> None:
    """Register the models of plugins.

    Raises:
        RegistryError: for a file that is missing, raises or registers nothing.
    """
    from models import registry

    for path in paths:
        registry.load_plugin(path)


def add_folders(parser: Parser) -> None:
    """The folders, the same for every command, whichever of them it reads or writes."""
    group = parser.add_argument_group(
        "folders, the same for every command, whichever of them it reads or writes"
    )
    folders = {
        "results": "where records lie",
        "reports": "where reports go",
        "data": "where data sets lie",
        "checkpoint": "where checkpoints lie",
    }
    for name, text in folders.items():
        default = Path("checkpoints" if name == "checkpoint" else name)
        group.add_argument(
            f"--{name}-dir", type=expanded_path, default=default, help=f"{text} (%(default)s)"
        )


def add_device(parser: Parser) -> None:
    """How the arithmetic is done."""
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="auto takes CUDA if there is one",
    )
    parser.add_argument("--threads", type=whole(MAX_THREADS), help="CPU threads (all cores)")
    add_arithmetic(parser)
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="bit-identical repeats on one machine, slower on CUDA",
    )


def add_arithmetic(parser: Parser) -> None:
    """What may be given in place of the recipe's own."""
    parser.add_argument(
        "--precision",
        choices=recipes.PRECISIONS,
        help="the recipe's (evaluate: fp32), or: auto is bf16 on CUDA and on a CPU with AMX or "
        "AVX512-BF16, else fp32",
    )
    parser.add_argument(
        "--compile",
        choices=recipes.COMPILE_MODES,
        help="the recipe's (evaluate: off), or: off, default (torch.compile), or graph (on CUDA "
        "the whole step is one CUDA graph); auto is graph on CUDA, default on a CPU with a C++ "
        "compiler, else off",
    )


def add_flip(parser: Parser) -> None:
    """Whether training mirrors images."""
    parser.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror training images at random, or never (the recipe's; else never on digits and "
        "svhn, and at random on other images; text has no mirror)",
    )


def add_data(parser: Parser, default: str | None = "digits") -> None:
    """The data set and whether it may be fetched."""
    parser.add_argument(
        "--dataset",
        default=default,
        metavar="D",
        help="digits (bundled, the default), cifar10, cifar100, svhn, or folder:PATH with class "
        "folders in train/ and test/; for text pydoc (bundled), or text:PATH, a UTF-8 file or a "
        "folder with train.txt, valid.txt and test.txt (text+unknown:PATH: symbols that "
        "train.txt lacks count as one)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch cifar10, cifar100 (170 MB each) or svhn (250 MB) into the data folder, "
        "verified",
    )


def add_recipe(parser: Parser, which: str = "a name or a TOML file") -> None:
    """The recipe, the seeds, and when to stop; `which`: what names a recipe."""
    add_runs(parser, which)
    parser.add_argument(
        "--parallel-seeds",
        type=whole(seed_numbers.MAX_COUNT),
        default=1,
        metavar="N",
        help="runs of the same model side by side on one GPU (1)",
    )
    add_stop(parser)


def add_runs(parser: Parser, which: str = "a name or a TOML file") -> None:
    """Which runs of each model: the recipe and the seeds; `which`: what names a recipe."""
    described = "; ".join(f"{name}: {text}" for name, text in recipes.DESCRIPTIONS.items())
    parser.add_argument(
        "--recipe",
        type=os.path.expanduser,
        metavar="R",
        help=f"{which} (demo on digits, {recipes.DEFAULT_TEXT} on text, else "
        f"{recipes.DEFAULT}). {described}",
    )
    parser.add_argument("--seeds", type=seeds, default=[0], metavar="S", help="0, 0-2 or 0,3,5 (0)")


def add_engine(parser: Parser, jobs: str = "1") -> None:
    """What runs the matrix, and the options of each engine; `jobs`: what is said of its default."""
    group = parser.add_argument_group("engine: what runs the matrix")
    group.add_argument("--engine", choices=ENGINES, default="local", help="where (%(default)s)")
    group.add_argument(
        "--jobs",
        type=whole(MAX_JOBS),
        metavar="N",
        help=f"local: N processes with one queue, each with its share of the cores ({jobs})",
    )
    group.add_argument(
        "--devices",
        type=devices,
        default=(),
        metavar="D",
        help="local: GPUs such as 0,1,2,3; one process each, or as many as --jobs says",
    )
    group.add_argument(
        "--slurm-options",
        default="",
        metavar="TEXT",
        help='slurm: further options of sbatch, such as --slurm-options="--time=60 --gres=gpu:1"; '
        "SBATCH_* variables work too",
    )
    group.add_argument(
        "--detach",
        action="store_true",
        help="slurm: submit and leave; the same command without it waits for the runs",
    )
    group.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="ray: a cluster's (without: one of this machine, for these runs)",
    )
    group.add_argument(
        "--runs-per-gpu",
        type=whole(MAX_JOBS),
        default=1,
        metavar="N",
        help="ray: how many share a GPU (1)",
    )


def devices(text: str) -> tuple[str, ...]:
    """`0,1` to names as in CUDA_VISIBLE_DEVICES."""
    names = tuple(text.split(","))
    if not all(_DEVICE.fullmatch(name) for name in names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not allowed; GPUs are listed once each, such as 0,1,2,3"
        )
    return names


def add_stop(parser: Parser) -> None:
    """When runs stop and what they may resume from."""
    parser.add_argument(
        "--time-limit",
        type=positive,
        metavar="SECONDS",
        help="stop with a checkpoint after this; run again to resume (exit code 75)",
    )
    parser.add_argument(
        "--resume-changed",
        action="store_true",
        help="resume even if code, torch, recipe, data or settings changed since the checkpoint; "
        "the record says so",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what would run, how long it took elsewhere and where records go",
    )


def add_speed(parser: Parser) -> None:
    """What is timed and how it is shown."""
    parser.add_argument(
        "--batch-size",
        type=whole(MAX_BATCH_SIZE, least=2),
        help="images (128), or streams of text (32), a step",
    )
    parser.add_argument("--json", action="store_true", help="the records")


def run_options(options: argparse.Namespace) -> RunOptions:
    """The run's options from those groups that the command has, of `add_folders` and `add_device`.

    What a command does not have keeps its default.
    """
    names = RunOptions.__dataclass_fields__
    given = {name: value for name, value in vars(options).items() if name in names}
    return RunOptions(**given)
