"""Events of runs as JSON: what a worker is told by its runs, and a driver by its workers.

    begin    the run has begun: `how` (device, precision, compile), `node`, `restarts`
    step     `step` of `steps`; at most some a second
    epoch    the history's `entry`, of `epochs`
    stopped  by a signal or a limit; it can be resumed
    ended    well or badly, or refused; with `status`, `reason`, `recorded`
    lost     its process or node is gone; told by the driver
    note     a fall-back, of no run

Each has `event` and, but for a note, `run`: the number of the run in the worker's specs.
"""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.runs.progress import Outcome, Progress
from benchmarks.runs.runner import Run

Event = dict[str, Any]
Emit = Callable[[Event], None]

SECONDS_BETWEEN_STEPS = 0.2
STOPPED = ("interrupted", "not_started")


class Emitting(Progress):
    """Progress that becomes events; a run is numbered by its place in `runs`."""

    def __init__(self, emit: Emit, runs: Sequence[Run], restarts: int = 0):
        self.emit = emit
        self.numbers = {run.id: number for number, run in enumerate(runs)}
        self.restarts = restarts
        self._told = 0.0

    def note(self, text: str) -> None:
        """A note."""
        self.emit({"event": "note", "text": text})

    def started(self, runs: list[Run]) -> None:
        """A begin for each."""
        for run in runs:
            settings = run.settings
            self.emit(
                {
                    "event": "begin",
                    "run": self.numbers[run.id],
                    "device": settings.device.type,
                    "precision": settings.precision,
                    "compile": settings.compile,
                    "node": platform.node(),
                    "restarts": self.restarts,
                }
            )

    def step(self, run: Run, step: int, steps: int) -> None:
        """Now and then a step."""
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_STEPS:
            self._told = now
            self.emit({"event": "step", "run": self.numbers[run.id], "step": step, "steps": steps})

    def epoch(self, run: Run, entry: dict, epochs: int) -> None:
        """The entry."""
        self.emit({"event": "epoch", "run": self.numbers[run.id], "entry": entry, "epochs": epochs})

    def ended(self, run: Run, outcome: Outcome) -> None:
        """The status and the reason; the record is at its place."""
        recorded = outcome.record is not None
        self.emit(end_of(self.numbers[run.id], outcome.status, outcome.reason, recorded))

    def already_done(self, run: Run) -> None:
        """Another process has made it meanwhile."""
        self.emit(end_of(self.numbers[run.id], "ok", None, recorded=True))


def end_of(number: int, status: str, reason: str | None, recorded: bool = False) -> Event:
    """The event of a run that ended or was stopped; `recorded`: whether its record says so."""
    kind = "stopped" if status in STOPPED else "ended"
    end = {"status": status, "reason": reason, "recorded": recorded}
    return {"event": kind, "run": number, **end}


def deliver(event: Event, runs: Sequence[Run], progress: Progress) -> None:
    """Tell what an event of a worker tells; ends are told by the engine, with the outcome."""
    kind = event["event"]
    if kind == "note":
        progress.note(event["text"])
        return
    run = runs[event["run"]]
    if kind == "begin":
        run.settings = replace(
            run.settings,
            device=torch.device(event["device"]),
            precision=event["precision"],
            compile=event["compile"],
        )
        progress.started([run])
    elif kind == "step":
        progress.step(run, event["step"], event["steps"])
    elif kind == "epoch":
        progress.epoch(run, event["entry"], event["epochs"])
