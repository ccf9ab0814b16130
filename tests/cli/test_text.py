"""Text as a user meets it: the same commands, other units, one line for what is not allowed."""

import json

import pytest
from safetensors import safe_open

from benchmarks.records import store
from benchmarks.records.frame import load_runs
from tests.cli.conftest import code_of

TRAIN = ["train", "lstm_8", "--recipe", "text_demo"]
CELLS = """
import torch
from torch import nn
from models.recurrent.network import RecurrentNetwork
from models.registry import register_model


class Elman(nn.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.units = units
        self.of_x, self.of_h = nn.Linear(inputs, units, bias=False), nn.Linear(units, units)

    @property
    def projection(self):
        return self.of_x.weight

    def initial(self, batch):
        return (self.projection.new_zeros(batch, self.units),)

    def step(self, state, projected, mask):
        return (torch.tanh(projected + self.of_h(state[0])) * mask,)


@register_model("elman_8", pair="lstm_8", task="text")
def elman_8(symbols):
    return RecurrentNetwork([Elman(symbols, 8)], symbols)


@register_model("no_network", task="text")
def no_network(symbols):
    return nn.Linear(symbols, symbols)


@register_model("of_images")
def of_images(classes):
    return elman_8(classes)
"""


@pytest.fixture
def words(tmp_path):
    """A text of five symbols, 9,000 of training."""
    file = tmp_path / "words.txt"
    file.write_text("abcad" * 2000)
    return f"text:{file}"


@pytest.mark.slow
def test_a_text_goes_through_every_command(desk, words, capsys, short):
    models = ["lstm_8", "hyper_lstm_4_m6"]
    command = ["reproduce", *models, "--dataset", words, "--recipe", "text_demo"]
    assert desk.code_of(*command) == 0
    out = capsys.readouterr().out
    assert "test bits per character" in out and "characters/s: training step" in out
    assert " %" not in out
    runs = load_runs(desk.folder / "results", "words")
    assert set(runs.task) == {"text"} and set(runs.status) == {"ok"}
    assert runs.test_error.between(0, 3).all()
    record = json.loads((desk.folder / "results" / runs.path[0]).read_text())
    assert record["flip"] is None and record["dataset_fingerprint"]["num_classes"] == 4
    assert record["recipe"]["sequences"] == {"clip": 1.0, "keep": 0.9, "length": 20}
    page = (desk.folder / "reports" / "words" / "README.md").read_text()
    assert "test bits per character" in page and "%" not in page.replace("95 %", "").replace(
        "within 3 %", ""
    )
    assert desk.code_of(*command) == 0 and "done already" in capsys.readouterr().out
    checkpoint = desk.folder / "checkpoints" / "words" / "lstm_8" / "text_demo-seed0.ckpt"
    assert desk.code_of("evaluate", checkpoint, "--dataset", words) == 0
    told = capsys.readouterr().out
    (error,) = runs.test_error[runs.model == "lstm_8"]
    assert f"test bits per character {error:.3f}" in told
    assert desk.code_of("export", checkpoint, desk.folder / "out.safetensors") == 0
    assert desk.code_of("status", *models, "--dataset", words, "--recipe", "text_demo") == 0
    out = capsys.readouterr().out
    assert f"{error:.3f}" in out and "bits per character" in out and "error" not in out
    assert desk.code_of("verify") == 0


def test_a_checkpoint_reads_other_texts_by_its_own_symbols(desk, words, tmp_path, capsys):
    assert desk.code_of(*TRAIN, "--dataset", words) == 0
    checkpoint = desk.folder / "checkpoints" / "words" / "lstm_8" / "text_demo-seed0.ckpt"

    def told_of(train, test, code=0):
        for part, content in (("train", train), ("valid", test), ("test", test)):
            (tmp_path / "other").mkdir(exist_ok=True)
            (tmp_path / "other" / f"{part}.txt").write_text(content)
        capsys.readouterr()
        dataset = f"text:{tmp_path / 'other'}"
        assert desk.code_of("evaluate", checkpoint, "--dataset", dataset) == code
        out = capsys.readouterr()
        return out.err if code else out.out

    test = "abcad" * 200
    same = told_of("abcd", test)
    # By their own numbers b would be another symbol, and one would be too many.
    assert told_of("abcde", test) == same
    assert told_of("dcabZ", test) == same
    assert "symbols in test that the model never saw: 'x', 'y'" in told_of("abcdxy", "axy", code=2)
    assert desk.code_of("export", checkpoint, tmp_path / "out.safetensors") == 0
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert json.loads(file.metadata()["outputs"]) == list("abcd")


def test_a_cell_from_a_users_file(desk, words, own_models, capsys):
    plugin = desk.folder / "cells.py"
    plugin.write_text(CELLS)
    command = ["--dataset", words, "--recipe", "text_demo", "--plugin", plugin]
    assert code_of("check", "elman_8", "--plugin", plugin) == 0
    assert desk.code_of("train", "elman_8", *command) == 0
    record = store.load(next((desk.folder / "results").glob("runs/words/elman_8/*.json")))
    assert desk.code_of("report", "--dataset", words) == 0
    symbols = 4
    assert record["params_by_component"]["recurrent"] == 8 * symbols + 8 * 8 + 8
    assert record["macs_per_image"] == 8 * 8 + 8 * symbols and record["untrained"] == []
    capsys.readouterr()
    assert desk.code_of("train", "no_network", *command) == 2
    assert "Linear is no RecurrentNetwork, which reads text" in capsys.readouterr().err
    assert desk.code_of("train", "of_images", "--plugin", plugin) == 2
    told = "a RecurrentNetwork reads text; register it with task='text'"
    assert capsys.readouterr().err == f"error: model 'of_images': {told}\n"
    assert desk.code_of("train", "of_images", *command) == 2
    assert "or its plugin registers it with task='text'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (TRAIN, "its data sets are pydoc, text:PATH"),
        (
            ["train", "wide_resnet10_1", "--dataset", "pydoc"],
            "is of images, data set pydoc of text",
        ),
        ([*TRAIN[:2], "--dataset", "pydoc", "--recipe", "demo"], "recipe 'demo' is of images"),
        (
            ["train", "wide_resnet10_1", "--recipe", "text_demo"],
            "digits of images, whose default is demo",
        ),
        ([*TRAIN, "--dataset", "pydoc", "--flip"], "flip and crop_padding are of images"),
        ([*TRAIN, "--dataset", "text:/nowhere.txt"], "No such file"),
        ([*TRAIN, "--dataset", "text:"], "allowed are pydoc, text:PATH"),
        (["reproduce", "--task", "text", "--dataset", "digits"], "--task text is not that of"),
        (["throughput", "lstm_8", "wide_resnet10_1"], "are not timed together"),
        (["train", "lstm_8_z5", "--dataset", "pydoc"], "_z and _m are of a hyper cell"),
    ],
)
def test_what_is_not_allowed_is_one_line(desk, command, told, capsys):
    assert desk.code_of(*command) == 2
    err = capsys.readouterr().err
    assert told in err and len(err.strip().splitlines()) == 1


def test_a_text_that_is_too_short_is_refused(desk, tmp_path, capsys):
    file = tmp_path / "short.txt"
    file.write_text("ab" * 100)
    assert desk.code_of(*TRAIN, "--dataset", f"text:{file}") == 2
    assert (
        "batch size 16 with length 20 of recipe text_demo is not allowed; short has 180"
        in capsys.readouterr().err
    )


def test_reproduce_of_text_names_the_pair_and_the_papers_plain_row(desk, capsys):
    assert desk.code_of("reproduce", "--task", "text", "--dry-run") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[:3]] == [
        "lstm_256",
        "lstm_347",
        "hyper_lstm_256",
    ]
    assert "3 runs: 0 done already, 3 to train" in out


def test_tuning_tries_nothing_twice(desk, words, capsys):
    command = ["tune", "lstm_8", "--dataset", words, "--recipe", "text_demo", "--dry-run"]
    assert desk.code_of(*command) == 0
    assert ".l2_" not in capsys.readouterr().out  # there is none that a factor could change
    assert desk.code_of(*command, "--trials", "8") == 2
    assert "the grid has 1 to 7" in capsys.readouterr().err


def test_text_is_not_kept_as_shared_weights(desk, words, capsys):
    assert desk.code_of(*TRAIN, "--dataset", words) == 0
    checkpoint = desk.folder / "checkpoints" / "words" / "lstm_8" / "text_demo-seed0.ckpt"
    for dataset in (["--dataset", words], []):
        assert desk.code_of("export", checkpoint, *dataset) == 2
        assert "only models of images are kept there" in capsys.readouterr().err


def test_help_names_texts(capsys):
    assert code_of("train", "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "text:PATH" in out and "pydoc" in out and "text_epochs<N>" in out
