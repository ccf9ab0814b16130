"""Numbers that users pass: one line that names the value and what is allowed."""

import pytest

from benchmarks import RunOptions
from benchmarks.runs.matrix import train
from tests.cli.conftest import code_of
from tests.conftest import one_line

NO_WHOLE = ["0", "-1", "99999999", "1.5", "nan", "", "2 ", "+2", "1_0", "²", "٣", "9" * 5000]
NO_NUMBER = ["0", "-1", "nan", "inf", "1_000", "٣", "1e400", "1e-400", " 5", "5s", ""]
NO_EPOCHS = ["0", "", "05", "100000", "99999999999999", "-1", "1.5", "1_0", "²", "٣"]
WRONG = [("--threads", value, "from 1 to 1024") for value in NO_WHOLE]
WRONG += [("--parallel-seeds", value, "from 1 to 10000") for value in NO_WHOLE]
WRONG += [("--time-limit", value, "a number above 0") for value in NO_NUMBER]
WRONG += [("--recipe", f"epochs{n}", "epochs<N> (N from 1 to 99999)") for n in NO_EPOCHS]
WRONG += [("--seeds", value, "at most 10,000") for value in ("²", "0-3000000000", str(2**64))]


@pytest.mark.parametrize("option, value, allowed", WRONG, ids=lambda text: repr(text[:30]))
def test_a_wrong_number_is_one_line(option, value, allowed, capsys):
    assert code_of("train", "wide_resnet10_1", f"{option}={value}") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1 and len(err) < 400
    assert repr(value)[1:30].strip("'") in err and allowed in err


@pytest.mark.parametrize("value", [*NO_WHOLE, "1", "65537"], ids=lambda text: repr(text[:30]))
@pytest.mark.parametrize("command", [("throughput", "wide_resnet10_1"), ("compare",)])
def test_a_wrong_batch_size_is_one_line(command, value, capsys):
    assert code_of(*command, f"--batch-size={value}") == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and len(err) < 400 and "from 2 to 65536" in err


@pytest.mark.parametrize("value", ["90", "0.5", ".5", "5.", "1e3", "1E-3"])
def test_a_time_limit_is_read_before_the_recipe(value, capsys):
    assert code_of("train", "wide_resnet10_1", "--time-limit", value, "--recipe", "none") == 2
    assert "unknown recipe 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong, allowed",
    [
        ({"threads": 0}, "a whole number from 1 to 1024"),
        ({"threads": True}, "a whole number from 1 to 1024"),
        ({"threads": "2"}, "a whole number from 1 to 1024"),
        ({"threads": 10**5000}, "a whole number from 1 to 1024"),
        ({"parallel_seeds": 0}, "a whole number from 1 to 10000"),
        ({"parallel_seeds": 1.5}, "a whole number from 1 to 10000"),
        ({"time_limit": float("nan")}, "a number above 0"),
        ({"time_limit": 0}, "a number above 0"),
        ({"time_limit": "5"}, "a number above 0"),
    ],
)
def test_so_it_is_in_python(wrong, allowed):
    with pytest.raises(ValueError) as error:
        RunOptions(**wrong)
    assert allowed in one_line(error) and str(error.value).startswith(next(iter(wrong)))


def test_seeds_are_checked_in_python(few_are_loaded):
    for wrong in ([2**64], ["0"], range(3 * 10**9)):
        with pytest.raises(ValueError, match="seed") as error:
            train(["wide_resnet10_1"], recipe="demo", seeds=wrong)
        one_line(error)
