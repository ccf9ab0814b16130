"""What a caller is told while runs are made and models are timed, and what came of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.tasks import Task
from benchmarks.training.recipes import Recipe

if TYPE_CHECKING:
    from benchmarks.runs.runner import Run


@dataclass(frozen=True)
class RunSpec:
    """Which run is wanted: a model by its name, a recipe, a seed."""

    model: str
    recipe: Recipe
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of a run that was wanted.

    `status`: of its record ("ok", "diverged", "interrupted", "out_of_memory", "failed"); or
    "busy" (another process is at it), "refused" (a checkpoint of another run is there, or a worker
    has other code or data), "not_started" (stopped before), "submitted" (left to the engine) or
    "failed" (its record could not be written, or its process was lost again and again), and then
    `record` is None and `reason` says why.
    """

    spec: RunSpec
    record_path: Path
    status: str
    record: dict | None
    reason: str | None


@dataclass(frozen=True)
class Timing:
    """What came of timing a model: a speed record and its place, or why there is none."""

    model: str
    record_path: Path | None = None
    record: dict | None = None
    reason: str | None = None


def epoch_text(entry: dict, epochs: int, task: Task) -> str:
    """An epoch of a history, `entry`, in words: losses, errors, seconds."""
    return (
        f"epoch {entry['epoch']}/{epochs}  loss {entry['train_loss']:.4g}  "
        f"train {task.shown(entry['train_error'])}  "
        f"validation {task.shown(entry['val_error'])}  {entry['seconds']:.1f} s"
    )


class Progress:
    """Methods that are called while runs are made; here they do nothing. Override what you need."""

    def note(self, text: str) -> None:
        """A fall-back that was taken."""

    def already_done(self, run: "Run") -> None:
        """A run has its record already."""

    def planned(self, runs: "list[Run]") -> None:
        """These runs are to be made, in this order; none has begun."""

    def started(self, runs: "list[Run]") -> None:
        """Runs begin, side by side if there is more than one."""

    def step(self, run: "Run", step: int, steps: int) -> None:
        """A run has made step `step` of the `steps` of its epoch."""

    def epoch(self, run: "Run", entry: dict, epochs: int) -> None:
        """A run has ended an epoch of its `epochs`; `entry` is the history's."""

    def lost(self, run: "Run", reason: str) -> None:
        """The process or node of a run is gone; it is resumed, unless that was often."""

    def ended(self, run: "Run", outcome: Outcome) -> None:
        """A run has ended, well or badly."""

    def timed(self, timing: Timing) -> None:
        """A model was timed, or could not be."""


QUIET = Progress()
