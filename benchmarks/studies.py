"""Recipe studies: trials on the validation split that settle a recipe, from a TOML file; their table for the docs.

`results/studies/<study>/study.toml` says what is tried, the records beside it what came out; the test set is never read.
"""

import math
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks import recipes, records
from benchmarks.files import write_atomically
from benchmarks.recipes import Recipe
from benchmarks.summary import at, estimate, number, percentage, sampling_error, seed_of
from benchmarks.tables import Name, Number, Spread, Table, code

HOW = ("precision", "compile")
"""What all trials of a study share, because they are trained by one process with one setting."""
BEGIN = "<!-- What follows is generated from results/studies/ by `python run_bench.py study`. -->"


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
        raise StudyError(f"study {path}: unknown key {unknown[0]!r}; allowed are {', '.join(wanted)}")
    base, trials = recipes.varied(recipes.load(values["base"]), values["base"], values["fixed"]), []
    for model, changes in values["trials"].items():
        if not isinstance(changes, dict) or not all(isinstance(change, dict) for change in changes.values()):
            raise StudyError(f"study {path}: the trials of {model} are no table of tables")
        if how := next((key for change in changes.values() for key in HOW if key in change), None):
            raise StudyError(f"study {path}: {how} is not allowed in a trial of {model}, only in fixed: all trials have the same")
        trials += [(model, recipes.varied(base, f"{base.name}.{name}", change)) for name, change in changes.items()]
    return Study(path.resolve().parent.name, values["about"], base, tuple(values["seeds"]), tuple(trials))


def find(results_dir: Path) -> list[Path]:
    """The files of all studies."""
    return sorted((results_dir / "studies").glob("*/study.toml"))


def refuse_elsewhere(path: Path, results_dir: Path) -> None:
    """Refuse a study whose records would not lie beside it.

    Raises:
        StudyError: naming where it may lie.
    """
    if path.resolve() not in [there.resolve() for there in find(results_dir)]:
        raise StudyError(f"study {path} is not allowed there; it is {results_dir}/studies/<name>/study.toml")


def table(study: Study, found: list[dict]) -> Table:
    """Every trial that has a record, by model, the lowest validation error first; what it changes of the base recipe."""
    base, rows = study.base.as_dict(), []
    for (dataset, model, recipe), trial in _trials(found).items():
        errors = {seed_of(r): r["val_error"] for r in trial if percentage(r.get("val_error")) is not None}
        result, status = estimate(errors.values()), sorted({str(r.get("status")) for r in trial})
        changed = recipes.differences(at(trial[0], "recipe"), base)
        shown = ", ".join(f"{key} {value}" for key, value in changed.items()) or "nothing"
        cell = Spread(result and result.mean, ".2f", " %", result and result.deviation, len(errors))
        images = number(at(trial[0], "dataset_fingerprint", "validation"))
        sampling = Number(sampling_error(result.mean, images) if result else None, ".2f")
        place = dataset, model, result.mean if result else 101.0, recipe
        rows.append((place, [Name(model), dataset, shown, cell, sampling, ", ".join(status)]))
    headers = ["model", "data set", "changed of the study's base", "validation error", "sampling error, points", "status"]
    return Table(study.name, headers, [cells for _, cells in sorted(rows, key=lambda row: row[0])], left=3)


def _trials(found: list[dict]) -> dict[tuple[str, str, str], list[dict]]:
    """Records by data set, model and recipe hash: only seeds are pooled."""
    trials: dict[tuple[str, str, str], list[dict]] = {}
    for record in found:
        of = str(record.get("dataset")), str(record.get("model")), str(at(record, "recipe", "hash"))
        trials.setdefault(of, []).append(record)
    return trials


def chosen(by_study: dict[str, list[dict]]) -> str:
    """A line for each data set, model and number of epochs: how many trials all studies have, and the lowest validation error."""
    tried: dict[tuple[str, str, float], list[tuple[float, str, str]]] = {}
    for study, found in by_study.items():
        for (dataset, model, _), trial in _trials(found).items():
            mean = estimate(error for r in trial if (error := percentage(r.get("val_error"))) is not None)
            of = dataset, model, number(at(trial[0], "recipe", "epochs")) or 0
            tried.setdefault(of, []).append((mean.mean if mean else math.inf, study, str(at(trial[0], "recipe", "name"))))
    lines = []
    for (dataset, model, epochs), trials in sorted(tried.items()):
        error, study, recipe = min(trials)
        lowest = f"the lowest validation error is {error:.2f} % ({study}, {code(recipe)})"
        told = lowest if error < math.inf else "none ended well"
        lines.append(f"- {code(model)} on {code(dataset)}, trials of {epochs or 'unknown'} epochs: {len(trials)}; {told}.")
    return "\n".join(lines)


def write_page(results_dir: Path, page: Path) -> None:
    """Replace what follows the mark in the page by the tables of all studies.

    Raises:
        StudyError: if the page has no mark.
    """
    text = page.read_text()
    if BEGIN not in text:
        raise StudyError(f"{page} has no line {BEGIN!r}")
    all_studies = {(study := load(path)): records.load_study(results_dir, study.name) for path in find(results_dir)}
    parts = [text[: text.index(BEGIN)] + BEGIN, chosen({study.name: found for study, (found, _) in all_studies.items()})]
    for study, (found, problems) in all_studies.items():
        tried = _trials(found)
        counts = Counter((dataset, model) for dataset, model, _ in tried)
        told = ", ".join(f"{code(model)} on {code(dataset)} {n}" for (dataset, model), n in sorted(counts.items()))
        parts.append(f"## {study.name}\n\n{study.about.strip()}\n\nTrials: {told or 'none yet'}. Seeds {list(study.seeds)}.")
        parts += [table(study, found).markdown(), *problems]
    write_atomically(page, "\n\n".join(part for part in parts if part) + "\n")
