"""The runner: spec -> build -> count, train -> record, for one run or for some side by side."""

import os
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from benchmarks.data.datasets import Data
from benchmarks.records import store
from benchmarks.records.provenance import code
from benchmarks.runs.building import build
from benchmarks.runs.counting import count
from benchmarks.runs.recording import record_of
from benchmarks.system.device import is_out_of_memory
from benchmarks.system.environment import device_name
from benchmarks.system.faults import described, is_fault
from benchmarks.system.files import refuse_unwritable, remove_leftovers
from benchmarks.system.version import VERSION
from benchmarks.training import probing
from benchmarks.training.checkpoints import CheckpointError, differences, load_newest
from benchmarks.training.loop import History, Interrupted, Result, Trainer, advance
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models import plugins, registry

OnEpoch = Callable[[dict, int], None]
"""Called after an epoch with the history's entry and the number of epochs."""
OnStep = Callable[[int, int], None]
"""Called after a step with its number in the epoch, from 1, and the steps of the epoch."""


class Busy(ValueError):
    """Another process is at the run."""


class Unrecorded(ValueError):
    """A run whose record cannot be written; the message says how it ended and what is wrong."""


@dataclass(frozen=True)
class EngineUse:
    """Which engine made a run, for its record; neither hosts nor job numbers.

    `restarts`: how often it was begun again after it was lost, preempted or requeued. `nodes`: on
    how many machines it has run.
    """

    name: str
    version: str
    restarts: int = 0
    nodes: int = 1


REFUSALS = (Busy, CheckpointError, Unrecorded, store.RecordError)
"""Why a run may have no record."""
MOVED = ("device", "threads")
"""Of a checkpoint's identity: what may be another where a run is resumed."""


@dataclass(frozen=True)
class OutputFolders:
    """Folders that a run writes."""

    results: Path
    checkpoints: Path

    def record(self, run: "Run") -> Path:
        """The place of a run's record."""
        return run.id.place(self.results)

    def checkpoint(self, run: "Run") -> Path:
        """The place of a run's checkpoint."""
        return self.checkpoint_of(run.id)

    def checkpoint_of(self, run: store.RunId) -> Path:
        """The place of the checkpoint of a run that is known by its id."""
        tree = self.checkpoints / "studies" / run.study if run.study else self.checkpoints
        return tree / run.dataset / run.model / f"{run.place(self.results).stem}.ckpt"


@dataclass
class Run:
    """One run: (model, data set, recipe, seed) with its folders and settings.

    A run of a `study` is a trial: it does not read the test set. `find_untrained` is called when
    the run begins and gives the parameters that get no gradient. `traceback`: whether that of a
    failure is printed. `engine`: what its record says of where it was made.
    """

    model: str
    data: Data
    recipe: Recipe
    seed: int
    settings: Settings
    folders: OutputFolders
    should_stop: Callable[[], str | None] = lambda: None
    resume_changed: bool = False
    study: str | None = None
    find_untrained: Callable[[], tuple[str, ...]] = lambda: ()
    engine: EngineUse = EngineUse("local", VERSION)
    traceback: bool = False

    def __post_init__(self) -> None:
        self.untrained: tuple[str, ...] = ()
        self.plugin_sha256 = plugins.sha256_of(self.model)

    @cached_property
    def stream(self) -> torch.cuda.Stream | None:
        """Where its steps are launched, made where they are: a driver of workers uses no GPU."""
        return self.settings.new_stream()

    @property
    def id(self) -> store.RunId:
        """What tells it from every other run."""
        fingerprint = self.data.fingerprint
        return store.RunId(
            self.model,
            self.data.name,
            (fingerprint["sha256"], fingerprint["decoded_sha256"]),
            self.recipe.name,
            self.seed,
            self.plugin_sha256,
            self.study,
        )

    @property
    def flip(self) -> bool | None:
        """Whether training mirrors images at random; None where there are none."""
        return self.recipe.flips(self.data.flip)

    @property
    def title(self) -> str:
        """What the run is, for messages."""
        study = f", study {self.study}" if self.study else ""
        return f"{self.model} on {self.data.name}, {self.recipe.name}, seed {self.seed}{study}"

    @property
    def record_path(self) -> Path:
        """The place of its record."""
        return self.folders.record(self)

    @property
    def checkpoint_path(self) -> Path:
        """The place of its checkpoint."""
        return self.folders.checkpoint(self)

    def done(self) -> bool:
        """Whether a record of this recipe says that the run ended.

        Raises:
            store.RecordError: if the record there was made with another recipe.
        """
        record = store.load_or_set_aside(self.record_path)
        done = record is not None and record.get("status") in store.DONE
        if done or not self.resume_changed:
            store.refuse_other_recipe(self.record_path, self.recipe.as_dict())
        return done

    def executing(self, on_epoch: OnEpoch, on_step: OnStep) -> Generator[None, None, dict]:
        """Train and write the record, whatever happens, pausing after each step; gives the record.

        Raises:
            Busy: if another process is at this run.
            CheckpointError: if there is a checkpoint that this run must not resume from.
            Unrecorded: if no record can be written.
        """
        lock = lock_of(self.checkpoint_path, timeout=1)  # `status` may hold it for a moment
        try:
            self.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise Busy(f"another process is at {self.title}; left to it") from None
        except (OSError, NotImplementedError) as error:
            return self._recorded(self._unfinished(error, None), {}, None, code())
        try:
            try:
                if self.done():  # by another process, while this one waited for the lock
                    record = store.load(self.record_path)
                    assert record is not None
                    return record
            except OSError as error:
                return self._recorded(self._unfinished(error, None), {}, None, code())
            return (yield from self._executing(on_epoch, on_step))
        finally:
            lock.release()

    def _executing(self, on_epoch: OnEpoch, on_step: OnStep) -> Generator[None, None, dict]:
        provenance = code()
        trainer: Trainer | None = None
        counts: dict = {}
        try:
            remove_leftovers(self.checkpoint_path)
            refuse_unwritable(self.record_path.parent)
            counts = count(self.model, self.data.num_classes, self.seed).as_dict()
            self.untrained = self.find_untrained()
            model = build(self.model, self.data.num_classes, self.seed)
            trainer = self._trainer(model, provenance)
            trained = probing.trained(model)
            self._resume(trainer)
            result = yield from trainer.training(
                self.checkpoint_path,
                self.should_stop,
                on_epoch,
                on_step,
                test=self.study is None,
            )
            if result.status == "ok" and self.untrained:  # some may have begun late
                self.untrained = probing.untrained(trainer.model, self.data, self.untrained)
            self.untrained += tuple(sorted(probing.trained(trainer.model) - trained))  # unfrozen
        except CheckpointError:
            raise
        except BaseException as error:
            if not is_fault(error):
                raise
            result = self._unfinished(error, trainer)
        return self._recorded(result, counts, trainer, provenance)

    def _unfinished(self, error: BaseException, trainer: Trainer | None) -> Result:
        """The result of a run that an exception ended."""
        history = trainer.history if trainer else History()
        if isinstance(error, Interrupted):
            return Result("interrupted", str(error), history)
        if self.traceback:
            traceback.print_exception(error)
        status = "out_of_memory" if is_out_of_memory(error) else "failed"
        return Result(status, described(error), history)

    def _recorded(
        self, result: Result, counts: dict, trainer: Trainer | None, provenance: dict
    ) -> dict:
        """Write the record and give it; if it cannot be written, one that says why.

        A run that did not end does not replace the record of one that did, which another process
        has put there meanwhile.

        Raises:
            Unrecorded: if not even that can be written.
        """
        try:
            if result.status not in store.DONE and self.done():
                existing = store.load(self.record_path)
                assert existing is not None
                return existing
            record = record_of(self, result, counts, trainer, provenance)
            store.save(self.folders.results, record)
            return record
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a value of the record
            ended = result.status if result.reason is None else f"{result.status}, {result.reason}"
            reason = f"the record cannot be written: {described(error)}; the run ended: {ended}"
        try:
            failed = Result("failed", reason, History(resumed=result.history.resumed))
            record = record_of(self, failed, {}, None, provenance)
            store.save(self.folders.results, record)
            return record
        except Exception as error:
            raise Unrecorded(f"{self.title}: {reason}") from error

    def _resume(self, trainer: Trainer) -> None:
        state, damage = load_newest(self.checkpoint_path)
        if state is None:
            return
        differing = differences(state, trainer.identity)
        refused = {} if self.resume_changed else dict(differing)
        for key in MOVED:  # a run may move to another machine; its record says so
            refused.pop(key, None)
        if refused:
            listed = [f"{key} {then!r} there, {now!r} here" for key, (then, now) in refused.items()]
            raise CheckpointError(
                f"checkpoint {self.checkpoint_path} is of another run ({', '.join(listed)}); "
                "remove it to start again, or give --resume-changed"
            )
        trainer.restore(state)
        if not differing and not damage:
            return
        step = trainer.history.steps_done
        folder = f"{self.checkpoint_path.parent}{os.sep}"  # no path of the machine in a record
        note = damage.replace(folder, "") if damage else None
        trainer.history.resumed.append({"step": step, "differing": differing, "note": note})
        self._say_resumed(step, differing, damage)

    def _say_resumed(self, step: int, differing: dict, damage: str | None) -> None:
        reasons = [damage] if damage else []
        if differing:
            reasons.append(f"{', '.join(differing)} changed since")
        print(f"note: {self.title} resumes at step {step}: {'; '.join(reasons)}", file=sys.stderr)

    def _trainer(self, model: torch.nn.Module, provenance: dict) -> Trainer:
        identity = {
            "model": self.model,
            "dataset": self.data.fingerprint["decoded_sha256"],
            "source_sha256": provenance["source_sha256"],
            "torch": str(torch.__version__),
            "device": device_name(self.settings.device.type),
            "device_type": self.settings.device.type,
            "precision": self.settings.precision,
            "compile": self.settings.compile,
            "threads": None if self.settings.device.type == "cuda" else torch.get_num_threads(),
            "deterministic": self.settings.deterministic,
            "num_classes": self.data.num_classes,
            "outputs": self.data.outputs,
            "plugin_sha256": self.plugin_sha256,
        }
        return Trainer(
            model,
            self.data,
            self.recipe,
            self.settings,
            self.seed,
            identity,
            foreign=not registry.is_built_in(self.model),
            note=lambda text: print(f"note: {self.title}: {text}", file=sys.stderr),
        )


def lock_of(checkpoint_path: Path, timeout: float = 0) -> FileLock:
    """The lock of a run, which whoever makes it holds; `timeout`: seconds to wait for it.

    Never a lock by a file's existence: a machine that died would hold it for ever.
    """
    return FileLock(f"{checkpoint_path}.lock", timeout=timeout, fallback_to_soft=False)


def is_locked(checkpoint_path: Path) -> bool:
    """Whether some process is known to be at a run; one that asks just then may be told so too."""
    lock = lock_of(checkpoint_path)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock:
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # of another user, or on a file system without locks
        return False


def side_by_side(runs: list[Run], count: int) -> list[list[Run]]:
    """The runs in their order, in groups of at most `count` of one model."""
    groups = []
    for _, same in groupby(runs, key=lambda run: run.model):
        of_model = list(same)
        groups += [of_model[first : first + count] for first in range(0, len(of_model), count)]
    return groups


def execute_together(
    runs: list[Run], callbacks: Sequence[tuple[OnEpoch, OnStep]]
) -> list[dict | ValueError]:
    """Execute runs side by side in one process, their steps interleaved.

    Each run has its own stream where there are streams. A step that was captured is one
    launch, so that the streams fill a GPU that one small model leaves idle.

    Returns:
        For each run its record, or why it has none.
    """
    torch._dynamo.reset()  # What was compiled for earlier models is of no use any more.
    active = {number: run.executing(*callbacks[number]) for number, run in enumerate(runs)}
    ended: dict[int, dict | ValueError] = {}
    while active:
        for number, steps in list(active.items()):
            try:
                advance(steps, runs[number].stream)
            except StopIteration as end:
                ended[number] = end.value
            except REFUSALS as refusal:
                ended[number] = refusal
            if number in ended:
                del active[number]
    return [ended[number] for number in range(len(runs))]
