"""When runs should stop: on a signal or at a deadline, and always between two steps."""

import signal
import time


class Stop:
    """Why runs should stop, if they should: SIGTERM, SIGINT or the deadline (seconds of `time.monotonic`).

    In its `with` block the first signal lets a run write a checkpoint of the step it is at; a second one ends the process at once.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, deadline: float | None = None):
        self.deadline, self.signal = deadline, None

    def __enter__(self) -> "Stop":
        self.handlers = {number: signal.signal(number, self._on_signal) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame) -> None:
        self.signal = f"stopped by {signal.Signals(number).name}"
        for other in self.SIGNALS:
            signal.signal(other, signal.SIG_DFL)

    def __call__(self) -> str | None:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return self.signal or ("stopped by the time limit" if late else None)
