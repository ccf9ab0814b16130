"""When runs should stop."""

import signal
import time

import pytest

from benchmarks.system.stop import Stop


def test_the_deadline():
    assert Stop()() is None and Stop(time.monotonic() + 60)() is None
    assert Stop(time.monotonic())() == "stopped by the time limit"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_told_once_and_the_next_one_is_not_caught(name):
    number, before = getattr(signal, name), {n: signal.getsignal(n) for n in Stop.SIGNALS}
    with Stop() as stop:
        assert stop() is None
        signal.raise_signal(number)
        assert stop() == f"stopped by {name}"
        assert all(signal.getsignal(n) is signal.SIG_DFL for n in Stop.SIGNALS)
    assert {n: signal.getsignal(n) for n in Stop.SIGNALS} == before
