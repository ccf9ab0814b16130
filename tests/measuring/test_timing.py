"""The protocol on callables of known length, and its statistics by hand."""

import time

import pytest
import torch

from benchmarks.measuring.timing import (
    Call,
    Protocol,
    Timer,
    Warm,
    aa_passes,
    interleaved,
    interval,
    measure,
    paired,
    ratios,
    spread,
    warm_up,
)

CPU = Timer(torch.device("cpu"))


class Scripted:
    """A timer that tells the given seconds a step, one after the other, and keeps what it ran."""

    def __init__(self, *seconds):
        self.seconds, self.ran = iter(seconds), []

    def __call__(self, run, times):
        self.ran.append(run)
        return next(self.seconds) * times


def test_rate_of_a_known_call():
    """Ten images in 2 ms, scripted: first call, two calls, two windows that agree, five windows."""
    joules = iter((100.0, 130.0))
    timer = Scripted(9.0, *[0.002] * 3, 0.001, 0.002, 0.004, 0.002, 0.002)
    protocol = Protocol(windows=5, window_s=0.02, max_warmup=3)
    result = measure(Call(None, 10), timer, protocol, lambda: next(joules))
    assert result["first_call_s"] == 9.0
    assert result["median"] == pytest.approx(5000) and result["windows"] == 5
    assert result["steps_per_window"] == 10
    assert result["joules_per_image"] == 30 / (5 * 10 * 10)


def test_the_timer_waits_for_what_it_times():
    """A lower bound only: a busy machine makes sleep longer, never shorter."""
    assert CPU(lambda: time.sleep(0.01), 3) >= 0.03


def test_warm_up_goes_on_until_two_windows_agree():
    timer = Scripted(9.0, 0.1, *(0.4, 0.2, 0.1, 0.101))
    warm = warm_up(Call(None, 1), timer, Protocol(window_s=1.0))
    assert (warm.first_call_s, warm.settled, len(timer.ran)) == (9.0, True, 6)
    assert warm.steps == 10
    unsettled = warm_up(
        Call(None, 1), Scripted(1.0, 1.0, 4.0, 3.0, 2.0), Protocol(window_s=1.0, max_warmup=2)
    )
    assert not unsettled.settled


def test_windows_alternate():
    timer = Scripted(*[0.1] * 6)
    rates = interleaved({n: Warm(Call(n, 1), 1, True, 0.0) for n in "ab"}, 3, timer)
    assert timer.ran == ["a", "b", "b", "a", "a", "b"]
    assert rates == {"a": [10.0] * 3, "b": [10.0] * 3}


def test_spread():
    assert spread([3.0, 1.0, 2.0, 5.0, 4.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "windows": 5}
    assert spread([3.0]) == {"median": 3.0, "q1": None, "q3": None, "windows": 1}


def test_interval_of_ratios():
    drift = [100.0, 50.0, 10.0, 80.0, 33.0]
    exact = interval([2 * rate for rate in drift], drift)
    assert (exact["median"], exact["low"], exact["high"]) == pytest.approx((2, 2, 2)) and exact[
        "pairs"
    ] == 5
    noisy = interval([1.0, 2.0, 4.0], [1.0, 1.0, 1.0])
    assert (noisy["median"], noisy["low"], noisy["high"]) == pytest.approx((2, 1, 4))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Median of 15 log-normal ratios, 200 times: a percentile bootstrap comes near its 95 %."""
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(200):
        logs = 0.1 * torch.randn(15, generator=generator, dtype=torch.float64)
        found = interval(logs.exp().tolist(), [1.0] * 15, resamples=500)
        hits += found["low"] <= 1 <= found["high"]
    assert 0.88 <= hits / 200 <= 1


@pytest.mark.parametrize(
    "low, high, passes",
    [(0.99, 1.01, True), (1.001, 1.01, False), (0.95, 1.05, False), (0.981, 1.02, True)],
)
def test_an_aa_run(low, high, passes):
    assert aa_passes({"low": low, "high": high}) == passes


def test_an_aa_run_that_fails_is_repeated_and_kept():
    warm = Warm(Call(None, 1), 1, True, 0.0)
    wild, calm = [1.0, 2.0, 3.0, 1.0], [1.0] * 4
    result = paired(warm, warm, Scripted(*wild, *calm, *calm), Protocol(pairs=2))
    assert [a["passes"] for a in result["attempts"]] == [False, True] and not result["noisy"]
    result = paired(warm, warm, Scripted(*wild * 3, *calm), Protocol(pairs=2, attempts=3))
    assert (
        len(result["attempts"]) == 3
        and result["noisy"]
        and result["null"] == result["attempts"][-1]["null"]
    )
    assert result["ratio"]["median"] == 1


def test_named_ratios():
    assert ratios({"a": [2.0, 2.0], "b": [1.0, 1.0]}, [("a", "b")])["a / b"][
        "median"
    ] == pytest.approx(2)
