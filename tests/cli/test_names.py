"""Names and options that are near others, no abbreviations, and the version."""

import re

import pytest

import benchmarks
from tests.cli.conftest import code_of
from tests.conftest import ROOT

TRAIN = ["train", "wide_resnet10_1"]
HINTS = [
    (["trian", "wide_resnet10_1"], "'trian' is not allowed; choose from list, .*nearest: train"),
    ([*TRAIN, "--seed", "0"], "unknown option '--seed'; nearest: --seeds "),
    ([*TRAIN, "--seed=0"], "unknown option '--seed'; nearest: --seeds "),
    ([*TRAIN, "--time", "3"], "unknown option '--time'"),
    (["list", "--jsn"], "unknown option '--jsn'; nearest: --json "),
    (["evaluate", "a.ckpt", "b.ckpt"], "unexpected argument 'b.ckpt'"),
    ([*TRAIN, "--epochs", "3"], "unknown option '--epochs'; nearest: --recipe epochs<N> "),
    ([*TRAIN, "--device", "gpu"], "'gpu' is not allowed; choose from auto, .*nearest: cuda "),
    ([*TRAIN, "--device", "cdua"], "nearest: cuda "),
    ([*TRAIN, "--precision", "fp23"], "nearest: fp32 "),
    ([*TRAIN, "--recipe", "fast"], "unknown recipe 'fast'; now epochs200; allowed are epochs<N>"),
    ([*TRAIN, "--recipe", "200epochs"], "nearest: epochs200;"),
    (["train", "wrn_40_1"], "unknown model 'wrn_40_1'; nearest: wide_resnet40_1;"),
    ([*TRAIN, "--dataset", "cifr"], "unknown data set 'cifr'; .*nearest: cifar10, cifar100$"),
    ([*TRAIN, "--dataset", "cifar10-jpeg"], "nearest: folder:PATH/cifar10-jpeg, cifar10$"),
    ([*TRAIN, "--dataset", "Folder:there"], "unknown data set .*; nearest: folder:there$"),
    ([*TRAIN, "--dataset", "Text+Unknown:there"], "nearest: text\\+unknown:there$"),
    (["status", "lstm_8", "--dataset", "text:/nowhere"], "there is no /nowhere$"),
    ([*TRAIN, "--dataset", "folder:/nowhere", "--dry-run"], "there is no /nowhere$"),
    (["status", "--study", "a.toml", "--seeds", "1"], "--recipe and --seeds are not allowed"),
    (
        ["export", "a.ckpt", "out", "--dataset", "svhn"],
        "--dataset and --download are not allowed with OUT",
    ),
    (["report", "--dataset", "cifar10-jpg"], "nearest: cifar10-jpeg"),
]


@pytest.mark.parametrize("arguments, message", HINTS)
def test_what_is_not_known_gets_a_hint(arguments, message, capsys):
    assert code_of(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert re.search(message, err.rstrip("\n")), err


@pytest.mark.parametrize("command", ["train", "list", "report", "throughput"])
def test_no_option_has_an_abbreviation(command, capsys):
    code_of(command, "--help")
    options = set(re.findall(r"(--[a-z-]+)", capsys.readouterr().out)) - {"--help"}
    for option in options:
        assert code_of(command, option[:-1]) == 2, option
        # A shorter text may be another option's name, but never stands for this one.
        told = capsys.readouterr().err
        if option[:-1] not in options:
            assert "expected one argument" not in told


def test_version(capsys):
    assert code_of("--version") == 0
    out = capsys.readouterr().out
    assert re.fullmatch(rf"run\S+ {benchmarks.__version__}( \(commit [0-9a-f]{{12}}.*\))?\n", out)
    for page in ("CHANGELOG.md", "CITATION.cff"):
        assert benchmarks.__version__ in (ROOT / page).read_text(encoding="utf-8")
