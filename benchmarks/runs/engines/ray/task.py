"""One run on a node of Ray: a task that gives events, and with them checkpoints and the record.

Nothing is written but in temporary folders; whatever stays is written by the driver.
"""

import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ray

from benchmarks.data.datasets import Data
from benchmarks.records import store
from benchmarks.runs.engines.events import Event
from benchmarks.runs.engines.spec import Spec
from benchmarks.runs.engines.worker import DRIVER_GONE, execute
from benchmarks.runs.runner import EngineUse, OutputFolders
from benchmarks.system.stop import Stop

SECONDS_BETWEEN_QUESTIONS = 1.0


class Question:
    """Asks the flag now and then, without waiting for the answer.

    A `ray.get` that waits would give the CPU of this task to another one.
    """

    def __init__(self, flag: Any):
        self.flag = flag
        self.reason: str | None = None
        self._asked: Any = None
        self._at = 0.0

    def __call__(self) -> str | None:
        """Why the run should stop, as far as is known."""
        try:
            self._ask()
        except ray.exceptions.RayError:
            self.reason = DRIVER_GONE
        return self.reason

    def _ask(self) -> None:
        if self._asked is not None:
            ready, _ = ray.wait([self._asked], timeout=0)
            if ready:
                self.reason = ray.get(self._asked) or self.reason
                self._asked = None
        elif time.monotonic() - self._at >= SECONDS_BETWEEN_QUESTIONS:
            self._at = time.monotonic()
            self._asked = self.flag.get.remote()


def make(
    values: dict,
    bundles: list[dict[str, bytes]],
    data: Data,
    checkpoints: dict[str, bytes],
    flag: Any,
) -> Iterator[Event]:
    """Make a run from its spec as JSON; gives its events.

    The first is `placed`, with the node's id. `epoch`, `stopped` and `ended` hold the content of
    the checkpoint, the last two the record too, if there is one. `bundles`: the code of plugins;
    `checkpoints`: the files to resume from, by what their names end in.
    """
    yield {"event": "placed", "node_id": ray.get_runtime_context().get_node_id()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = tuple(unpacked(tuple(bundle.items())) for bundle in bundles)
        spec = Spec.of_json(values).moved(folder, files)
        _write(checkpoints, _checkpoint_path(spec, data.name, folder))
        events: queue.Queue[Event | None] = queue.Queue()

        def emit(event: Event) -> None:
            if event["event"] in ("epoch", "stopped", "ended"):
                event["checkpoint"] = _content(folder / "checkpoints", "*.ckpt")
            if event["event"] in ("stopped", "ended"):
                event["record"] = _record(folder / "results")
            events.put(event)

        def run() -> None:
            stop = Stop(ask=Question(flag), signals=False)
            try:
                execute([spec], emit, stop, EngineUse("ray", ray.__version__), data)
            finally:
                events.put(None)

        # In a thread of its own, because a run calls back and a task gives its events one by one.
        threading.Thread(target=run).start()
        while (event := events.get()) is not None:
            yield event


@cache
def unpacked(files: tuple[tuple[str, bytes], ...]) -> str:
    """The plugin's file of a bundle, which is written once in a process that makes many runs."""
    folder = Path(tempfile.mkdtemp(prefix="plugin-"))
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder / files[0][0])


def _checkpoint_path(spec: Spec, dataset: str, folder: Path) -> Path:
    run_id = store.RunId(
        spec.model,
        dataset,
        spec.data,
        spec.recipe["name"],
        spec.seed,
        spec.plugin_sha256,
        spec.study,
    )
    return OutputFolders(folder / "results", folder / "checkpoints").checkpoint_of(run_id)


def _write(checkpoints: dict[str, bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for suffix, content in checkpoints.items():
        path.with_name(path.name + suffix).write_bytes(content)


def _content(folder: Path, pattern: str) -> bytes | None:
    paths = list(folder.rglob(pattern))
    return paths[0].read_bytes() if paths else None


def _record(folder: Path) -> dict | None:
    paths = list(folder.rglob("*.json"))
    return store.load(paths[0]) if paths else None
