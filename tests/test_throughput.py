"""The protocol on callables of known length."""

import time

from benchmarks.throughput import Protocol, measure


def test_rate_of_a_known_call():
    calls = []

    def call():
        calls.append(1)
        time.sleep(0.002)

    synchronised = []
    result = measure(call, 10, lambda: synchronised.append(1), Protocol(windows=5, window_s=0.02, max_warmup=3))
    assert 1000 < result["median"] <= 5000
    assert result["q1"] <= result["median"] <= result["q3"]
    assert result["windows"] == 5 and result["steps_per_window"] >= 2
    assert len(synchronised) % 2 == 0 and len(synchronised) < len(calls)


def test_first_call_is_reported_apart():
    state = {"first": True}

    def call():
        time.sleep(0.1 if state.pop("first", False) else 0.001)

    result = measure(call, 1, lambda: None, Protocol(windows=3, window_s=0.01))
    assert result["first_call_s"] >= 0.1 and result["median"] > 100
