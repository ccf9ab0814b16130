"""The Ray engine: runs on machines that share no file system.

The driver alone writes records and checkpoints, and holds the locks. Code, data and the newest
checkpoint travel to a run; its events, checkpoints and record travel back.
"""

import math
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from filelock import BaseFileLock, Timeout

from benchmarks.records import store
from benchmarks.records.store import RunId
from benchmarks.runs import outcomes
from benchmarks.runs.engines import events
from benchmarks.runs.engines.local import ended_meanwhile
from benchmarks.runs.engines.protocol import TRIES, EngineError, Work
from benchmarks.runs.engines.ray.cluster import connected
from benchmarks.runs.engines.worker import DRIVER_GONE
from benchmarks.runs.options import RunOptions
from benchmarks.runs.progress import Outcome, Progress
from benchmarks.runs.runner import EngineUse, Run, lock_of
from benchmarks.system.faults import described
from benchmarks.system.files import refuse_unwritable, remove_leftovers
from benchmarks.system.stop import Flag
from benchmarks.training.checkpoints import previous, write_content
from models import plugin_code, plugins

SECONDS_BETWEEN_LOOKS = 2.0
"""At the list of nodes: a node that hangs is known there before its tasks fail, if they ever do."""

STARTS = 20
"""How often a run is given to the cluster at most, losses before it has begun included."""
SECONDS_FOR_A_STEP = 60.0
"""How long runs that have no node yet are waited for after a stop, if none has one."""


class Ray:
    """Runs as tasks of a Ray cluster, each with CPUs of its own, and its part of a GPU if any."""

    untimed = "other runs may use the nodes of a cluster at the same time"

    def __init__(self, options: RunOptions):
        self.options = options

    def run_all(self, work: Work, progress: Progress) -> dict[RunId, Outcome]:
        """As the protocol; a run whose process or node is lost loses an epoch at most."""
        with connected(self.options.ray_address, show_logs=self.options.traceback):
            return _Driver(work, progress).made()


@dataclass
class Attempt:
    """A run on its way, with how often it was lost after it had begun, and where it has been."""

    run: Run
    lock: BaseFileLock
    losses: int = 0
    starts: int = 0
    nodes: set[str] = field(default_factory=set)
    node: str | None = None
    begun: bool = False
    ended: bool = False


class _Driver:
    """One call of `run_all`, on a connection that stands."""

    def __init__(self, work: Work, progress: Progress):
        import ray

        from benchmarks.runs.engines.ray import task

        self.ray = ray
        self.work, self.progress = work, progress
        self.waiting = deque(work.runs)
        self.again: deque[Attempt] = deque()
        self.going: dict[Any, Attempt] = {}
        self.outcomes: dict[RunId, Outcome] = {}
        self.stopped_at: float | None = None
        self.placed = False
        self.looked = time.monotonic()
        self._refuse_no_room()
        self.data = ray.put(work.runs[0].data)
        self.bundles = {str(file): plugin_code.bundle(file) for file in plugins.LOADED}
        here = ray.get_runtime_context().get_node_id()
        beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        # One whose process is killed comes back, and whoever asks it meanwhile waits.
        flag = ray.remote(Flag).options(
            num_cpus=0, scheduling_strategy=beside, max_restarts=-1, max_task_retries=-1
        )
        self.flag: Any = flag.remote()
        self.task = ray.remote(task.make).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0, num_returns="streaming"
        )

    @cached_property
    def cpus(self) -> int:
        """The CPUs of a run."""
        return self.work.options.threads or 1

    @cached_property
    def gpus(self) -> float:
        """The part of a GPU that a run asks for.

        Raises:
            EngineError: if runs must have GPUs and the cluster has none.
        """
        options = self.work.options
        there = self.ray.cluster_resources().get("GPU", 0)
        if options.device == "cuda" and not there:
            raise EngineError("device 'cuda' is not there: the Ray cluster has no GPU")
        if not there or options.device == "cpu":
            return 0
        # Ray rounds to 1/10,000; up, and one run fewer would fit.
        return math.floor(10_000 / options.runs_per_gpu) / 10_000

    def _refuse_no_room(self) -> None:
        """Refuse what no node has room for: Ray would wait without a word.

        Raises:
            EngineError: saying what a run asks for.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        fits = [
            node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes
        ]
        if not any(fits):
            gpu = f" and {self.gpus:g} of a GPU" if self.gpus else ""
            raise EngineError(
                f"no node of the Ray cluster has room for a run: {self.cpus} CPUs{gpu} (--threads)"
            )

    def places(self) -> int:
        """How many runs the cluster can make at once."""
        there = self.ray.cluster_resources()
        places = int(there.get("CPU", 0)) // self.cpus
        if self.gpus:
            places = min(places, int(there.get("GPU", 0) / self.gpus))
        return max(1, places)

    def made(self) -> dict[RunId, Outcome]:
        """Make everything; gives the outcomes."""
        try:
            while self.waiting or self.again or self.going:
                self._submit()
                self._stop_if_told()
                if self.going:
                    ready, _ = self.ray.wait(list(self.going), num_returns=1, timeout=0.2)
                    for stream in ready:
                        self._hear(stream)
                self._look_at_nodes()
        finally:
            for attempt in [*self.going.values(), *self.again]:
                attempt.lock.release()
        return self.outcomes

    def _submit(self) -> None:
        places = self.places()
        while len(self.going) < places and (self.again or self.waiting):
            if self.again:
                self._start(self.again.popleft())
                continue
            run = self.waiting.popleft()
            known = ended_meanwhile([run], self.progress)
            self.outcomes |= known
            if not known:
                self._begin(run)

    def _begin(self, run: Run) -> None:
        """A first attempt, if no other process is at the run."""
        lock = lock_of(run.checkpoint_path, timeout=1)
        try:
            run.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            remove_leftovers(run.checkpoint_path)
            refuse_unwritable(run.record_path.parent)
        except Timeout:
            reason = f"another process is at {run.title}; left to it"
            self._end(run, outcomes.without_record(run, "busy", reason))
        except (OSError, NotImplementedError) as error:
            lock.release()
            reason = f"{run.title}: {described(error)}"
            self._end(run, outcomes.without_record(run, "failed", reason))
        else:
            self._start(Attempt(run, lock))

    def _start(self, attempt: Attempt) -> None:
        path = attempt.run.checkpoint_path
        files = {"": path, previous(path).name.removeprefix(path.name): previous(path)}
        checkpoints = {end: file.read_bytes() for end, file in files.items() if file.exists()}
        spec = self.work.spec(attempt.run).with_settings(threads=self.cpus)
        bundles = [self.bundles[file] for file in spec.plugins]
        attempt.node, attempt.begun = None, False
        attempt.starts += 1
        stream = self.task.remote(spec.as_json(), bundles, self.data, checkpoints, self.flag)
        self.going[stream] = attempt

    def _stop_if_told(self) -> None:
        """Runs that have a node stop with a checkpoint; the others are taken back.

        If none has a node yet they are left a while, for the step that every call takes.
        """
        reason = self.work.should_stop()
        if reason and self.stopped_at is None:
            self.stopped_at = time.monotonic()
            self.waiting.clear()
            while self.again:
                self._give_up(self.again.popleft(), reason)
        if self.stopped_at is None:
            return
        self.flag.set.remote(reason)  # each time: one that came back knows nothing
        if self.placed or time.monotonic() - self.stopped_at > SECONDS_FOR_A_STEP:
            for stream, attempt in list(self.going.items()):
                if attempt.node is None:
                    del self.going[stream]
                    self.ray.cancel(stream, force=False)
                    attempt.lock.release()

    def _hear(self, stream: Any) -> None:
        """Take the next event of a run, or learn that it is lost; one that has ended is done."""
        attempt = self.going[stream]
        errors = self.ray.exceptions
        try:
            event = self.ray.get(next(stream))
        except (StopIteration, errors.RayError) as end:
            del self.going[stream]
            if attempt.ended:
                return
            if isinstance(end, errors.RayTaskError):
                self._give_up(attempt, " ".join(str(end.cause).split())[:300])
            elif isinstance(end, StopIteration):
                self._lose(attempt, "its task ended without a word")
            else:
                self._lose(attempt, f"its process or node is gone ({type(end).__name__})")
        else:
            self._take(stream, event)

    def _take(self, stream: Any, event: events.Event) -> None:
        attempt = self.going[stream]
        run = attempt.run
        try:
            if event.get("checkpoint") is not None:
                write_content(run.checkpoint_path, event["checkpoint"])
            if event["event"] == "placed":
                self.placed = True
                attempt.node = event["node_id"]
                attempt.nodes.add(event["node_id"])
            elif event["event"] == "stopped" and event["reason"].startswith(DRIVER_GONE):
                del self.going[stream]
                self._lose(attempt, "it cannot ask whether to stop")
            elif event["event"] in ("stopped", "ended"):
                attempt.ended = True
                outcome = self._recorded(attempt, event)
                attempt.lock.release()
                self._end(run, outcome)
            else:
                attempt.begun = attempt.begun or event["event"] == "begin"
                events.deliver(event, [run], self.progress)
        except OSError as error:
            del self.going[stream]
            self.ray.cancel(stream, force=False)
            self._give_up(attempt, described(error))

    def _recorded(self, attempt: Attempt, event: events.Event) -> Outcome:
        """Write the record that came, with what only the driver knows; gives the outcome."""
        run, record = attempt.run, event["record"]
        if record is None or not event["recorded"]:
            return outcomes.without_record(run, event["status"], event["reason"])
        used = EngineUse("ray", self.ray.__version__, attempt.losses, len(attempt.nodes))
        commit = {key: self.work.code[key] for key in ("commit", "dirty")}
        record |= {"engine": asdict(used), "code": record["code"] | commit}
        try:
            store.save(run.folders.results, record)
        except store.RecordError as error:
            return outcomes.without_record(run, "refused", str(error))
        return outcomes.of_record(run, record)

    def _look_at_nodes(self) -> None:
        """Lose the runs of nodes that are dead to the cluster: their tasks may never say so."""
        if time.monotonic() - self.looked < SECONDS_BETWEEN_LOOKS:
            return
        self.looked = time.monotonic()
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        for stream, attempt in list(self.going.items()):
            if attempt.node is not None and attempt.node not in alive:
                del self.going[stream]
                if not attempt.ended:
                    self._lose(attempt, "its node is gone")

    def _lose(self, attempt: Attempt, fate: str) -> None:
        """A run that is gone is made again from the newest checkpoint, for some times."""
        attempt.losses += attempt.begun
        reason = f"{attempt.run.title}: {fate}"
        possible = attempt.losses < TRIES and attempt.starts < STARTS
        again = possible and self.stopped_at is None
        self.progress.lost(attempt.run, f"{reason}; it is resumed" if again else reason)
        if again:
            self.again.append(attempt)
        else:
            self._give_up(attempt, f"{fate}, {attempt.losses or attempt.starts} times")

    def _give_up(self, attempt: Attempt, reason: str) -> None:
        attempt.lock.release()
        status = "failed" if self.stopped_at is None else "interrupted"
        run = attempt.run
        self._end(run, outcomes.without_record(run, status, f"{run.title}: {reason}"))

    def _end(self, run: Run, outcome: Outcome) -> None:
        self.outcomes[run.id] = outcome
        self.progress.ended(run, outcome)
