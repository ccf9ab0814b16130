"""What a matrix of runs would do and how long it would take; nothing is trained or written."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.data import datasets
from benchmarks.data.datasets import Data
from benchmarks.records import store
from benchmarks.records.frame import load_runs
from benchmarks.runs import preflight
from benchmarks.runs.building import build
from benchmarks.runs.matrix import specs_of, specs_of_study
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import RunSpec
from benchmarks.runs.runner import OutputFolders
from benchmarks.runs.settings import device_type
from benchmarks.system.environment import device_name
from benchmarks.system.faults import is_fault
from benchmarks.training.optimizers import training_kind
from benchmarks.training.recipes import Recipe
from models import plugins, registry

TRAIN_ITEMS = {"digits": 1257, "cifar10": 45_000, "cifar100": 45_000, "svhn": 65_932}
"""Of the data sets that have a fixed size, without the held-out tenth."""


@dataclass(frozen=True)
class Planned:
    """A wanted run: whether it is done, where its record goes, and how long it may take.

    `seconds`: of training, taken from records; `source` says which. Both are None where no record
    tells. `resumes`: there is a checkpoint.
    """

    spec: RunSpec
    dataset: str
    record_path: Path
    done: bool
    resumes: bool
    seconds: float | None = None
    source: str | None = None


def plan(
    models: Iterable[str],
    dataset: str = "digits",
    recipe: str | Recipe | None = None,
    seeds: Iterable[int] = (0,),
    options: RunOptions | None = None,
) -> list[Planned]:
    """What `train` with these arguments would do.

    Raises:
        ValueError: as `train` does, also for a path where no data set lies, and for another one
            that is not there and is needed to tell whether a record is of it.
    """
    options = options or RunOptions()
    return plan_specs(specs_of(models, dataset, recipe, seeds, options), dataset, options)


def plan_study(file: Path, dataset: str, options: RunOptions) -> list[Planned]:
    """What `run_study` with these arguments would do; raises as it does."""
    study, specs = specs_of_study(file, options)
    return plan_specs(specs, dataset, options, study)


def plan_specs(
    specs: list[RunSpec], dataset: str, options: RunOptions, study: str | None = None
) -> list[Planned]:
    """What making these runs would do; raises as `plan` does."""
    places, data = located(specs, dataset, options, study)
    # What the nodes of a cluster have is not known here.
    here: tuple[str | None, str | None] = (None, None)
    if options.engine == "local":
        kind = device_type(options.device)
        here = (kind, device_name(kind))
    times = Times(Path(options.results_dir), datasets.dataset_name(dataset), data, *here)
    planned = []
    for place in places:
        resumes = not place.done and place.checkpoint_path.exists()
        seconds, source = (None, None) if place.done else times.of(place.spec)
        planned.append(
            Planned(
                place.spec, place.dataset, place.record_path, place.done, resumes, seconds, source
            )
        )
    return planned


@dataclass(frozen=True)
class Place:
    """Where the record and the checkpoint of a wanted run lie, and the record if there is one."""

    spec: RunSpec
    dataset: str
    record_path: Path
    checkpoint_path: Path
    record: dict | None

    @property
    def done(self) -> bool:
        """Whether the run needs no making."""
        return self.record is not None and self.record.get("status") in store.DONE


def located(
    specs: list[RunSpec], dataset: str, options: RunOptions, study: str | None = None
) -> tuple[list[Place], Data | None]:
    """The places of wanted runs, and the data set where it had to be loaded to tell them.

    Raises:
        ValueError: as `plan` does.
    """
    preflight.refuse_other_task(specs, dataset)
    name = datasets.dataset_name(dataset)
    datasets.refuse_missing(dataset)
    results_dir = Path(options.results_dir)
    folders = OutputFolders(results_dir, Path(options.checkpoint_dir))
    data = None
    if any(_may_be_done(results_dir, name, spec, study) for spec in specs):
        data = datasets.load(dataset, Path(options.data_dir), download=options.download)
    places = []
    for spec in specs:
        run_id = _id(spec, name, data, study)
        path = run_id.place(results_dir)
        place = Place(spec, name, path, folders.checkpoint_of(run_id), _record_at(path))
        if place.record is not None and (place.done or not options.resume_changed):
            store.refuse_other_recipe(path, spec.recipe.as_dict())
        places.append(place)
    return places, data


def _record_at(path: Path) -> dict | None:
    """The record at a place; None where there is none, or what is set aside when it is trained."""
    try:
        record = store.load(path)
    except store.RecordError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("recipe"), dict) else None


def _may_be_done(results_dir: Path, dataset: str, spec: RunSpec, study: str | None) -> bool:
    """Whether there is a record for which the data set must be known to say whose it is."""
    usual = _id(spec, dataset, None, study).places(results_dir)[0]
    return usual.exists() or any(usual.parent.glob(f"{usual.stem}-????????.json"))


def _id(spec: RunSpec, dataset: str, data: Data | None, study: str | None) -> store.RunId:
    hashes: tuple[str | None, str | None] = (None, None)
    if data is not None:
        hashes = (data.fingerprint["sha256"], data.fingerprint["decoded_sha256"])
    plugin = plugins.sha256_of(spec.model)
    return store.RunId(spec.model, dataset, hashes, spec.recipe.name, spec.seed, plugin, study)


def kind_of_model(model: str, recipe: Recipe) -> str:
    """Which block of a recipe a model takes; what a user's code builds is built to see it."""
    spec = registry.get(model)
    if spec.builder is None:
        return recipe.kind(*spec.training_kind())
    return recipe.kind(*_kind_of_built(model, spec.builder))


@cache
def _kind_of_built(model: str, builder: object) -> tuple[bool, bool]:
    """As `training_kind`; where the builder raises, its run will say so."""
    try:
        return training_kind(build(model, registry.get(model).usual_classes, seed=0))
    except BaseException as error:
        if not is_fault(error):
            raise
        return False, False


def macs_of(model: str, num_classes: int | None = None) -> int | None:
    """MACs per item where they are known without counting; whatever a plugin's code raises."""
    try:
        macs = registry.get(model).given_macs(num_classes)
    except Exception:  # noqa: BLE001 - its run will raise and record it
        return None
    return macs[0] if macs else None


def items_of(model: str, recipe: Recipe, train_items: int) -> int:
    """How many items of training, images or characters, a run sees."""
    steps = recipe.total_steps(kind_of_model(model, recipe), recipe.steps_per_epoch(train_items))
    return steps * recipe.items_per_step


def epochs_of(model: str, recipe: Recipe, train_items: int | None) -> int | None:
    """How many epochs a run has; None where steps decide and the size of the data is not known."""
    kind = kind_of_model(model, recipe)
    if recipe.block(kind).steps is None:
        return recipe.epochs
    per_epoch = recipe.steps_per_epoch(train_items) if train_items else 0
    return math.ceil(recipe.total_steps(kind, per_epoch) / per_epoch) if per_epoch else None


class Times:
    """How long runs took, by the records of runs and trials that ended well on one device.

    `device_type`: only on devices of this type, if given. `device`: its name; runs of it count
    before those of others.
    """

    def __init__(
        self,
        results_dir: Path,
        dataset: str,
        data: Data | None,
        device_type: str | None = None,
        device: str | None = None,
    ):
        frames = [load_runs(results_dir, studies=studies) for studies in (False, True)]
        runs = pd.concat(frames)
        known = runs.steady_seconds.notna() & runs.train_images_per_s.notna()
        unchanged = ~runs.resumed_changed.fillna(False).astype(bool)
        here = runs.device_type == device_type if device_type else True
        runs = runs.assign(elsewhere=runs.device != device if device else False)
        self.runs = runs[known & unchanged & here & (runs.status == "ok")]
        self.recipes = frames[0].attrs["recipes"] | frames[1].attrs["recipes"]
        self.dataset = dataset
        self.train_images = TRAIN_ITEMS.get(dataset)
        self.num_classes = data.num_classes if data is not None else None
        sizes = self.runs[self.runs.dataset == dataset].train_images.dropna()
        if data is not None:
            self.train_images = len(data.train)
        elif self.train_images is None and len(sizes):
            self.train_images = int(sizes.iloc[-1])

    def of(self, spec: RunSpec) -> tuple[float | None, str | None]:
        """Seconds of a run and where they are from: the same run, or the nearest that is known."""
        runs = self.runs[self.runs.model == spec.model]
        same = runs[(runs.dataset == self.dataset) & (runs.recipe_hash == spec.recipe.hash)]
        if len(same):
            run = same.sort_values(["elsewhere", "steady_seconds"]).iloc[0]
            return float(run.steady_seconds), f"as seed {run.seed}{_where(run)}"
        if self.train_images is None:
            return None, None
        images = items_of(spec.model, spec.recipe, self.train_images)
        if len(runs):
            run = self._nearest(runs, spec.recipe, images)
            return images / run.train_images_per_s, f"by {run.recipe}{_where(run)}"
        macs = macs_of(spec.model, self.num_classes)
        sized = self.runs[
            self.runs.macs_per_image.notna() & (self.runs.task == spec.recipe.task.name)
        ]
        if macs is None or sized.empty:
            return None, None
        run = self._nearest(sized, spec.recipe, images, macs)
        seconds = images / run.train_images_per_s * (macs / run.macs_per_image)
        return float(seconds), f"by the FLOPs of {run.model}{_where(run)}"

    def _nearest(
        self, runs: pd.DataFrame, recipe: Recipe, images: int, macs: int | None = None
    ) -> pd.Series:
        """The run of this device nearest in batch size, then in MACs per image if given, then in
        images; of another where this one has none.
        """
        batches = runs.recipe_hash.map(lambda key: self.recipes[key]["batch_size"])
        seen = (runs.train_seconds * runs.train_images_per_s).astype(float)
        distance = pd.DataFrame(
            {
                "elsewhere": runs.elsewhere.astype(bool),
                "batch": np.abs(np.log(batches.astype(float) / recipe.batch_size)),
                "macs": np.abs(np.log(runs.macs_per_image.astype(float) / macs)) if macs else 0.0,
                "images": np.abs(np.log(seen / max(images, 1))),
            }
        ).reset_index(drop=True)
        return runs.iloc[distance.sort_values(list(distance)).index[0]]


def _where(run: pd.Series) -> str:
    return "" if pd.isna(run.device) else f" on {run.device}"
