"""10,000 mutated files: each gives a clear error or a correct result.

No traceback, no hang, no wrong number, no code run.
"""

import collections
import contextlib
import copy
import dataclasses
import gzip
import hashlib
import io
import json
import random
import re
import shutil
import signal
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.data.archives import load_archive
from benchmarks.data.splits import DataError
from benchmarks.records import store
from benchmarks.records.frame import load_runs
from benchmarks.records.store import RecordError
from benchmarks.report import pages
from benchmarks.runs import verify
from benchmarks.training import recipes
from benchmarks.training.checkpoints import CheckpointError, load_checkpoint
from benchmarks.training.loop import Settings, Trainer
from benchmarks.training.recipes import RecipeError
from tests.conftest import ROOT, Hostile
from tests.data.test_archives import cifar10_batch, pack, pin

CASES = 2500  # for each of four parsers
TOKENS = (
    b"NaN",
    b"1e999",
    b"-1",
    b"null",
    b"[]",
    b"{}",
    b"9" * 400,
    b"../../x",
    b"<script>alert(1)</script>",
    b"|",
    b"\x00",
    b"\xff\xfe",
    b"true",
    b'""',
    b"[" * 3000,
    b"`",
    b"0x",
    b"1e-400",
)
VALUES = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    "",
    "../../x",
    "<script>",
    "a|b",
    [],
    {},
    [[]],
    {"a": None},
    0.5,
    "1",
    101,
)


class Watch:
    """A case that computes for 30 s is a hang: processor time, which no busy machine can stretch.

    One that waits without computing meets the limit of pytest-timeout.
    """

    def __enter__(self):
        signal.signal(signal.SIGPROF, self.late)
        signal.setitimer(signal.ITIMER_PROF, 30)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_PROF, 0)

    @staticmethod
    def late(*_):
        raise AssertionError("a parser hangs")


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at, kind = chance.randrange(len(data) + 1), chance.randrange(6)
        end = min(len(data), at + chance.randrange(1, 40))
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = chance.choice(TOKENS)
        elif kind == 3:
            data[at:end] = chance.choice(TOKENS)
        elif kind == 4:
            data[at:at] = data[at:end]
        elif kind == 5 and chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def mutated_value(value: object, chance: random.Random) -> object:
    """The JSON value with one to three of its places replaced, removed or added."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        holder = value
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.7:
                holder = holder[key]
                continue
            kind = chance.randrange(5)
            if kind == 0:
                del holder[key]
            elif kind == 1 and isinstance(holder, dict):
                holder[chance.choice(("extra", "__class__", "../x"))] = chance.choice(VALUES)
            elif kind == 2 and type(holder[key]) in (int, float):
                holder[key] = holder[key] * chance.choice((-1, 0, 2, 1e300))
            else:
                holder[key] = chance.choice(VALUES)
            break
    return value


def fuzz(name, one, cases=CASES):
    """Run the cases of a parser and print the count of each outcome.

    `one(number, chance)` gives "accepted" or "refused".
    """
    outcomes = collections.Counter()
    for number in range(cases):
        with Watch():
            outcomes[one(number, random.Random(f"{name} {number}"))] += 1
    print(f"{name}: {dict(outcomes)}")
    assert set(outcomes) == {"accepted", "refused"} and sum(outcomes.values()) == cases


def is_one_line(error: Exception) -> bool:
    return 0 < len(str(error)) < 2000 and len(" ".join(str(error).split())) > 0


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_records(tmp_path, monkeypatch, quarter):
    """Half bytes, half values with the recipe's hash recomputed.

    What is accepted is shown as it is, the rest is listed in one line.
    """
    monkeypatch.setattr(pages, "_draw", lambda *arguments: (None, {}))
    path = tmp_path / "runs" / "cifar10-jpeg" / "hyper_resnet16_1" / "study5-seed0.json"
    path.parent.mkdir(parents=True)
    good = json.loads((ROOT / "results" / path.relative_to(tmp_path)).read_text())

    def one(number, chance):
        if number % 2:
            content = mutated_bytes(json.dumps(good).encode(), chance)
        else:
            value = mutated_value(good, chance)
            with contextlib.suppress(RecipeError, KeyError, TypeError, AttributeError):
                value["recipe"]["hash"] = recipes.from_record(value["recipe"]).hash
            content = json.dumps(value).encode()
        path.write_bytes(content)
        runs = load_runs(tmp_path)
        if runs.empty:
            (problem,) = runs.attrs["problems"]
            assert is_one_line(problem) and path.name in problem and str(tmp_path) not in problem
            return "refused"
        record = store.load(path)
        list(verify.record_problems(record, path, tmp_path))
        if number % 20 < 2:  # a page takes a fifth of a second
            text = shown(tmp_path)
            if record["status"] == "ok":
                assert f"{record['test_error']:.2f} %" in text and f"{record['params']:,}" in text
        return "accepted"

    fuzz(f"records, quarter {quarter},", one, CASES // 4)


def shown(results):
    """What the report says of one record; nothing in it is markup or a cell of its own."""
    (page,) = pages.build_report(results, results / "reports", "cifar10-jpeg")
    text = page.read_text()
    assert not re.search(r"(?<!\\)<script", text)
    for block in text.split("\n\n"):
        if block.startswith("|"):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1
    for table in (page.parent / "tables").glob("*.csv"):
        numbers = pd.read_csv(table).select_dtypes("number")
        assert not np.isinf(numbers.to_numpy(float)).any()
    (models,) = (page.parent / "tables").glob("*-models.csv")
    errors = pd.read_csv(models)["mean"].dropna()
    assert len(errors) <= 1 and errors.between(0, 100).all()
    return text


@pytest.mark.slow
def test_checkpoints(tmp_path, digits, tiny):
    """Half with a valid hash, so that torch's reader and the loading into a model are reached."""
    path, hostile = tmp_path / "run.ckpt", tmp_path / "payload"

    def trainer():
        model = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.AdaptiveAvgPool1d(4), torch.nn.Linear(4, 10)
        )
        return Trainer(model, digits, tiny, Settings(torch.device("cpu")), 0, {"model": "m"})

    made = trainer()
    made.step(next(made.learning.epoch(0, 0, 0)), 0)
    made.save(path)
    good, target = path.read_bytes(), trainer()

    def one(number, chance):
        if number % 2:
            content = mutated_bytes(good, chance) if number % 50 > 1 else good
        else:
            data = mutated_bytes(good[32:], chance)
            content = hashlib.sha256(data).digest() + data
        path.write_bytes(content)
        try:
            state = load_checkpoint(path)
            target.restore(state)
        except CheckpointError as error:
            assert is_one_line(error)
            return "refused"
        assert number % 2 == 0 or content == good
        return "accepted"

    fuzz("checkpoints", one)
    buffer = io.BytesIO()
    torch.save(
        {
            "version": 3,
            "identity": {},
            "model": {"x": Hostile(hostile)},
            "optimizers": [],
            "history": {},
        },
        buffer,
    )
    path.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)
    assert not hostile.exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)  # the payload itself works
    assert hostile.exists()


TOML = """name = "mine"
base = "epochs10"
epochs = 30
batch_size = 64
precision = "bf16"
[generated]
learning_rate = 0.006
betas = [0.9, 0.99]
schedule = "steps"
milestones = [[100, 0.001], [200, 0.0001]]
[stored]
l2 = 5e-4
"""


@pytest.mark.slow
def test_recipes(tmp_path):
    """A recipe has no hash to check: what is accepted says in its own hash what it is."""
    path = tmp_path / "mine.toml"

    def one(number, chance):
        path.write_bytes(mutated_bytes(TOML.encode(), chance) if number % 50 else TOML.encode())
        try:
            recipe = recipes.load(str(path))
        except RecipeError as error:
            assert is_one_line(error)
            return "refused"
        written = tomllib.loads(path.read_text())
        assert recipe.name == written["name"] and recipe.epochs == written.get("epochs", 10)
        assert recipes.from_record(recipe.as_dict()).hash == recipe.hash
        return "accepted"

    fuzz("recipes", one)


@pytest.mark.slow
def test_archives(tmp_path):
    """Half with hashes recomputed: of the archive, or of a batch mutated before it was packed."""
    batches = {"data_batch_1": cifar10_batch(20, 1), "test_batch": cifar10_batch(10, 3)}
    sound = tmp_path / "sound"
    sound.mkdir()
    path, archive = pack(sound, batches)
    good = path.read_bytes()
    original = load_archive(archive, sound)

    def one(number, chance):
        place = tmp_path / f"case{number}"
        place.mkdir()
        path = place / archive.tar.name
        chosen = archive
        if number % 4 == 0:  # the tar, packed anew
            path.write_bytes(gzip.compress(mutated_bytes(gzip.decompress(good), chance), 1))
            chosen = repinned(path, archive)
        elif number % 4 == 2:  # a batch, packed anew with its own hash
            _, chosen = pack(
                place, batches | {"data_batch_1": mutated_bytes(batches["data_batch_1"], chance)}
            )
        else:
            path.write_bytes(mutated_bytes(good, chance) if number % 50 > 1 else good)
        try:
            data = load_archive(chosen, place)
        except DataError as error:
            assert is_one_line(error)
            return "refused"
        finally:
            shutil.rmtree(place)
            assert {p.name for p in tmp_path.iterdir()} == {"sound"}
        if number % 4 != 2:
            assert data.fingerprint == original.fingerprint
        assert (
            len(data.train) + len(data.validation) <= 20 + 10
            and data.train.images.dtype == torch.uint8
        )
        return "accepted"

    fuzz("archives", one)


def repinned(path, archive):
    """The archive with the hashes of this tar."""
    return dataclasses.replace(archive, tar=pin(path.name, path.read_bytes()))


@pytest.mark.parametrize("name", ["../../x", "<script>alert(1)</script>", "a|b", "..", ""])
def test_hostile_names_reach_neither_paths_nor_markup(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pages, "_draw", lambda *arguments: (None, {}))
    record = json.loads(
        (ROOT / "results/runs/cifar10-jpeg/hyper_resnet16_1/study5-seed0.json").read_text()
    )
    with pytest.raises(RecordError):
        store.save(tmp_path / "results", record | {"model": name})
    with pytest.raises(RecordError):
        store.throughput_path(tmp_path, "device", name)
    assert not list(tmp_path.rglob("*.json"))
    # As if somebody had put it there.
    place = tmp_path / "results" / "runs" / "made" / "m" / "r-seed0.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(record | {"model": name, "pair": name, "dataset": name}))
    header = "model,registry_name,paper_row,family,params,test_error,macs,selection,source\n"
    row = f'm,hyper_resnet16_1,,x,1,2.0,,x,"{name} | <b>"\n'
    published = tmp_path / "results" / "published.csv"
    published.write_text(header + row, encoding="utf-8")
    monkeypatch.setattr(store, "PUBLISHED", published)
    for dataset in ("made", "cifar10"):
        copied = tmp_path / "results" / "runs" / dataset / "m" / "r-seed0.json"
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(place.read_bytes())
        store.save(tmp_path / "results", record | {"dataset": dataset})
        (page,) = pages.build_report(tmp_path / "results", tmp_path / "reports", dataset)
        text = page.read_text() + (page.parent / "method.md").read_text()
        assert "m/r-seed0.json" in text and "26.13 %" in text
        assert not re.search(r"(?<!\\)<(script|b>)", text) and "a|b" not in text
    assert {path.name for path in tmp_path.iterdir()} == {"results", "reports"}
