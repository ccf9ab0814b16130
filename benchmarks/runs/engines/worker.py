"""A worker: makes runs that are given as JSON and tells what becomes of them as JSON.

`python -m benchmarks.runs.engines.worker` reads lines from stdin, of the local engine's driver:
`{"specs": [...], "restarts": 0}` are runs to make side by side, `{"stop": "why"}` stops them with
their checkpoints, and so does the end of the input. Events go to stdout, a line each; after each
line of specs `{"event": "idle"}`. What models print goes to stderr.
"""

import contextlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

from benchmarks.data import datasets
from benchmarks.data.datasets import Data
from benchmarks.runs.engines.events import Emit, Emitting, end_of
from benchmarks.runs.engines.spec import Spec
from benchmarks.runs.matrix import prepare
from benchmarks.runs.runner import EngineUse
from benchmarks.system.faults import described
from benchmarks.system.pipes import outlive_readers
from benchmarks.system.stop import Stop

DRIVER_GONE = "stopped because the driver is gone"

load = cache(datasets.load)
"""Data sets stay in memory between the runs of a worker."""


def execute(
    specs: Sequence[Spec],
    emit: Emit,
    stop: Stop,
    engine: EngineUse,
    data: Data | None = None,
) -> None:
    """Make runs side by side, with the same data and settings, whatever is wrong with them.

    `data`: None to load them.
    """
    try:
        for spec in specs:
            spec.load_code()
        first = specs[0]
        options = first.options
        if data is None:
            data = load(first.dataset, Path(options.data_dir))
        wanted = [spec.run_spec for spec in specs]
        notes = Emitting(emit, [])
        matrix = prepare(wanted, first.dataset, options, notes, first.study, data, stop)
        for spec, run in zip(specs, matrix.runs, strict=True):
            spec.refuse_other_data(run.id)
            run.engine = engine
        matrix.execute(Emitting(emit, matrix.runs, engine.restarts))
    except Exception as error:  # noqa: BLE001 - a worker that dies of it would be tried again
        refused = isinstance(error, ValueError)
        reason = " ".join(str(error).split()) if refused else described(error)
        for number in range(len(specs)):
            emit(end_of(number, "refused" if refused else "failed", reason))


class Input:
    """What the driver says: specs to make, and when to stop."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.reason: str | None = None
        self.orders: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.stream:
            order = json.loads(line)
            if "stop" in order:
                self.reason = order["stop"]
            else:
                self.orders.put(order)
        self.reason = self.reason or DRIVER_GONE
        self.orders.put(None)

    def stopped(self) -> str | None:
        """Why runs should stop, or None."""
        return self.reason


def emit_to(stream: TextIO) -> Callable[[dict], None]:
    """Events as lines of a stream; a driver that is gone is told nothing."""

    def emit(event: dict) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(event), file=stream, flush=True)

    return emit


def main() -> None:
    """Make what stdin says until it ends."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # models print to stderr, events alone to stdout
    outlive_readers()
    emit = emit_to(events)
    orders = Input(sys.stdin)
    while (order := orders.orders.get()) is not None:
        specs = [Spec.of_json(values) for values in order["specs"]]
        engine = EngineUse(**order["engine"])
        execute(specs, emit, Stop(ask=orders.stopped), engine)
        emit({"event": "idle"})


if __name__ == "__main__":
    main()
