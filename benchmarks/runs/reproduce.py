"""The paper's table: train what is missing of its rows, then time them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.data import datasets
from benchmarks.measuring.timing import SHORT, protocol_of
from benchmarks.records import store
from benchmarks.runs import engines
from benchmarks.runs.bench import TimingSetup
from benchmarks.runs.engines import local
from benchmarks.runs.matrix import Matrix, prepare, specs_of
from benchmarks.runs.options import MAX_JOBS, RunOptions
from benchmarks.runs.progress import QUIET, Outcome, Progress, Timing
from benchmarks.runs.speed import time_models, untimed
from benchmarks.training.learning import repeated
from benchmarks.training.recipes import Recipe
from models import plugins, registry

HALTED = ("submitted", "interrupted", "not_started", "busy", "refused")
"""Statuses of runs that are still to be made: nothing is timed before they are."""


@dataclass(frozen=True)
class Reproduction:
    """What came of `reproduce`: the outcome of each run, and of each timing that was missing."""

    runs: list[Outcome]
    timings: list[Timing]
    stopped: bool = False
    """By a signal or the time limit, when all runs had ended: some models are not timed."""

    @property
    def halted(self) -> bool:
        """Whether it was stopped, or runs were refused, so that the table is not complete."""
        return self.stopped or any(outcome.status in HALTED for outcome in self.runs)


def reproduce(
    models: Iterable[str] | None = None,
    dataset: str = "digits",
    recipe: str | Recipe | None = None,
    seeds: Iterable[int] = (0,),
    options: RunOptions | None = None,
    progress: Progress = QUIET,
) -> Reproduction:
    """Train what is missing of the paper's four rows and time the models; the arguments of `train`.

    On a text: of a HyperLSTM and its two plain rivals. `models`: others in place of these. What
    has a record is neither trained nor timed again, so that the call may be repeated after it was
    stopped. Models of runs that failed are not timed. The report is then made by `build_report`.

    Raises:
        ValueError: as `train` does.
    """
    options = options or RunOptions()
    names = list(models or registry.TABLES[datasets.task_of(dataset).name])
    seeds = list(seeds)
    if options.jobs is None and not options.devices and options.engine == "local":
        options = replace(options, jobs=usual_jobs(names, dataset, len(names) * len(seeds)))
    matrix = prepare(specs_of(names, dataset, recipe, seeds, options), dataset, options, progress)
    runs = matrix.execute(progress)
    result = Reproduction(runs, [])
    if result.halted:
        return result
    if reason := engines.chosen(options).untimed:
        progress.note(f"no model is timed: {reason}")
        return result
    failed = {outcome.spec.model for outcome in runs if outcome.status not in store.DONE}
    ended = [name for name in names if name not in failed]
    return Reproduction(runs, *_time_missing(ended, matrix, options, progress))


def usual_jobs(models: list[str], dataset: str, runs: int) -> int:
    """The processes of `reproduce` where none are asked for: on digits one a core, else one."""
    many = dataset == "digits" and all(map(plugins.has_file, models))
    return max(1, min(local.cores(), MAX_JOBS, runs)) if many else 1


def _time_missing(
    models: list[str], matrix: Matrix, options: RunOptions, progress: Progress
) -> tuple[list[Timing], bool]:
    """Time the models that have no speed record of this device, recipe and settings.

    Gives what came of it, and whether it was stopped.
    """
    recipe, settings = matrix.runs[0].recipe, matrix.settings
    protocol = (
        SHORT if matrix.data.name == matrix.data.task.bundled else protocol_of(settings.device)
    )
    data = repeated(matrix.data, recipe, protocol.epoch_images).to(settings.device)
    setup = TimingSetup(data, recipe, settings, protocol, options.traceback)
    results_dir = Path(options.results_dir)
    missing = untimed(models, results_dir, recipe, settings)
    timings: list[Timing] = []
    with matrix.stop:
        for name in missing:
            late = matrix.stop() if timings else None  # however short the limit, a call makes one
            if reason := matrix.stop.signal or late:
                progress.note(f"{reason} before all models were timed; run again to resume")
                return timings, True
            progress.note(f"timing {name}")
            timings += time_models([name], setup, results_dir, progress)
    return timings, False
