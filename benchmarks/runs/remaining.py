"""How long the runs of a matrix still take, judged by the epochs that it has made so far."""

import time
from collections.abc import Callable

from benchmarks.runs.planning import images_of, macs_of
from benchmarks.runs.runner import Run

UNKNOWN_MACS = 26_395_264
"""Those of 16-1, for models whose MACs are not known."""


class Remaining:
    """Told what `Progress` is told, it estimates what is left, in seconds.

    The runs that are still to come are judged by their images and FLOPs. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.to_come: list[Run] = []
        self.together = 1
        self._begun = 0.0
        self._first: tuple[int, float] | None = None

    def planned(self, runs: list[Run]) -> None:
        """These runs are to be made."""
        self.to_come = list(runs)

    def started(self, runs: list[Run]) -> None:
        """These begin, side by side."""
        paths = {run.record_path for run in runs}
        self.to_come = [run for run in self.to_come if run.record_path not in paths]
        self.together = len(runs)
        self._begun, self._first = self.clock(), None

    def epoch(self, run: Run, epoch: int, epochs: int) -> tuple[float, float]:
        """What is left after epoch `epoch` of a run: of the run, and of all runs.

        The first epoch that is seen does not count where there is another: it compiles.
        """
        now = self.clock()
        if self._first is None:
            self._first = (epoch, now)
        first, since = self._first
        each = (now - since) / (epoch - first) if epoch > first else now - self._begun
        own = each * (epochs - epoch)
        work = _work(run)
        later = sum(_work(other) for other in self.to_come)
        return own, own + each * epochs / self.together * later / work


def _work(run: Run) -> float:
    """In images x MACs; a model whose MACs are not known counts as 16-1."""
    macs = macs_of(run.model, run.data.num_classes) or UNKNOWN_MACS
    images = images_of(run.model, run.recipe, len(run.data.train))
    return max(images, 1) * macs
