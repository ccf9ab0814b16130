"""Progress of runs on the terminal."""

import math
import sys

from tqdm import tqdm

from benchmarks.cli.output import duration, print_error, print_note
from benchmarks.records.store import RunId
from benchmarks.runs.progress import Outcome, Progress, Timing, epoch_text
from benchmarks.runs.remaining import Remaining
from benchmarks.runs.runner import Run
from benchmarks.tasks import TASKS


class PrintedNotes(Progress):
    """Notes and errors alone, on stderr."""

    def __init__(self) -> None:
        self.noted: set[str] = set()

    def note(self, text: str) -> None:
        """A fall-back that was taken; once, however many workers say so."""
        if text not in self.noted:
            self.noted.add(text)
            print_note(text)

    def timed(self, timing: Timing) -> None:
        """A model that could not be timed."""
        if timing.record is None:
            print_error(f"{timing.model} cannot be timed: {timing.reason}")


class PrintedProgress(PrintedNotes):
    """A bar for each run on a terminal, a line for each epoch, and what came of each run."""

    LONG = 60
    """From so many seconds on, what is left is printed."""
    SILENT = 300
    """After so many seconds without a line, a run that has no bar says its step."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: dict[RunId, tqdm] = {}
        self.told: dict[RunId, float] = {}
        self.remaining = Remaining()
        self.wanted = self.ended_runs = 0
        self.together = False

    def planned(self, runs: list[Run]) -> None:
        """For the time that is left."""
        self.remaining.planned(runs)
        self.wanted = len(runs)

    def already_done(self, run: Run) -> None:
        """A line."""
        print(f"{run.title}: done already ({run.record_path})")

    def started(self, runs: list[Run]) -> None:
        """A line for each run."""
        self.remaining.started(runs)
        for run in runs:
            settings = run.settings
            how = f"{settings.device.type}, {settings.precision}, compile {settings.compile}"
            print(f"{run.title}: {how}", flush=True)
            hidden = not sys.stderr.isatty()
            self._close(run)
            self.told[run.id] = self.remaining.clock()
            self.bars[run.id] = tqdm(leave=False, disable=hidden, unit="step")
        self.together = self.together or len(self.bars) > 1

    def step(self, run: Run, step: int, steps: int) -> None:
        """The bar of the run moves on; without a terminal, a line every few minutes."""
        bar = self.bars.get(run.id)
        if bar is None:
            return
        if bar.disable:
            self._say_step(run, step, steps)
            return
        if bar.total != steps or step < bar.n:
            bar.reset(total=steps)
        bar.update(step - bar.n)

    def _say_step(self, run: Run, step: int, steps: int) -> None:
        left, now = self.remaining.step(run, step, steps), self.remaining.clock()
        if now - self.told[run.id] < self.SILENT or math.isnan(left):
            return
        self.told[run.id] = now
        print(f"  {run.title}: step {step}/{steps} of the epoch, {duration(left)} left", flush=True)

    def epoch(self, run: Run, entry: dict, epochs: int) -> None:
        """A line with losses, errors and the time that is left."""
        bar, left = self.bars[run.id], self._left(run, entry["epoch"], epochs)
        self.told[run.id] = self.remaining.clock()
        bar.set_description(left, refresh=False)
        prefix = f"{run.title}: " if self.together else ""
        told = epoch_text(entry, epochs, run.data.task)
        bar.write(f"  {prefix}{told}{', ' if left else ''}{left}")
        sys.stdout.flush()

    def _left(self, run: Run, epoch: int, epochs: int) -> str:
        """`12 min left, all runs 1.2 h`, where it is long."""
        own, every = self.remaining.epoch(run, epoch, epochs)
        if every < self.LONG:
            return ""
        whole = f", all runs {duration(every)}" if self.remaining.to_come else ""
        return f"{duration(own)} left{whole}"

    def lost(self, run: Run, reason: str) -> None:
        """A note."""
        self._close(run)
        print_note(reason)

    def ended(self, run: Run, outcome: Outcome) -> None:
        """A line with the error of the run, or why there is none, and how many are done."""
        self._close(run)
        self.remaining.ended(run)
        self.ended_runs += 1
        record = outcome.record
        prefix = f"{run.title}: " if self.together else ""
        if outcome.status == "submitted":
            return
        if outcome.status == "busy":
            print_note(str(outcome.reason))
        elif record is None:
            print_error(str(outcome.reason))
        elif outcome.status == "ok":
            kind = "validation" if run.study else "test"
            error = record["val_error" if run.study else "test_error"]
            task = run.data.task
            found = f"{kind} {task.metric} {task.shown(error)}, {record['params']:,} parameters"
            print(f"  {prefix}{found} -> {run.record_path}")
        else:
            print(f"  {prefix}{outcome.status}: {outcome.reason} -> {run.record_path}")
        if self.together:
            waiting = len(self.remaining.to_come)
            counts = f"{self.ended_runs} of {self.wanted} runs ended, {len(self.bars)} running"
            print(f"  {counts}, {waiting} waiting", flush=True)

    def _close(self, run: Run) -> None:
        """Take its bar away, if it has begun."""
        self.told.pop(run.id, None)
        bar = self.bars.pop(run.id, None)
        if bar is not None:
            bar.close()

    def timed(self, timing: Timing) -> None:
        """A line with the speeds of a model, or why there are none."""
        super().timed(timing)
        if timing.record is None:
            return
        speeds = ", ".join(
            f"{key.replace('_', ' ')} {values['median']:,.0f}"
            for key, values in timing.record["measurements"].items()
        )
        speed = TASKS[timing.record["task"]].speed
        print(f"{timing.model}, {speed}: {speeds} -> {timing.record_path}", flush=True)
