"""The timing protocol: images per second of callables, in windows, after a warm-up.

It gives medians, quartiles and paired ratios. It knows nothing of models or records: it takes
calls and the number of images that each handles.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats


@dataclass(frozen=True)
class Call:
    """Something to time, and how many images one call handles."""

    run: Callable[[], object]
    images: int


@dataclass(frozen=True)
class Protocol:
    """How long is timed: `windows` of at least `window_s` seconds each.

    The warm-up lasts until two windows agree within `tolerance`, `max_warmup` windows at most.
    `pairs` of neighbouring windows make a ratio; its A/A run may be tried `attempts` times.
    `epochs` of `epoch_images` each are timed.
    """

    windows: int = 15
    window_s: float = 1.0
    tolerance: float = 0.03
    max_warmup: int = 10
    pairs: int = 15
    attempts: int = 3
    epochs: int = 5
    epoch_images: int = 5120


SHORT = Protocol(
    windows=3,
    window_s=0.25,
    tolerance=0.1,
    max_warmup=1,
    pairs=3,
    attempts=1,
    epochs=1,
    epoch_images=32,
)
"""For the demonstration on digits and for tests; every record says how many windows it has."""
ON_CPU = Protocol()
ON_GPU = Protocol(windows=30, window_s=0.5, pairs=30, epochs=9, epoch_images=45_000)


def protocol_of(device: torch.device) -> Protocol:
    """The full protocol of a kind of device."""
    return ON_GPU if device.type == "cuda" else ON_CPU


class Timer:
    """Seconds of some calls, synchronised only at the window's edges.

    On CUDA the seconds are those between two events. `event_to_clock` keeps their ratio to a
    synchronised wall clock, which is 1 except for the launch of the first kernel.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.event_to_clock: list[float] = []

    def synchronize(self) -> None:
        """Wait until the device has done what was launched."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def __call__(self, run: Callable[[], object], times: int) -> float:
        """Seconds that `times` calls of `run` take."""
        self.synchronize()
        begin = time.perf_counter()
        if self.device.type != "cuda":
            _repeat(run, times)
            return time.perf_counter() - begin
        edges = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        edges[0].record()
        _repeat(run, times)
        edges[1].record()
        self.synchronize()
        clock = time.perf_counter() - begin
        seconds = edges[0].elapsed_time(edges[1]) / 1000
        self.event_to_clock.append(seconds / clock)
        return seconds


def _repeat(run: Callable[[], object], times: int) -> None:
    for _ in range(times):
        run()


@dataclass(frozen=True)
class Warm:
    """A call that is compiled and warm: how often it runs in a window."""

    call: Call
    steps: int
    settled: bool
    first_call_s: float

    def rate(self, timer: Timer) -> float:
        """Images per second in one window."""
        return self.call.images * self.steps / timer(self.call.run, self.steps)


def warm_up(call: Call, timer: Timer, protocol: Protocol) -> Warm:
    """Run until two successive windows agree.

    `first_call_s` includes compilation; `settled` says whether the windows agreed.
    """
    first = timer(call.run, 1)
    once = timer(call.run, 2) / 2
    steps = max(1, math.ceil(protocol.window_s / once))
    before, settled = timer(call.run, steps), False
    for _ in range(protocol.max_warmup):
        now = timer(call.run, steps)
        settled = abs(now - before) <= protocol.tolerance * before
        if settled:
            break
        before = now
    # A first guess of the steps may be too small, once all is warm.
    return Warm(call, max(steps, math.ceil(steps * protocol.window_s / now)), settled, first)


def measure(
    call: Call, timer: Timer, protocol: Protocol, energy: Callable[[], float | None] = lambda: None
) -> dict:
    """Images per second of a call: median and quartiles over windows.

    `energy` gives the joules used so far, or None; joules per image are noted where it can tell.
    """
    warm = warm_up(call, timer, protocol)
    before = energy()
    rates = [warm.rate(timer) for _ in range(protocol.windows)]
    after = energy()
    images = protocol.windows * warm.steps * call.images
    joules = None if before is None or after is None else (after - before) / images
    return spread(rates) | {
        "steps_per_window": warm.steps,
        "settled": warm.settled,
        "first_call_s": warm.first_call_s,
        "joules_per_image": joules,
    }


def spread(rates: list[float]) -> dict:
    """Median and quartiles over windows; a single window has no quartiles."""
    if len(rates) < 2:
        return {"median": rates[0], "q1": None, "q3": None, "windows": len(rates)}
    q1, median, q3 = statistics.quantiles(rates, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3, "windows": len(rates)}


def interleaved(calls: dict[str, Warm], rounds: int, timer: Timer) -> dict[str, list[float]]:
    """Images per second by round: every call once a round, so that drift cancels.

    The order is reversed after each round (A B B A).
    """
    rates: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(rounds):
        for name in order:
            rates[name].append(calls[name].rate(timer))
        order.reverse()
    return rates


def interval(above: list[float], below: list[float], resamples: int = 4000) -> dict[str, float]:
    """The ratio of two lists of rates that are paired by round.

    `median` is exp of the median log ratio, `low` and `high` the ends of its 95 % interval: the
    percentile bootstrap of the median, with a fixed seed. One pair alone has an interval of one
    point, which says nothing of its spread.
    """
    logs = np.log(np.asarray(above) / np.asarray(below))
    low = high = median = np.median(logs)
    if len(logs) > 1:
        drawn = stats.bootstrap(
            (logs,),
            np.median,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        low, high = drawn.confidence_interval
    ratio = {"median": median, "low": low, "high": high}
    found = {name: float(np.exp(value)) for name, value in ratio.items()}
    return found | {"pairs": len(logs)}


AA_HALF_WIDTH = 0.02


def aa_passes(ratio: dict[str, float]) -> bool:
    """Whether a call's ratio to itself includes 1, in an interval of at most +-2 %."""
    low, high = ratio["low"], ratio["high"]
    return low <= 1 <= high and (high - low) / 2 <= AA_HALF_WIDTH


def paired(over: Warm, under: Warm, timer: Timer, protocol: Protocol) -> dict:
    """The ratio of two speeds, after an A/A run: `under` against itself (key "null").

    An A/A run that fails is repeated, `attempts` times at most, and all attempts are kept. If
    none passes, the result is `noisy`, and no verdict should be drawn from it.
    """
    attempts: list[dict] = []
    passed = False
    while len(attempts) < protocol.attempts and not passed:
        rates = interleaved({"first": under, "second": under}, protocol.pairs, timer)
        ratio = interval(rates["first"], rates["second"])
        passed = aa_passes(ratio)
        attempts.append({"null": ratio, "passes": passed})
    rates = interleaved({"over": over, "under": under}, protocol.pairs, timer)
    return {
        "null": attempts[-1]["null"],
        "ratio": interval(rates["over"], rates["under"]),
        "noisy": not passed,
        "attempts": attempts,
        "rates": {name: spread(values) for name, values in rates.items()},
        "steps_per_window": {"over": over.steps, "under": under.steps},
    }


def ratios(
    rates: dict[str, list[float]], pairs: Iterable[tuple[str, str]]
) -> dict[str, dict[str, float]]:
    """The named ratios of interleaved rates, as `over / under`."""
    return {f"{over} / {under}": interval(rates[over], rates[under]) for over, under in pairs}
