"""The tables of `list` and `cost`: filters, components, width, and counts that are wrong."""

import json

import pytest
import torch
from torch import nn

from benchmarks.cli import costs
from benchmarks.runs.listing import Wanted
from models import registry
from tests.cli.conftest import code_of

WRONG_PLUGIN = '''
import torch
from torch import nn

from models.kernels.protocol import KernelSource
from models.registry import register_kernels, register_model


@register_kernels("miscounted", rows={"miscounted_resnet10_1": "wide_resnet10_1"})
class Miscounted(KernelSource):
    """Stores its kernels, and counts one weight too few."""

    def __init__(self, shapes):
        super().__init__(shapes)
        sizes = [(s.out_channels, s.in_channels, s.size, s.size) for s in shapes]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(size)) for size in sizes)

    @staticmethod
    def count(shapes):
        return {"generator": sum(s.out_channels * s.in_channels * s.size**2 for s in shapes) - 1}

    def forward(self):
        return list(self.weights)


@register_model("free_lunch", pair="wide_resnet10_1", macs=lambda classes: (1, 0))
def free_lunch(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))
'''


def test_tables_show_flops(capsys):
    """40-1 of the paper: 83,018,368 MACs per image, 51,544,064 of the generator."""
    assert code_of("list", "--task", "images") == 0
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("  hyper_resnet40_1 ")]
    assert row == ["hyper_resnet40_1", "96,602", "166,036,736", "103,088,128", "8.02", "%"]
    assert out.count("FLOPs = 2 x MACs") == 1 and "FLOPs/image" in out


def test_text_has_a_table_of_its_own(capsys):
    """LSTM 1000 on 50 symbols: 4 x 1000 x 1000 + 1000 x 50 MACs a character."""
    assert code_of("list", "--task", "text") == 0
    out = capsys.readouterr().out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("lstm_1000 ")]
    assert row == ["lstm_1000", "4,254,050", "8,100,000", "1.312"]
    assert "FLOPs/character" in out and "Counted for 50 symbols" in out
    assert "image" not in out and "resnet" not in out and "generator" not in out
    assert "5,080,042 or 5,085,682" in out and "18,718,493 or 18,728,773" in " ".join(out.split())
    assert code_of("list", "lstm_347") == 0
    assert "hyper_lstm_256" not in capsys.readouterr().out


def test_cost_shows_components(capsys):
    names = ["wide_resnet40_1", "hyper_resnet40_1", "hyper_resnet16_1_frozen_generator"]
    assert code_of("cost", *names) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line[:22].strip(): line[22:].split() for line in lines if line}
    assert table["plain pair"] == ["-", "wide_resnet40_1", "wide_resnet16_1"]
    assert table["parameters"] == ["562,762", "96,602", "7,242"]
    assert table["generator"] == ["0", "75,920", "0"]
    assert table["frozen, not counted"] == ["0", "0", "75,920"]
    assert table["FLOPs/image"] == ["166,036,736", "166,036,736", "52,790,528"]
    assert table["generator FLOPs"] == ["0", "103,088,128", "31,522,816"]
    components = [line for line in lines if line.startswith("  ")]
    assert sum(int(line.split()[-2].replace(",", "")) for line in components[1:]) == 96_602


def test_tables_are_at_most_100_columns_wide(capsys):
    assert code_of("list") == 0
    text = [
        "lstm_256",
        "ln_lstm_256",
        "lstm_347",
        "hyper_lstm_256",
        "ln_hyper_lstm_256",
        "lstm_1000",
    ]
    for every in (registry.names("images")[-6:], text):
        assert len(every) == costs.FEW and code_of("cost", *every) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= costs.WIDTH
    assert [line for line in lines if "wide_resnet28_10_projection" in line]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["frozen"], ["hyper_resnet16_1_frozen_generator", "hyper_resnet16_1_frozen_embeddings"]),
        (["wide*_projection", "--max-params", "600k"], ["40_1", "16_1"]),
        (["--family", "stage_template", "--min-params", "90000"], ["40_1_100k"]),
        (["--family", "narrow_resnet", "--size", "80k"], ["16_11", "40_6"]),
        (["--pair", "resnet32"], ["resnet32", "hyper_resnet32"]),
        (["--pair", "wide_resnet16_1", "--size", "0.17M"], ["wide_resnet16_1"]),
    ],
)
def test_filters(arguments, expected, capsys):
    assert code_of("list", *arguments, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    names = [row["model"] for row in rows]
    assert [part for part, name in zip(expected, names, strict=True) if part not in name] == []


def test_sizes():
    wanted = Wanted(size=1000, max_params=1050)
    assert [wanted.fits(n) for n in (899, 900, 1050, 1051, None)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert Wanted().fits(None) and not Wanted(min_params=1).fits(None)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--family", "hiper_resnet"], "unknown family 'hiper_resnet'; .*(nearest: hyper_resnet)"),
        (["--pair", "wrn_40_1"], "nearest: wide_resnet40_1"),
        (["--size", "many"], "'many' is not allowed; write 97000, 97k or 0.5M"),
        (["zebra"], "no listed model is like that"),
    ],
)
def test_wrong_filters(arguments, message, capsys):
    assert code_of("list", *arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message.split("; .*")[-1].strip("()") in err


def test_a_wrong_count_is_marked(tmp_path, own_models, capsys):
    plugin = tmp_path / "wrong.py"
    plugin.write_text(WRONG_PLUGIN)
    names = ["miscounted_resnet10_1", "free_lunch", "wide_resnet10_1"]
    assert code_of("cost", *names, "--plugin", plugin) == 1
    out = capsys.readouterr().out
    assert out.count("WRONG [") == 2
    assert "[1] miscounted_resnet10_1: the count is wrong: the closed form has generator " in out
    assert "[2] free_lunch: the count is wrong: torch's dispatcher counts 30,720 MACs" in out
    assert code_of("list", "--pair", "wide_resnet10_1") == 0
    listed = capsys.readouterr().out
    assert listed.count("WRONG [") == 2
    assert code_of("check", "miscounted_resnet10_1") == 1
    assert "FAIL  parameters are counted exactly" in capsys.readouterr().out
    assert code_of("cost", "wide_resnet10_1") == 0
    assert "WRONG" not in capsys.readouterr().out


def test_flops_that_are_unknown_are_not_shown_as_none(own_models, capsys):
    """Beside a model whose generator is counted."""

    class Fourier(nn.Module):
        def __init__(self):
            super().__init__()
            self.readout = nn.Linear(3072, 10)

        def forward(self, x):
            return self.readout(torch.fft.fft2(x).real.flatten(1))

    registry.register_model("fourier")(lambda num_classes: Fourier())
    assert code_of("cost", "fourier", "hyper_resnet16_1") == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("generator FLOPs")]
    assert row[2:] == ["-", "31,522,816"]
