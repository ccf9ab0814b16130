"""What every engine is: runs in, events and outcomes out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from benchmarks.records.provenance import code
from benchmarks.records.store import RunId
from benchmarks.runs.engines.spec import Spec
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Outcome, Progress
from benchmarks.runs.runner import Run

TRIES = 3
"""How often a run is begun whose process or node was lost each time."""


class EngineError(ValueError):
    """An engine that is not installed or does not answer; the message is one line."""


@dataclass(frozen=True)
class Work:
    """Runs without a record, in order, with what an engine needs to make them elsewhere.

    `dataset`: as it was named. `should_stop`: the reason to stop, or None.
    """

    runs: list[Run]
    dataset: str
    options: RunOptions
    should_stop: Callable[[], str | None]

    @cached_property
    def code(self) -> dict:
        """Commit and hash of the driver's code."""
        return code()

    def spec(self, run: Run) -> Spec:
        """A run as JSON."""
        return Spec.of(run, self.dataset, self.options, self.code)


class Engine(Protocol):
    """Runs a matrix of runs."""

    @property
    def untimed(self) -> str | None:
        """Why nothing is timed after its runs, or None."""

    def run_all(self, work: Work, progress: Progress) -> dict[RunId, Outcome]:
        """Make the runs; gives their outcomes.

        Runs that did not begin before `should_stop` may be missing. `progress.started`, `epoch`,
        `lost` and `ended` are called for every run, in this process and thread.
        """
