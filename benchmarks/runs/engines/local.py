"""The local engine: runs one after another in this process, or in processes with a queue."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from benchmarks.records import store
from benchmarks.records.provenance import ROOT
from benchmarks.records.store import RunId
from benchmarks.runs import outcomes, preflight
from benchmarks.runs.engines import events
from benchmarks.runs.engines.protocol import TRIES, Work
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Outcome, Progress
from benchmarks.runs.runner import EngineUse, Run, execute_together, side_by_side
from benchmarks.system.version import VERSION

WORKER = (sys.executable, "-P", "-m", "benchmarks.runs.engines.worker")


class InProcess:
    """Runs in this process, one after another; seeds side by side where that is asked for."""

    untimed = None

    def __init__(self) -> None:
        self.untrained: dict[str, tuple[str, ...]] = {}

    def run_all(self, work: Work, progress: Progress) -> dict[RunId, Outcome]:
        """As the protocol; at least one step is taken, however short the limit is."""
        made: dict[RunId, Outcome] = {}
        begun = False
        for group in side_by_side(work.runs, work.options.parallel_seeds):
            if begun and work.should_stop():
                break
            of_group = self._make(group, progress)
            made |= of_group
            begun = begun or bool(of_group)
        return made

    def _make(self, group: list[Run], progress: Progress) -> dict[RunId, Outcome]:
        """The outcomes of runs of one model."""
        made = ended_meanwhile(group, progress)
        missing = [run for run in group if run.id not in made]
        if not missing:
            return made
        for run in missing:
            run.find_untrained = partial(self._untrained, run, progress)
        progress.started(missing)
        callbacks = [(partial(progress.epoch, run), partial(progress.step, run)) for run in missing]
        for run, result in zip(missing, execute_together(missing, callbacks), strict=True):
            outcome = outcomes.of_result(run, result)
            progress.ended(run, outcome)
            made[run.id] = outcome
        return made

    def _untrained(self, run: Run, progress: Progress) -> tuple[str, ...]:
        """The parameters of a run's model that get no gradient; said once a model."""
        if run.model not in self.untrained:
            names = preflight.untrained(run.model, run.data, run.seed)
            self.untrained[run.model] = names
            if names:
                progress.note(preflight.note_of(run.model, names))
        return self.untrained[run.model]


def ended_meanwhile(group: Sequence[Run], progress: Progress) -> dict[RunId, Outcome]:
    """The outcomes of runs that another process has ended since, or that cannot be made."""
    made = {}
    for run in group:
        try:
            outcome = outcomes.ended(run)
        except store.RecordError as error:
            outcome = outcomes.without_record(run, "refused", str(error))
        if outcome is not None:
            made[run.id] = outcome
            if outcome.record is None:
                progress.ended(run, outcome)
    return made


@dataclass
class Group:
    """Runs for one worker, side by side, and how often it was lost with them."""

    runs: list[Run]
    losses: int = 0
    open: set[int] = field(default_factory=set)
    """The numbers of those that have not ended."""


class Worker:
    """A process that makes runs. `heard` gets (worker, event), and (worker, None) at its end."""

    def __init__(self, number: int, options: RunOptions, threads: int, heard: queue.Queue):
        self.group: Group | None = None
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
        )
        if options.devices:
            device = options.devices[number % len(options.devices)]
            environment["CUDA_VISIBLE_DEVICES"] = device
        environment["OMP_NUM_THREADS"] = str(threads)
        # A session of its own: the driver alone is told of a Ctrl-C, and says what is to stop.
        self.process = subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(heard,), daemon=True).start()

    def _listen(self, heard: queue.Queue) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "event" in event:
                heard.put((self, event))
            else:  # printed by what Python loads before the worker takes stdout over
                sys.stderr.write(line)
        self.process.wait()
        heard.put((self, None))

    def say(self, order: dict) -> None:
        """Give an order; a process that is gone will be noticed by its end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()

    @property
    def fate(self) -> str:
        """How its process ended."""
        code = self.process.wait()
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with code {code}"


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_each(options: RunOptions, jobs: int) -> int:
    """The threads of each of `jobs` processes: as asked, or its share of the cores."""
    return options.threads or max(1, cores() // jobs)


class Processes:
    """Runs in `options.jobs` processes, each with its share of the cores or with a GPU."""

    def __init__(self, options: RunOptions):
        self.options = options
        self.untimed = "the devices are those of other processes" if options.devices else None

    def run_all(self, work: Work, progress: Progress) -> dict[RunId, Outcome]:
        """As the protocol; a run whose process is lost is resumed by another one."""
        return _Queue(work, progress).made()


class _Queue:
    """One call of `Processes.run_all`."""

    def __init__(self, work: Work, progress: Progress):
        self.work, self.progress = work, progress
        groups = side_by_side(work.runs, work.options.parallel_seeds)
        self.waiting = deque(map(Group, groups))
        self.heard: queue.Queue[tuple[Worker, dict | None]] = queue.Queue()
        jobs = work.options.jobs or len(work.options.devices)
        self.jobs = max(1, min(jobs, len(groups)))
        # Of the jobs asked for, so that a run that is resumed alone has the threads that it had.
        self.threads = threads_each(work.options, max(1, jobs))
        self.workers: list[Worker] = []
        self.outcomes: dict[RunId, Outcome] = {}
        self.stopping = False

    def made(self) -> dict[RunId, Outcome]:
        """Make everything; gives the outcomes."""
        try:
            for number in range(self.jobs):
                self._hire(number)
            while any(worker.group for worker in self.workers):
                self._stop_if_told()
                try:
                    worker, event = self.heard.get(timeout=0.2)
                except queue.Empty:
                    continue
                self._hear(worker, event)
        finally:
            for worker in self.workers:
                worker.close()
        return self.outcomes

    def _hire(self, number: int) -> None:
        worker = Worker(number, self.work.options, self.threads, self.heard)
        self.workers.insert(number, worker)
        self._give(worker)

    def _give(self, worker: Worker) -> None:
        """The next runs to a worker that has none."""
        worker.group = None
        while self.waiting and worker.group is None:
            group = self.waiting.popleft()
            known = ended_meanwhile(group.runs, self.progress)
            self.outcomes |= known
            group.runs = [run for run in group.runs if run.id not in known]
            if not group.runs:
                continue
            group.open = set(range(len(group.runs)))
            worker.group = group
            engine = EngineUse("local", VERSION, group.losses)
            settings: dict = {"threads": self.threads}
            if self.work.options.devices:
                settings["device"] = "cuda"  # one that is not there is refused, not replaced
            specs = [self.work.spec(run).with_settings(**settings).as_json() for run in group.runs]
            worker.say({"specs": specs, "engine": asdict(engine)})

    def _stop_if_told(self) -> None:
        reason = self.work.should_stop()
        if reason and not self.stopping:
            self.stopping = True
            self.waiting.clear()
            for worker in self.workers:
                worker.say({"stop": reason})

    def _hear(self, worker: Worker, event: dict | None) -> None:
        group = worker.group
        if event is None:
            number = self.workers.index(worker)
            self.workers.remove(worker)
            if group is not None:
                self._lose(group, worker.fate)
            if self.waiting:
                self._hire(number)
        elif event["event"] == "idle":
            self._give(worker)
        elif group is not None:
            if event["event"] in ("ended", "stopped"):
                self._hear_end(group, event)
            else:
                events.deliver(event, group.runs, self.progress)

    def _hear_end(self, group: Group, event: dict) -> None:
        """A run that somebody stopped by its process is resumed, as one that was lost."""
        if event["event"] == "stopped" and not self.work.should_stop() and group.losses < TRIES:
            again = Group([group.runs[event["run"]]], group.losses + 1)
            self.progress.lost(again.runs[0], f"{event['reason']}; it is resumed")
            self.waiting.appendleft(again)
        else:
            self._end(group.runs[event["run"]], event)
        group.open.discard(event["run"])

    def _end(self, run: Run, event: dict) -> None:
        outcome = outcomes.of_event(run, event)
        self.outcomes[run.id] = outcome
        self.progress.ended(run, outcome)

    def _lose(self, group: Group, fate: str) -> None:
        """Runs whose process is gone wait again, at the front, for some times."""
        group.runs = [group.runs[number] for number in sorted(group.open)]
        group.losses += 1
        again = group.losses < TRIES and not self.stopping
        for run in group.runs:
            reason = f"{run.title}: {fate}"
            self.progress.lost(run, f"{reason}; it is resumed" if again else reason)
            if not again:
                status = "interrupted" if self.stopping else "failed"
                outcome = outcomes.without_record(run, status, f"{reason} {group.losses} times")
                self.outcomes[run.id] = outcome
                self.progress.ended(run, outcome)
        if again and group.runs:
            self.waiting.appendleft(group)
