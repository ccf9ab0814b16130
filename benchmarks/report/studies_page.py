"""The page of the studies: the tables that show what was tried to settle a recipe, and what came out."""

import math
from collections import Counter
from pathlib import Path

from benchmarks.records import store
from benchmarks.records.fields import at, number, percentage
from benchmarks.report.summary import estimate, sampling_error, seed_of
from benchmarks.report.tables import Name, Number, Spread, Table, code
from benchmarks.system.files import write_atomically
from benchmarks.training import recipes
from benchmarks.training.studies import Study, StudyError, find, load

BEGIN = "<!-- What follows is generated from results/studies/ by `python run_bench.py study`. -->"


def table(study: Study, found: list[dict]) -> Table:
    """Every trial that has a record, by model, the lowest validation error first; what it changes of the base recipe."""
    base, rows = study.base.as_dict(), []
    for (dataset, model, recipe), trial in _trials(found).items():
        errors = {
            seed_of(r): r["val_error"] for r in trial if percentage(r.get("val_error")) is not None
        }
        result, status = estimate(errors.values()), sorted({str(r.get("status")) for r in trial})
        changed = recipes.differences(at(trial[0], "recipe"), base)
        shown = ", ".join(f"{key} {value}" for key, value in changed.items()) or "nothing"
        cell = Spread(result and result.mean, ".2f", " %", result and result.deviation, len(errors))
        images = number(at(trial[0], "dataset_fingerprint", "validation"))
        sampling = Number(sampling_error(result.mean, images) if result else None, ".2f")
        place = dataset, model, result.mean if result else 101.0, recipe
        rows.append((place, [Name(model), dataset, shown, cell, sampling, ", ".join(status)]))
    headers = [
        "model",
        "data set",
        "changed of the study's base",
        "validation error",
        "sampling error, points",
        "status",
    ]
    return Table(
        study.name, headers, [cells for _, cells in sorted(rows, key=lambda row: row[0])], left=3
    )


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
            mean = estimate(
                error for r in trial if (error := percentage(r.get("val_error"))) is not None
            )
            of = dataset, model, number(at(trial[0], "recipe", "epochs")) or 0
            tried.setdefault(of, []).append(
                (mean.mean if mean else math.inf, study, str(at(trial[0], "recipe", "name")))
            )
    lines = []
    for (dataset, model, epochs), trials in sorted(tried.items()):
        error, study, recipe = min(trials)
        lowest = f"the lowest validation error is {error:.2f} % ({study}, {code(recipe)})"
        told = lowest if error < math.inf else "none ended well"
        lines.append(
            f"- {code(model)} on {code(dataset)}, trials of {epochs or 'unknown'} epochs: {len(trials)}; {told}."
        )
    return "\n".join(lines)


def write_page(results_dir: Path, page: Path) -> None:
    """Replace what follows the mark in the page by the tables of all studies.

    Raises:
        StudyError: if the page has no mark.
    """
    text = page.read_text()
    if BEGIN not in text:
        raise StudyError(f"{page} has no line {BEGIN!r}")
    all_studies = {
        (study := load(path)): store.load_study(results_dir, study.name)
        for path in find(results_dir)
    }
    parts = [
        text[: text.index(BEGIN)] + BEGIN,
        chosen({study.name: found for study, (found, _) in all_studies.items()}),
    ]
    for study, (found, problems) in all_studies.items():
        tried = _trials(found)
        counts = Counter((dataset, model) for dataset, model, _ in tried)
        told = ", ".join(
            f"{code(model)} on {code(dataset)} {n}"
            for (dataset, model), n in sorted(counts.items())
        )
        parts.append(
            f"## {study.name}\n\n{study.about.strip()}\n\nTrials: {told or 'none yet'}. Seeds {list(study.seeds)}."
        )
        parts += [table(study, found).markdown(), *problems]
    write_atomically(page, "\n\n".join(part for part in parts if part) + "\n")
