"""A matrix of runs: which are wanted, which are missing; make those, and say what came of each.

outcomes = train(["wide_resnet16_1", "hyper_resnet16_1"], dataset="digits", seeds=range(3))
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.data import datasets
from benchmarks.data.splits import DataSet
from benchmarks.records import store
from benchmarks.runs import preflight
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import QUIET, Outcome, Progress, RunSpec
from benchmarks.runs.runner import (
    Busy,
    OutputFolders,
    Run,
    Unrecorded,
    execute_together,
    side_by_side,
)
from benchmarks.runs.settings import settings_of, with_overrides
from benchmarks.system.faults import described
from benchmarks.system.stop import Stop
from benchmarks.training import recipes, studies
from benchmarks.training import seeds as seed_numbers
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
    untrained: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of each model that was begun, the parameters that get no gradient."""

    def execute(self, progress: Progress = QUIET) -> list[Outcome]:
        """Make the runs that have no record yet; gives the outcome of each, in their order.

        At least one step is taken, so that repeated calls advance however short the limit is.

        Raises:
            store.RecordError: if a record of another recipe of the same name is in the way.
        """
        outcomes: dict[Path, Outcome] = {}
        for run in self.runs:
            if outcome := _ended(run):
                outcomes[run.record_path] = outcome
                _tell(progress, run, outcome)
        missing = [run for run in self.runs if run.record_path not in outcomes]
        progress.planned(missing)
        begun = False
        with self.stop:
            for group in side_by_side(missing, self.settings.parallel_seeds):
                if begun and self.stop():
                    break
                made = self._make(group, progress)
                outcomes |= made
                begun = begun or bool(made)
        return [outcomes.get(run.record_path) or _not_started(run) for run in self.runs]

    def _make(self, group: list[Run], progress: Progress) -> dict[Path, Outcome]:
        """The outcomes of runs of one model, by the places of their records."""
        outcomes: dict[Path, Outcome] = {}
        for run in group:  # another process may share the work, and have ended a run since
            try:
                outcome = _ended(run)
            except store.RecordError as error:
                outcome = _without_record(run, "refused", str(error))
            if outcome is not None:
                outcomes[run.record_path] = outcome
                if outcome.record is None:
                    progress.ended(run, outcome)
        missing = [run for run in group if run.record_path not in outcomes]
        if not missing:
            return outcomes
        for run in missing:
            run.find_untrained = partial(self._untrained, run, progress)
        progress.started(missing)
        callbacks = [(partial(progress.epoch, run), partial(progress.step, run)) for run in missing]
        for run, result in zip(missing, execute_together(missing, callbacks), strict=True):
            outcome = _outcome_of(run, result)
            progress.ended(run, outcome)
            outcomes[run.record_path] = outcome
        return outcomes

    def _untrained(self, run: Run, progress: Progress) -> tuple[str, ...]:
        """The parameters of a run's model that get no gradient; said once a model."""
        if run.model not in self.untrained:
            names = preflight.untrained(run.model, self.data, run.seed)
            self.untrained[run.model] = names
            if names:
                progress.note(preflight.note_of(run.model, names))
        return self.untrained[run.model]


def _spec(run: Run) -> RunSpec:
    return RunSpec(run.model, run.recipe, run.seed)


def _of_record(run: Run, record: dict) -> Outcome:
    return Outcome(_spec(run), run.record_path, record["status"], record, record["reason"])


def _without_record(run: Run, status: str, reason: str) -> Outcome:
    return Outcome(_spec(run), run.record_path, status, None, reason)


def _not_started(run: Run) -> Outcome:
    return _without_record(run, "not_started", "runs were stopped before it began")


def _outcome_of(run: Run, result: dict | ValueError) -> Outcome:
    """The outcome of a run that gave its record, or why it has none."""
    if isinstance(result, dict):
        return _of_record(run, result)
    statuses: dict[type, str] = {Busy: "busy", Unrecorded: "failed"}
    return _without_record(run, statuses.get(type(result), "refused"), str(result))


def _ended(run: Run) -> Outcome | None:
    """The outcome of a run that needs no making or cannot be looked up; None of one to make.

    Raises:
        store.RecordError: if the record there was made with another recipe.
    """
    try:
        record = store.load(run.record_path) if run.done() else None
    except OSError as error:
        return _without_record(run, "failed", f"{run.title}: {described(error)}")
    return None if record is None else _of_record(run, record)


def _tell(progress: Progress, run: Run, outcome: Outcome) -> None:
    if outcome.record is None:
        progress.ended(run, outcome)
    else:
        progress.already_done(run)


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
        ValueError: for an unknown model or data set, a device that is not there, a batch that is
            larger than the training split, or a model whose output has the wrong shape; the
            message is one line.
    """
    for spec in specs:
        registry.get(spec.model)
    settings = settings_of(options, specs[0].recipe, progress.note)
    data = datasets.load(dataset, Path(options.data_dir), download=options.download)
    data = data.to(settings.device)
    preflight.refuse(specs, data)
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
            traceback=options.traceback,
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
        ValueError: for an unknown recipe or data set, a seed that is not allowed, or if no model
            or no seed is named.
    """
    chosen_seeds = seed_numbers.checked(seeds)
    if isinstance(models, str):
        models = [models]
    if not isinstance(recipe, Recipe):
        name = datasets.dataset_name(dataset)
        recipe = recipes.load(recipe or recipes.default_name(name))
    chosen = with_overrides(recipe, options)
    specs = [RunSpec(model, chosen, seed) for model, seed in product(models, chosen_seeds)]
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
        seeds: one run of each model for each of them; whole numbers from 0 on.
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
    specs = specs_of_trials(study, options)
    if not specs:
        raise ValueError(f"study {file} has no trials")
    return study.name, specs


def specs_of_trials(study: studies.Study, options: RunOptions) -> list[RunSpec]:
    """The specs of all trials and seeds of a study, trial by trial."""
    specs = []
    for (model, recipe), seed in product(study.trials, study.seeds):
        chosen = with_overrides(recipe, options)
        specs.append(RunSpec(model, chosen, seed))
    return specs
