"""What went wrong in one line: type, message, file and line, whatever the error is."""

import sys

import pytest
import torch

from benchmarks.system import faults, generators

CODE = """
import sys


class Odd(BaseException):
    def __str__(self):
        raise RuntimeError("no message")


def raises(error):
    raise error


def generator():
    yield
    raise StopIteration("at its end")


def calls(function):
    return function()
"""


@pytest.fixture
def users(tmp_path, monkeypatch):
    """A module of a user's, in the current folder."""
    (tmp_path / "users.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import users

    yield users
    del sys.modules["users"]


def caught(function, *arguments):
    """The error that a call raises, as if nobody had called it."""
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001 - of any type
        return error.with_traceback(error.__traceback__.tb_next)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "error, said",
    [
        (ValueError("one\n  two"), "ValueError: one two"),
        (AssertionError(), "AssertionError"),
        (KeyError("key"), "KeyError: 'key'"),
        (RuntimeError("a \udce9 \x1b[31m \x00"), r"RuntimeError: a \udce9 \x1b[31m \x00"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_an_error_in_one_line_with_its_place(users, error, said):
    assert faults.described(caught(users.raises, error)) == f"{said} (users.py, line 11)"
    said.encode()


def test_very_long_messages_are_cut(users):
    text = faults.described(caught(users.raises, ValueError("x" * 10_000)))
    assert len(text) < 350 and "x..." in text and text.endswith("(users.py, line 11)")


def test_a_message_that_raises(users):
    text = faults.described(caught(users.raises, users.Odd()))
    assert text == "Odd: its message cannot be read (users.py, line 11)"


def test_the_place_is_in_the_users_code_not_in_what_it_called(users):
    error = caught(users.calls, lambda: users.calls(lambda: torch.zeros(2) @ torch.zeros(3)))
    assert "test_faults.py" in faults.place(error)  # a lambda of this file is the innermost
    error = caught(users.calls, torch.nn.Linear(2, 2).forward.__func__)
    assert faults.place(error) == "users.py, line 20"


def test_the_end_of_an_inner_iterator_is_named(users):
    def outer():
        yield from users.generator()

    error = caught(list, outer())
    assert isinstance(error, RuntimeError)
    assert faults.described(error) == "StopIteration: at its end (users.py, line 16)"


def test_without_the_users_code_the_place_is_the_suites():
    from benchmarks.training import recipes

    error = caught(recipes.load, "no such")
    assert faults.place(error).startswith("benchmarks/training/recipes.py, line ")
    assert not faults.is_users(error)


def test_what_stops_is_no_fault(users):
    assert not faults.is_fault(caught(users.raises, KeyboardInterrupt()))
    assert not faults.is_fault(GeneratorExit())  # of a generator that is closed
    assert faults.is_fault(caught(users.raises, GeneratorExit()))
    assert faults.is_fault(caught(users.raises, users.Odd()))
    assert faults.is_fault(SystemExit())


@pytest.mark.parametrize("folder, home, text", [("/w", "/h/me", "./a and ~/b"), ("/", "/", None)])
def test_folders_of_the_machine_are_left_out(monkeypatch, folder, home, text):
    monkeypatch.setattr("os.getcwd", lambda: folder)
    monkeypatch.setattr("os.path.expanduser", lambda path: home)
    assert faults.portable("/w/a and /h/me/b") == (text or "/w/a and /h/me/b")
    assert faults.portable("/h/mean") == "/h/mean"


def test_generators_are_as_they_were():
    import random

    import numpy as np

    def draws():
        return torch.rand(1).item(), float(np.random.rand()), random.random()

    generators.seed_all(5)
    expected = [draws(), draws()]
    generators.seed_all(5)
    found = [draws()]
    with generators.kept():
        generators.seed_all(2**63)
        draws()
    assert [*found, draws()] == expected
