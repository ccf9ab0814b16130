"""Recipe studies: trials on the validation split that settle a recipe, from a TOML file.

`results/studies/<study>/study.toml` says what is tried, the records beside it say what came out.
A trial never reads the test set.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.system.files import read_text
from benchmarks.training import recipes, seeds
from benchmarks.training.messages import unknown_key
from benchmarks.training.recipes import Recipe

SHARED = ("precision", "compile")
"""What all trials of a study share, because they are trained by one process with one setting."""


class StudyError(ValueError):
    """A study that cannot be run; the message is one line for the user."""


class StudyFile(BaseModel):
    """The content of a study's file; recipes are checked when they are made of it.

    The description of a field is what an error message calls its type.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    about: Annotated[str, Field(description="text")]
    base: Annotated[str, Field(description="text")]
    seeds: Annotated[list[int], Field(description="list of whole numbers")]
    fixed: Annotated[dict[str, Any], Field(description="table")]
    trials: Annotated[dict[str, dict[str, dict[str, Any]]], Field(description="table")]


@dataclass(frozen=True)
class Study:
    """`base`: the recipe that the trials vary. `trials`: model and recipe, in order."""

    name: str
    about: str
    base: Recipe
    seeds: tuple[int, ...]
    trials: tuple[tuple[str, Recipe], ...]


def load(path: Path) -> Study:
    """The study of a TOML file; its name is that of its folder.

    The file has `about`, `base`, `seeds`, `fixed` (what all trials have, whatever the recipe
    `base` says by now) and `trials`: by model a table of names, each with what it changes.

    Raises:
        StudyError: for a file that cannot be read or a key that is not allowed.
        RecipeError: for a change that is not allowed.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise StudyError(f"study {path}: {error.strerror}") from None
    except ValueError as error:
        raise StudyError(f"study {path}: {error}") from None
    return parsed(text, path)


def parsed(text: str, path: Path) -> Study:
    """The study of a file's text, which lies or is to lie at `path`; raises as `load` does."""
    try:
        content = StudyFile.model_validate(tomllib.loads(text))
        chosen = seeds.checked(content.seeds)
    except ValidationError as error:
        raise StudyError(f"study {path}: {_one_line(error)}") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"study {path}: {error}") from None
    start = recipes.recorded(content.base) or recipes.load(content.base)
    base = recipes.varied(start, content.base, content.fixed)
    trials = []
    for model, changes_by_name in content.trials.items():
        for name, changes in changes_by_name.items():
            for key in SHARED:
                if key in changes:
                    raise StudyError(
                        f"study {path}: {key} is not allowed in a trial of {model}, only in fixed: "
                        "all trials have the same"
                    )
            trials.append((model, recipes.varied(base, f"{base.name}.{name}", changes)))
    name = path.resolve().parent.name
    return Study(name, content.about, base, tuple(chosen), tuple(trials))


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong with a study's file."""
    first = error.errors(include_url=False)[0]
    key, *inside = first["loc"]
    if first["type"] == "extra_forbidden":
        return unknown_key(str(key), StudyFile.model_fields)
    if key == "trials" and inside:
        return f"the trials of {inside[0]} are no table of tables"
    return f"{key} is missing or no {StudyFile.model_fields[str(key)].description}"


def find(results_dir: Path) -> list[Path]:
    """The files of all studies."""
    return sorted((results_dir / "studies").glob("*/study.toml"))


def refuse_elsewhere(path: Path, results_dir: Path) -> None:
    """Refuse a study whose records would not lie beside it.

    Raises:
        StudyError: naming where it may lie.
    """
    allowed = [study.resolve() for study in find(results_dir)]
    if path.resolve() not in allowed:
        raise StudyError(
            f"study {path} is not allowed there; it is {results_dir}/studies/<name>/study.toml"
        )
