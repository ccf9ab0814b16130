"""How long the runs of a matrix still take, judged by the epochs that it has made so far."""

import math
import time
from collections.abc import Callable

from benchmarks.records.store import RunId
from benchmarks.runs.planning import items_of, macs_of
from benchmarks.runs.runner import Run


class Remaining:
    """Told what `Progress` is told, it estimates what is left, in seconds.

    The runs that are still to come are judged by their items and FLOPs. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.to_come: list[Run] = []
        self._begun: dict[RunId, float] = {}
        self._first: dict[RunId, tuple[int, float]] = {}
        self._first_step: dict[RunId, tuple[int, float]] = {}

    def planned(self, runs: list[Run]) -> None:
        """These runs are to be made."""
        self.to_come = list(runs)

    def started(self, runs: list[Run]) -> None:
        """These begin, beside those that have begun and not ended."""
        ids = {run.id for run in runs}
        self.to_come = [run for run in self.to_come if run.id not in ids]
        for run_id in ids:
            self._begun[run_id] = self.clock()
            self._first.pop(run_id, None)
            self._first_step.pop(run_id, None)

    def ended(self, run: Run) -> None:
        """It takes no more time."""
        self.to_come = [other for other in self.to_come if other.id != run.id]
        self._begun.pop(run.id, None)
        self._first.pop(run.id, None)
        self._first_step.pop(run.id, None)

    def step(self, run: Run, step: int, steps: int) -> float:
        """What is left of an epoch after step `step` of its `steps`.

        Judged by its steps after the first that is seen, which may compile; nan if there is none.
        """
        now = self.clock()
        first, since = self._first_step.setdefault(run.id, (step, now))
        if step <= first:
            self._first_step[run.id] = step, now
            return math.nan
        return (now - since) / (step - first) * (steps - step)

    def epoch(self, run: Run, epoch: int, epochs: int) -> tuple[float, float]:
        """What is left after epoch `epoch` of a run: of the run, and of all runs.

        The first epoch that is seen does not count where there is another: it compiles.
        """
        now = self.clock()
        self._first_step.pop(run.id, None)
        first, since = self._first.setdefault(run.id, (epoch, now))
        each = (now - since) / (epoch - first) if epoch > first else now - self._begun[run.id]
        own = each * (epochs - epoch)
        later = sum(_work(other, run) for other in self.to_come)
        return own, own + each * epochs / len(self._begun) * later / _work(run, run)


def _work(run: Run, known: Run) -> float:
    """In items x MACs. Where the MACs of a run or of `known` are not known, both have the same."""
    macs = [macs_of(one.model, one.data.num_classes) for one in (run, known)]
    items = items_of(run.model, run.recipe, len(run.data.train))
    return max(items, 1) * (macs[0] / macs[1] if macs[0] and macs[1] else 1.0)
