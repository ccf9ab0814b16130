"""The timing protocol: images per second of callables, in windows, after a warm-up; medians and quartiles.

It knows nothing of models or records: the runner hands it a step, an inference, a synchronisation.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """`windows` of at least `window_s` seconds each, after windows that agree within `tolerance` (`max_warmup` at most)."""

    windows: int = 15
    window_s: float = 1.0
    tolerance: float = 0.03
    max_warmup: int = 10


SHORT = Protocol(windows=3, window_s=0.5, tolerance=0.1, max_warmup=2)
"""For the demonstration on digits and for tests; every record says how many windows it has."""


def _timed(call: Callable[[], object], steps: int, synchronize: Callable[[], None]) -> float:
    """Seconds of `steps` calls; synchronised only at the window's edges."""
    synchronize()
    begin = time.perf_counter()
    for _ in range(steps):
        call()
    synchronize()
    return time.perf_counter() - begin


def measure(call: Callable[[], object], images: int, synchronize: Callable[[], None], protocol: Protocol) -> dict:
    """Images per second of a call that handles `images`: median and quartiles over windows.

    `settled` says whether two successive warm-up windows agreed; `first_call_s` includes compilation.
    """
    first = _timed(call, 1, synchronize)
    once = _timed(call, 2, synchronize) / 2
    steps = max(1, round(protocol.window_s / once))
    before, settled = _timed(call, steps, synchronize), False
    for _ in range(protocol.max_warmup):
        now = _timed(call, steps, synchronize)
        settled = abs(now - before) <= protocol.tolerance * before
        if settled:
            break
        before = now
    # A first guess of the steps may be too small, once all is warm.
    steps = max(steps, math.ceil(steps * protocol.window_s / now))
    rates = [images * steps / _timed(call, steps, synchronize) for _ in range(protocol.windows)]
    q1, median, q3 = statistics.quantiles(rates, n=4, method="inclusive")
    return {
        "median": median,
        "q1": q1,
        "q3": q3,
        "windows": protocol.windows,
        "steps_per_window": steps,
        "settled": settled,
        "first_call_s": first,
    }
