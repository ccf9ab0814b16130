"""Tuning: a study of one model, made from a grid that is the same for every model.

`tune` is `study` without a file to write: it makes `results/studies/<name>/study.toml`. Trials read
the validation split alone.
"""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path

from benchmarks.runs.planning import kind_of_model
from benchmarks.system.files import locked, read_text, write_atomically
from benchmarks.training import recipes, studies
from benchmarks.training.recipes import Block, Recipe, RecipeError
from benchmarks.training.studies import StudyError
from models import registry

GRID: tuple[tuple[str, str | None, float], ...] = (
    ("base", None, 1.0),
    ("rate_x0.5", "learning_rate", 0.5),
    ("rate_x2", "learning_rate", 2.0),
    ("l2_x0.2", "l2", 0.2),
    ("l2_x2", "l2", 2.0),
    ("warmup_x0.5", "warmup", 0.5),
    ("warmup_x1.5", "warmup", 1.5),
    ("rate_x0.25", "learning_rate", 0.25),
    ("rate_x4", "learning_rate", 4.0),
)
"""The trials in their order: a name, what is changed of the model's block, and by which factor."""

FIXED = ("epochs", "batch_size", "crop_padding")
"""What the file says of the base beside the model's block, so that it stays what it is."""


def study_file(results_dir: Path, model: str, base: str) -> Path:
    """Where the study of a model and a built-in recipe lies."""
    return results_dir / "studies" / f"tune_{model}_{base}" / "study.toml"


def study_text(model: str, base: str, trials: int, seeds: list[int]) -> str:
    """The file of a study: the first `trials` of `GRID`.

    Raises:
        ValueError: for an unknown model or recipe, one with a schedule of steps, or a number of
            trials that the grid does not have.
    """
    registry.get(model)
    recipe = _base(base)
    kind = kind_of_model(model, recipe)
    block = recipe.block(kind)
    grid = [row for row in GRID if _changes(block, row[1])]
    if not 1 <= trials <= len(grid):
        raise StudyError(f"{trials} trials are not allowed; the grid has 1 to {len(grid)}")
    if block.milestones:
        raise RecipeError(f"recipe {base!r} is not allowed; its learning rates are set by step")
    fixed = {key: getattr(recipe, key) for key in FIXED} | {kind: asdict(block)}
    if block.steps is not None:  # which decide, whatever the epochs
        del fixed["epochs"]
    if recipe.sequences is not None:
        fixed["sequences"] = asdict(recipe.sequences)
    lines = [
        f'"{name}" = {_toml(_change(kind, block, key, factor))}'
        for name, key, factor in grid[:trials]
    ]
    about = f"{model} tuned from {base} by `tune`: {trials} trials of a grid that all models share."
    return "\n".join(
        [
            f"about = {_toml(about)}",
            f"base = {_toml(base)}",
            f"seeds = {_toml(seeds)}",
            "",
            "[fixed]",
            *(f"{key} = {_toml(value)}" for key, value in fixed.items()),
            "",
            f"[trials.{_toml(model)}]",
            *lines,
            "",
        ]
    )


def _changes(block: Block, key: str | None) -> bool:
    """Whether a factor changes anything: a value of zero stays what it is."""
    return key is None or getattr(block, key) != 0


def _base(name: str) -> Recipe:
    if name.endswith(".toml"):
        raise RecipeError(f"recipe {name!r} is not allowed; `tune` starts from a built-in one")
    return recipes.load(name)


def _change(kind: str, block: Block, key: str | None, factor: float) -> dict:
    if key is None:
        return {}
    value = float(f"{getattr(block, key) * factor:.6g}")
    return {kind: {key: min(value, 0.9) if key == "warmup" else value}}


def _toml(value: object) -> str:
    """A value of TOML in one line; what is None is left out of tables."""
    if isinstance(value, dict):
        items = [f"{key} = {_toml(inner)}" for key, inner in value.items() if inner is not None]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    return json.dumps(value, ensure_ascii=False)


def continued(file: Path, text: str) -> str:
    """The study that `text` makes of the one that is there: whichever has more trials.

    Raises:
        StudyError: if the study that is there has another base, other seeds or other trials.
    """
    if not file.exists():
        return text
    old = read_text(file)
    studies.parsed(old, file)  # refuses what is no study
    existing, wanted = tomllib.loads(old), tomllib.loads(text)
    ((model, trials),) = wanted["trials"].items()
    there = existing.get("trials", {}).get(model, {})
    shared = min(len(there), len(trials))
    same = list(there.items())[:shared] == list(trials.items())[:shared]
    keys = ("base", "seeds", "fixed")
    if not same or any(existing.get(key) != wanted[key] for key in keys):
        raise StudyError(
            f"study {file} has another base, other seeds or other trials; "
            "remove its folder to start again"
        )
    return text if len(trials) > len(there) else old


def write(file: Path, text: str) -> None:
    """Write what `continued` gives, unless it is there: another process may tune meanwhile.

    Raises:
        StudyError: as `continued`.
        OSError: if the file or its lock cannot be written.
    """
    with locked(file.with_suffix(".lock")):
        text = continued(file, text)
        if not file.exists() or read_text(file) != text:
            write_atomically(file, text)


def recipe_text(base: str, changed: dict[str, object]) -> str:
    """The TOML file of a recipe that changes a built-in one; `changed` has keys joined by dots.

    Its name says what it changes: models with the same best trial share a recipe.
    """
    name = "_".join([base, *(f"{key.replace('.', '_')}{value}" for key, value in changed.items())])
    lines = [f"name = {_toml(name)}", f"base = {_toml(base)}"]
    tables: dict[str, list[str]] = {"": []}
    for path, value in changed.items():
        table, _, key = path.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {_toml(value)}")
    lines += tables.pop("")
    for table, values in tables.items():
        lines += [f"[{table}]", *values]
    return "\n".join(lines)
