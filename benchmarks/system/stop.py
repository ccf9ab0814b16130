"""When runs should stop: on a signal, at a deadline or when another says so; between two steps."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType


class Stop:
    """Tells whether runs should stop, and why: SIGTERM, SIGINT, a deadline, or what `ask` says.

    `deadline` is in seconds of `time.monotonic`. Within its `with` block the first signal lets a
    run write a checkpoint of its step; a second one ends the process at once. Signals are only
    caught in the main thread, where Python allows it, and not if `signals` is false.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(
        self,
        deadline: float | None = None,
        ask: Callable[[], str | None] = lambda: None,
        signals: bool = True,
    ):
        self.deadline = deadline
        self.ask = ask
        self.signals = self.SIGNALS if signals else ()
        self.signal: str | None = None
        self.handlers: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self.handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = f"stopped by {signal.Signals(number).name}"
        for other in self.SIGNALS:
            signal.signal(other, signal.SIG_DFL)

    def __call__(self) -> str | None:
        """The reason to stop, or None."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return self.signal or ("stopped by the time limit" if late else None) or self.ask()


class Flag:
    """Says why runs should stop, or None: an actor of Ray, here because it must start quickly."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        """Stop all runs."""
        self.reason = reason

    def get(self) -> str | None:
        """Why, or None."""
        return self.reason
