"""What has become of a matrix of runs, from its records, checkpoints and locks.

It is the same for every engine, and asks none: what waits in a queue is what nobody is at.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.fields import at
from benchmarks.runs.matrix import specs_of, specs_of_study
from benchmarks.runs.options import RunOptions
from benchmarks.runs.planning import TRAIN_ITEMS, Place, epochs_of, located
from benchmarks.runs.progress import RunSpec
from benchmarks.runs.runner import is_locked
from benchmarks.training.checkpoints import CheckpointError, load_newest
from benchmarks.training.recipes import Recipe

STATES = ("done", "diverged", "running", "stopped", "waiting", "failed")
"""`stopped` has a checkpoint to resume from and nobody at it; `waiting` has not begun."""


@dataclass(frozen=True)
class State:
    """What has become of one run.

    `epoch`: the last one that it has ended, of `epochs`; None where steps decide and the size of
    the data is not known.
    `error`: of a run that is done, in the task's metric: of the test split, in a study of the
    validation split.
    `reason`: why it diverged, failed or was stopped.
    """

    spec: RunSpec
    dataset: str
    study: str | None
    record_path: Path
    state: str
    epoch: int
    epochs: int | None
    error: float | None
    reason: str | None

    def as_json(self) -> dict:
        """Plain values by name."""
        spec = {"model": self.spec.model, "recipe": self.spec.recipe.name, "seed": self.spec.seed}
        others = {name: value for name, value in vars(self).items() if name != "spec"}
        return spec | others | {"record_path": self.record_path.as_posix()}


def status(
    models: Iterable[str],
    dataset: str = "digits",
    recipe: str | Recipe | None = None,
    seeds: Iterable[int] = (0,),
    options: RunOptions | None = None,
) -> list[State]:
    """The states of the runs that `train` with these arguments makes, in their order.

    Raises:
        ValueError: as `train` does, also for a path where no data set lies, and for another one
            that is not there and is needed to tell whether a record is of it.
    """
    options = options or RunOptions()
    return _states(specs_of(models, dataset, recipe, seeds, options), dataset, options)


def status_of_study(file: Path, dataset: str, options: RunOptions) -> list[State]:
    """The states of the runs that `run_study` with these arguments makes; raises as it does."""
    study, specs = specs_of_study(file, options)
    return _states(specs, dataset, options, study)


def _states(
    specs: list[RunSpec], dataset: str, options: RunOptions, study: str | None = None
) -> list[State]:
    places, data = located(specs, dataset, options, study)
    items = len(data.train) if data else TRAIN_ITEMS.get(dataset)
    return [_state(place, study, items) for place in places]


def _state(place: Place, study: str | None, items: int | None) -> State:
    record = place.record or {}
    epoch = len(record.get("history", ()))
    name = _name(place)
    if name in ("running", "stopped"):
        epoch = max(epoch, _epochs_of_checkpoint(place.checkpoint_path))
    error = record.get("val_error" if study else "test_error") if name == "done" else None
    reason = None if name in ("running", "waiting") else record.get("reason")
    spec = place.spec
    epochs = at(record, "recipe", "trained_epochs") or epochs_of(spec.model, spec.recipe, items)
    return State(spec, place.dataset, study, place.record_path, name, epoch, epochs, error, reason)


def _name(place: Place) -> str:
    """One of STATES."""
    if is_locked(place.checkpoint_path):
        return "running"
    status_there = place.record.get("status") if place.record else None
    if place.done:
        return "diverged" if status_there == "diverged" else "done"
    if status_there not in (None, "interrupted"):
        return "failed"
    return "stopped" if status_there or place.checkpoint_path.exists() else "waiting"


def _epochs_of_checkpoint(path: Path) -> int:
    try:
        state, _ = load_newest(path)
    except CheckpointError:
        return 0
    return len(state["history"].get("epochs", ())) if state else 0
