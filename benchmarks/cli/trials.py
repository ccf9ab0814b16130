"""The table of `tune`: the trials of a model, the best first, and the recipe that it makes."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.cli.output import print_table
from benchmarks.tasks import Task


def print_trials(results_dir: Path, file: Path, made: Iterable[Path], base: str) -> None:
    """The trials of the study in `file` (records `made`), and the recipe of the best as TOML."""
    from benchmarks.report.studies_page import tuned
    from benchmarks.runs.tuning import recipe_text
    from benchmarks.training.recipes import load

    task = load(base).task
    headers = ["changed of the recipe", f"validation {task.metric}", "runs"]
    if task.share:
        headers.insert(2, f"sampling error, {task.difference}")
    trials, changed = tuned(results_dir, file, made)
    print(f"\n{file}\n")
    print_table([_cells(trial, task) for trial in trials.to_dict("records")], headers)
    sampling = f"Sampling errors are of the validation {task.items}; " if task.share else ""
    print(f"\n{sampling}{'the' if sampling else 'The'} test set was not read.")
    if trials["mean"].isna().all():
        print("\nno trial ended well")
    elif changed:
        text = recipe_text(base, changed)
        print(f"\nThe best, as a file for --recipe FILE.toml:\n\n{text}")
    else:
        print(f"\nThe recipe was best as it is: --recipe {base}")


def _cells(trial: dict, task: Task) -> list[str]:
    ended = trial["mean"] is not None  # else no seed of it ended well
    mean = f"{task.shown(trial['mean'])} (n = {trial['n']})" if ended else "-"
    cells = [trial["changed"], mean, trial["statuses"]]
    if task.share:
        cells.insert(2, f"{trial['sampling']:{task.number}}" if ended else "-")
    return cells
