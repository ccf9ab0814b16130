"""The table of `tune`: the trials of a model, the best first, and the recipe that it makes."""

from pathlib import Path

from benchmarks.cli.output import print_table

HEADERS = ("changed of the recipe", "validation error", "sampling error, points", "runs")


def print_trials(results_dir: Path, file: Path, dataset: str, model: str, base: str) -> None:
    """The trials of the study in `file`, and the recipe of the best one as TOML."""
    from benchmarks.report.studies_page import tuned
    from benchmarks.runs.tuning import recipe_text

    trials, changed = tuned(results_dir, file, dataset, model)
    print(f"\n{file}\n")
    print_table([_cells(trial) for trial in trials.to_dict("records")], HEADERS)
    print("\nSampling errors are of the validation images; the test set was not read.")
    if trials["mean"].isna().all():
        print("\nno trial ended well")
    elif changed:
        text = recipe_text(model, base, changed)
        print(f"\nThe best, as a file for --recipe FILE.toml:\n\n{text}")
    else:
        print(f"\nThe recipe was best as it is: --recipe {base}")


def _cells(trial: dict) -> list[str]:
    if not trial["mean"] >= 0:  # missing: no seed of it ended well
        return [trial["changed"], "-", "-", trial["statuses"]]
    error = f"{trial['mean']:.2f} % (n = {trial['n']})"
    return [trial["changed"], error, f"{trial['sampling']:.2f}", trial["statuses"]]
