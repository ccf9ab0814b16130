"""A matrix of runs: which are wanted, which are missing; make those, and say what came of each.

outcomes = train(["wide_resnet16_1", "hyper_resnet16_1"], dataset="digits", seeds=range(3))
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.data import datasets
from benchmarks.data.datasets import Data
from benchmarks.records import store
from benchmarks.runs import engines, outcomes, preflight
from benchmarks.runs.engines.protocol import Work
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import QUIET, Outcome, Progress, RunSpec
from benchmarks.runs.runner import OutputFolders, Run
from benchmarks.runs.settings import as_asked, settings_of, with_overrides
from benchmarks.system.stop import Stop
from benchmarks.training import recipes, studies
from benchmarks.training import seeds as seed_numbers
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings


@dataclass
class Matrix:
    """The wanted runs, all on one data set and with one set of settings, and what runs them.

    `dataset`: as it was named; `data`: what that is. `stop`: whether to stop.
    """

    runs: list[Run]
    dataset: str
    data: Data
    settings: Settings
    options: RunOptions
    stop: Stop

    def execute(self, progress: Progress = QUIET) -> list[Outcome]:
        """Make the runs that have no record yet; gives the outcome of each, in their order.

        At least one step is taken, so that repeated calls advance however short the limit is.

        Raises:
            store.RecordError: if a record of another recipe of the same name is in the way.
            ValueError: if the engine cannot be used.
        """
        made: dict[store.RunId, Outcome] = {}
        for run in self.runs:
            if outcome := outcomes.ended(run):
                made[run.id] = outcome
                _tell(progress, run, outcome)
        missing = [run for run in self.runs if run.id not in made]
        progress.planned(missing)
        if missing:
            with self.stop:
                work = Work(missing, self.dataset, self.options, self.stop)
                made |= engines.chosen(self.options).run_all(work, progress)
        return [made.get(run.id) or _not_started(run) for run in self.runs]


def _not_started(run: Run) -> Outcome:
    return outcomes.without_record(run, "not_started", outcomes.NOT_STARTED)


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
    data: Data | None = None,
    stop: Stop | None = None,
) -> Matrix:
    """The matrix of the wanted runs, with data loaded and settings resolved.

    All recipes must have the precision and compile mode of the first one. `data`: of `dataset`, if
    it is loaded already. `stop`: on signals and at the options' time limit, if not given.

    Raises:
        ValueError: for an unknown model or data set, a device that is not there, a batch that is
            larger than the training split, or a model whose output has the wrong shape; the
            message is one line.
    """
    preflight.refuse_other_task(specs, dataset)
    if data is None:
        data = datasets.load(dataset, Path(options.data_dir), download=options.download)
    if options.engine == "local":
        settings = settings_of(options, specs[0].recipe, progress.note)
    else:  # its workers say what becomes of it there
        settings = as_asked(options, specs[0].recipe)
    if engines.in_process(options):
        data = data.to(settings.device)
    else:
        preflight.refuse_without_file(specs)
    preflight.refuse(specs, data)
    limit = options.time_limit
    stop = stop or Stop(time.monotonic() + limit if limit else None)
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
    return Matrix(runs, dataset, data, settings, options, stop)


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
        default = recipes.default_name(name, datasets.task_of(dataset))
        recipe = recipes.load(recipe or default)
    chosen = with_overrides(recipe, options)
    specs = [
        RunSpec(model, chosen, seed) for model, seed in product(dict.fromkeys(models), chosen_seeds)
    ]
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
