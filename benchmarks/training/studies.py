"""Recipe studies: trials on the validation split that settle a recipe, from a TOML file.

`results/studies/<study>/study.toml` says what is tried, the records beside it what came out; the test set is never read.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.training import recipes
from benchmarks.training.recipes import Recipe

HOW = ("precision", "compile")
"""What all trials of a study share, because they are trained by one process with one setting."""


class StudyError(ValueError):
    """A study that cannot be run; the message is one line for the user."""


@dataclass(frozen=True)
class Study:
    """`base`: the recipe that the trials vary. `trials`: model and recipe, in order."""

    name: str
    about: str
    base: Recipe
    seeds: tuple[int, ...]
    trials: tuple[tuple[str, Recipe], ...]


def load(path: Path) -> Study:
    """The study of a TOML file: `about`, `base`, `seeds`, and by model a table of trials, each a name with what it changes.

    `fixed` is what all trials have, whatever the base of that name says by now. The study's name is its folder's.

    Raises:
        StudyError: for a file that cannot be read or a key that is not allowed.
        RecipeError: for a change that is not allowed.
    """
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise StudyError(f"study {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"study {path}: {error}") from None
    wanted = {"about": str, "base": str, "seeds": list, "fixed": dict, "trials": dict}
    for key, kind in wanted.items():
        if not isinstance(values.get(key), kind):
            raise StudyError(f"study {path}: {key} is missing or no {kind.__name__}")
    if unknown := sorted(set(values) - set(wanted)):
        raise StudyError(
            f"study {path}: unknown key {unknown[0]!r}; allowed are {', '.join(wanted)}"
        )
    base, trials = recipes.varied(recipes.load(values["base"]), values["base"], values["fixed"]), []
    for model, changes in values["trials"].items():
        if not isinstance(changes, dict) or not all(
            isinstance(change, dict) for change in changes.values()
        ):
            raise StudyError(f"study {path}: the trials of {model} are no table of tables")
        if how := next((key for change in changes.values() for key in HOW if key in change), None):
            raise StudyError(
                f"study {path}: {how} is not allowed in a trial of {model}, only in fixed: all trials have the same"
            )
        trials += [
            (model, recipes.varied(base, f"{base.name}.{name}", change))
            for name, change in changes.items()
        ]
    return Study(
        path.resolve().parent.name, values["about"], base, tuple(values["seeds"]), tuple(trials)
    )


def find(results_dir: Path) -> list[Path]:
    """The files of all studies."""
    return sorted((results_dir / "studies").glob("*/study.toml"))


def refuse_elsewhere(path: Path, results_dir: Path) -> None:
    """Refuse a study whose records would not lie beside it.

    Raises:
        StudyError: naming where it may lie.
    """
    if path.resolve() not in [there.resolve() for there in find(results_dir)]:
        raise StudyError(
            f"study {path} is not allowed there; it is {results_dir}/studies/<name>/study.toml"
        )
