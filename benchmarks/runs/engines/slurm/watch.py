"""Waiting for tasks: what squeue and their files of events tell, and what came of each run."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.records.store import RunId
from benchmarks.runs import outcomes
from benchmarks.runs.engines import events
from benchmarks.runs.engines.events import Event
from benchmarks.runs.engines.protocol import EngineError, Work
from benchmarks.runs.engines.slurm import commands
from benchmarks.runs.engines.slurm.commands import Listed
from benchmarks.runs.engines.slurm.submission import Submission, read
from benchmarks.runs.progress import Outcome, Progress
from benchmarks.runs.runner import Run

SHORTEST, LONGEST, GROWTH = 1.0, 10.0, 1.3
"""Seconds between two looks; they grow while nothing happens."""
SLICE = 0.2
"""Seconds after which a signal to the driver is seen."""
VISIBLE = 90.0
"""Seconds until a network file system shows a new record on every node."""
NO_FAULT = {
    "BOOT_FAIL",
    "CANCELLED",
    "DEADLINE",
    "NODE_FAIL",
    "PENDING",
    "PREEMPTED",
    "TIMEOUT",
}
"""Last states of tasks that Slurm or the user ended: their runs resume when they are run again."""
PLAIN_REASONS = {"None", "BeginTime"}


@dataclass
class Task:
    """A task of an array job and its run. `id` is as scancel takes it, such as `12_3`.

    `end`: the event of the run's end or stop, if it has not begun again since.
    """

    run: Run
    submission: Submission
    index: int
    id: str
    state: str = "PENDING"
    begun: bool = False
    end: Event | None = None
    offset: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """Its key among the tasks that squeue lists."""
        return self.submission.name, self.index

    def new_events(self) -> list[Event]:
        """What its worker has told since the last call."""
        try:
            told, self.offset = read(self.submission.events(self.index), self.offset)
        except OSError:  # of a network file system, which may pass
            return []
        return told

    def note(self, event: Event) -> None:
        """Remember what an event says of the run's state."""
        if event["event"] == "begin":
            self.begun, self.end = True, None
        elif event["event"] in ("stopped", "ended"):
            self.end = event

    @property
    def ended(self) -> bool:
        """Whether its run has ended and does not come back."""
        return self.end is not None and self.end["event"] == "ended"

    def catch_up(self, progress: Progress) -> None:
        """Tell of what an earlier driver has seen only the newest."""
        newest: dict[str, Event] = {}
        for event in self.new_events():
            self.note(event)
            if event["event"] == "begin":
                newest.clear()
            newest[event["event"]] = event
        if not self.ended:
            for kind in ("begin", "epoch"):
                if kind in newest:
                    events.deliver(newest[kind], [self.run], progress)

    def follow(self, progress: Progress) -> bool:
        """Tell what is new; gives whether there was anything."""
        told = self.new_events()
        for event in told:
            if event["event"] == "begin" and self.begun:
                reason = self.end["reason"] if self.end else "its process or node was lost"
                progress.lost(self.run, f"{self.run.title}: {reason}; it is resumed")
            self.note(event)
            if event["event"] not in ("stopped", "ended"):
                events.deliver(event, [self.run], progress)
        return bool(told)


class Watch:
    """Waits for tasks until each has an outcome."""

    def __init__(self, work: Work, progress: Progress, tasks: Sequence[Task]):
        self.work, self.progress = work, progress
        self.open = list(tasks)
        self.made: dict[RunId, Outcome] = {}
        self.stopping: str | None = None
        self.cancelled: set[str] = set()
        self.told: set[str] = set(PLAIN_REASONS)
        self.unseen: dict[str, float] = {}

    def outcomes(self) -> dict[RunId, Outcome]:
        """Wait; gives the outcomes of those that began or ended."""
        pause = SHORTEST
        while self.open:
            if self.work.should_stop():
                self._stop()
            changed = self._look()
            pause = SHORTEST if changed or self.stopping else min(pause * GROWTH, LONGEST)
            if self.open:
                self._sleep(pause)
        return self.made

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.work.should_stop() and not self.stopping:
                return
            time.sleep(SLICE)

    def _stop(self) -> None:
        """Cancel each task once, since a second SIGTERM ends it without a checkpoint; one that
        was just being requeued waits, and is cancelled again.
        """
        self.stopping = self.work.should_stop()
        again = [
            task.id
            for task in self.open
            if task.id not in self.cancelled or task.state == "PENDING"
        ]
        try:
            if again:
                self.cancelled.update(again)  # first: a call that fails may have sent the signal
                commands.cancel(again)
        except EngineError as error:
            self._tell(str(error))

    def _look(self) -> bool:
        """Look at all tasks; gives whether anything has changed."""
        listed = self._listed()  # before the events: what is gone has told all
        changed = False
        for task in list(self.open):
            gone = listed is not None and self._is_gone(task, listed)
            changed = task.follow(self.progress) or changed
            if (task.ended or gone) and self._conclude(task):
                changed = True
        return changed

    def _listed(self) -> Mapping[tuple[str, int], Listed] | None:
        """What squeue lists, or None if it does not answer, which may pass."""
        try:
            return commands.listed()
        except EngineError as error:
            self._tell(f"{error}; it is asked again")
            return None

    def _is_gone(self, task: Task, listed: Mapping[tuple[str, int], Listed]) -> bool:
        """Take over the state of a task; gives whether it neither runs nor waits."""
        known = listed.get(task.key)
        if known is None:
            return True
        task.state = known.state
        if known.state == "PENDING" and known.reason not in self.told:
            self._tell(f"runs wait in Slurm's queue: {known.reason}", known.reason)
        return not known.live

    def _tell(self, text: str, key: str | None = None) -> None:
        """A note, once."""
        if (key or text) not in self.told:
            self.told.add(key or text)
            self.progress.note(text)

    def _conclude(self, task: Task) -> bool:
        """Tell the outcome of a task that is over; False while its record is not to be seen."""
        if task.end is None:
            outcome = self._without_end(task)
        else:
            outcome = outcomes.of_event(task.run, task.end)
            if task.end["recorded"] and outcome.record is None:
                since = self.unseen.setdefault(task.id, time.monotonic())
                if time.monotonic() - since < VISIBLE:
                    return False
        self.open.remove(task)
        if outcome is not None:
            self.made[task.run.id] = outcome
            self.progress.ended(task.run, outcome)
        return True

    def _without_end(self, task: Task) -> Outcome | None:
        """The outcome of a task that is gone and has not told an end; None if it never began."""
        run, state = task.run, task.state
        if not self.stopping and state not in NO_FAULT:
            log = task.submission.log(task.index)
            reason = f"{run.title}: its task is lost (Slurm: {state}); its log is {log}"
            self.progress.lost(run, reason)
            return outcomes.without_record(run, "failed", reason)
        if not task.begun and self.stopping:
            return None
        status = "interrupted" if task.begun else "not_started"
        why = self.stopping or f"Slurm ended its task ({state})"
        return outcomes.without_record(run, status, f"{run.title}: {why}; it can be resumed")
