"""A matrix of runs: which are wanted, which are missing; make those, and say what came of each.

outcomes = train(["wide_resnet16_1", "hyper_resnet16_1"], dataset="digits", seeds=range(3))
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.data import datasets
from benchmarks.data.splits import DataSet
from benchmarks.records import store
from benchmarks.runs.building import refuse_wrong_output
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import QUIET, Outcome, Progress, RunSpec
from benchmarks.runs.runner import Busy, OutputFolders, Run, execute_together, side_by_side
from benchmarks.runs.settings import settings_of, with_overrides
from benchmarks.system.stop import Stop
from benchmarks.training import recipes, studies
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models import registry


@dataclass
class Matrix:
    """The wanted runs, all on one data set and with one set of settings."""

    runs: list[Run]
    data: DataSet
    settings: Settings
    stop: Stop

    def execute(self, progress: Progress = QUIET) -> list[Outcome]:
        """Make the runs that have no record yet; gives the outcome of each, in their order.

        At least one step is taken, so that repeated calls advance however short the limit is.
        """
        missing = []
        for run in self.runs:
            if run.done():
                progress.already_done(run)
            else:
                missing.append(run)
        made: dict[Path, Outcome] = {}
        progress.planned(missing)
        with self.stop:
            for group in side_by_side(missing, self.settings.parallel_seeds):
                if made and self.stop():
                    break
                # Another process may share the work, and have ended a run since.
                still_missing = [run for run in group if not run.done()]
                for outcome in _execute_group(still_missing, progress):
                    made[outcome.record_path] = outcome
        return [made.get(run.record_path) or _on_disk(run) for run in self.runs]


def _execute_group(runs: list[Run], progress: Progress) -> list[Outcome]:
    if not runs:
        return []
    progress.started(runs)
    callbacks = [(partial(progress.epoch, run), partial(progress.step, run)) for run in runs]
    outcomes = []
    for run, result in zip(runs, execute_together(runs, callbacks), strict=True):
        if isinstance(result, dict):
            outcome = _outcome(run, result)
        else:
            status = "busy" if isinstance(result, Busy) else "refused"
            outcome = Outcome(_spec(run), run.record_path, status, None, str(result))
        progress.ended(run, outcome)
        outcomes.append(outcome)
    return outcomes


def _spec(run: Run) -> RunSpec:
    return RunSpec(run.model, run.recipe, run.seed)


def _outcome(run: Run, record: dict) -> Outcome:
    return Outcome(_spec(run), run.record_path, record["status"], record, record["reason"])


def _on_disk(run: Run) -> Outcome:
    """The outcome of a run that was not made now: its record's, or that it was not started."""
    record = store.load(run.record_path) if run.done() else None
    if record is not None:
        return _outcome(run, record)
    return Outcome(
        _spec(run), run.record_path, "not_started", None, "runs were stopped before it began"
    )


def prepare(
    specs: list[RunSpec],
    dataset: str,
    options: RunOptions,
    progress: Progress = QUIET,
    study: str | None = None,
) -> Matrix:
    """The matrix of the wanted runs, with data loaded and settings resolved.

    All recipes must have the precision and compile mode of the first one.

    Raises:
        ValueError: for an unknown model or data set, a device that is not there, or a model whose
            output has the wrong shape; the message is one line.
    """
    for spec in specs:
        registry.get(spec.model)
    settings = settings_of(options, specs[0].recipe, progress.note)
    data = datasets.load(dataset, Path(options.data_dir), download=options.download)
    data = data.to(settings.device)
    for model in dict.fromkeys(spec.model for spec in specs):
        refuse_wrong_output(model, data.num_classes)
    limit = options.time_limit
    stop = Stop(time.monotonic() + limit if limit else None)
    folders = OutputFolders(Path(options.results_dir), Path(options.checkpoint_dir))
    runs = [
        Run(
            spec.model,
            data,
            spec.recipe,
            spec.seed,
            settings,
            folders,
            should_stop=stop,
            resume_changed=options.resume_changed,
            study=study,
        )
        for spec in specs
    ]
    return Matrix(runs, data, settings, stop)


def specs_of(
    models: Iterable[str],
    dataset: str,
    recipe: str | Recipe | None,
    seeds: Iterable[int],
    options: RunOptions,
) -> list[RunSpec]:
    """The specs of all models and seeds, model by model.

    `recipe`: a name, the path of a TOML file, or a recipe; the data set's default if None.

    Raises:
        ValueError: for an unknown recipe or data set, or if no model or no seed is named.
    """
    if isinstance(models, str):
        models = [models]
    if not isinstance(recipe, Recipe):
        name = datasets.dataset_name(dataset)
        recipe = recipes.load(recipe or recipes.default_name(name))
    chosen = with_overrides(recipe, options)
    specs = [RunSpec(model, chosen, seed) for model, seed in product(models, seeds)]
    if not specs:
        raise ValueError("no runs are wanted: name at least one model and one seed")
    return specs


def train(
    models: Iterable[str],
    dataset: str = "digits",
    recipe: str | Recipe | None = None,
    seeds: Iterable[int] = (0,),
    options: RunOptions | None = None,
    progress: Progress = QUIET,
) -> list[Outcome]:
    """Train models and write a record for each run; runs that have a record are not repeated.

    Args:
        models: names of registered models, or one name.
        dataset: "digits", "cifar10", "cifar100", "svhn" or "folder:PATH".
        recipe: a name, the path of a TOML file, or a recipe; "demo" on digits, else "epochs10".
        seeds: one run of each model for each of them.
        options: folders, device, when to stop.
        progress: methods that are called meanwhile.

    Returns:
        One `Outcome` for each model and seed, model by model, with the record or the reason why
        there is none. A run that fails has a record that says so, and the others are still made.

    Raises:
        ValueError: for input that is not allowed, such as an unknown model, before anything is
            trained; and if a record of another recipe of the same name is in the way.
    """
    options = options or RunOptions()
    specs = specs_of(models, dataset, recipe, seeds, options)
    return prepare(specs, dataset, options, progress).execute(progress)


def run_study(
    file: Path, dataset: str, options: RunOptions, progress: Progress = QUIET
) -> list[Outcome]:
    """Make the trials of a study that have no record yet; the test set is not read.

    Raises:
        ValueError: for a study that cannot be read, has no trials, or does not lie beside its
            records.
    """
    study, specs = specs_of_study(file, options)
    return prepare(specs, dataset, options, progress, study).execute(progress)


def specs_of_study(file: Path, options: RunOptions) -> tuple[str, list[RunSpec]]:
    """The name of a study and its trials; raises as `run_study` does."""
    study = studies.load(file)
    studies.refuse_elsewhere(file, Path(options.results_dir))
    specs = []
    for (model, recipe), seed in product(study.trials, study.seeds):
        chosen = with_overrides(recipe, options)
        specs.append(RunSpec(model, chosen, seed))
    if not specs:
        raise ValueError(f"study {file} has no trials")
    return study.name, specs
