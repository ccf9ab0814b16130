"""The cases of docs/reliability.md, with real processes, signals and files."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import run_bench
from benchmarks.records import provenance, store
from benchmarks.system import files
from benchmarks.training.checkpoints import load_checkpoint, previous
from tests.conftest import ROOT
from tests.records.test_store import RECORD

RECIPE = 'name = "drill"\nbase = "smoke"\nepochs = 5\nbatch_size = 128\n'
ONE_EPOCH = RECIPE.replace("epochs = 5", "epochs = 1")
PLUGIN = """
import time
import torch
from torch import nn
from models.registry import register_model


class Hungry(nn.Linear):
    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            torch.empty(2**52)
        return super().forward(x.flatten(1))


class Slow(Hungry):
    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            time.sleep(60)
        return nn.Linear.forward(self, x.flatten(1))


@register_model("hungry")
def hungry(num_classes):
    return Hungry(3072, num_classes)


@register_model("slow")
def slow(num_classes):
    return Slow(3072, num_classes)
"""


class Drill:
    """A folder with its own results and checkpoints, and processes that train there."""

    def __init__(self, folder: Path, root: Path = ROOT):
        self.folder, self.root = folder, root
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "drill.toml").write_text(RECIPE)
        (folder / "plugin.py").write_text(PLUGIN)

    def command(self, *models, extra=()):
        places = (
            "--results-dir",
            "results",
            "--reports-dir",
            "reports",
            "--checkpoint-dir",
            "checkpoints",
            "--data-dir",
            "data",
        )
        chosen = ("--recipe", "drill.toml", "--threads", "1", "--plugin", "plugin.py")
        return [
            sys.executable,
            str(self.root / "run_bench.py"),
            "train",
            *models,
            *chosen,
            *places,
            *extra,
        ]

    def start(self, *models, extra=(), **options):
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder.parent / "inductor"),
        }
        return subprocess.Popen(
            self.command(*models, extra=extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment,
            **options,
        )

    def run(self, *models, **options):
        process = self.start(*models, **options)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def record(self, model):
        return json.loads(
            (self.folder / "results" / "runs" / "digits" / model / "drill-seed0.json").read_text()
        )

    def checkpoint(self, model):
        return self.folder / "checkpoints" / "digits" / model / "drill-seed0.ckpt"

    def result(self, model):
        """What must be the same however often a run was stopped: its record and weights, without times."""
        record, state = self.record(model), load_checkpoint(self.checkpoint(model))
        histories = [
            [{k: v for k, v in entry.items() if k != "seconds"} for entry in h]
            for h in (record["history"], state["history"]["epochs"])
        ]
        kept = {k: v for k, v in record.items() if k not in ("history", "train_images_per_s")}
        return kept, histories, state["model"]

    def forget(self):
        for name in ("results", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def await_line(process, part):
    for line in process.stdout:
        if part in line:
            return
    raise AssertionError(f"no line with {part!r}: {process.stderr.read()}")


def same(a, b):
    return a[:2] == b[:2] and all(
        torch.equal(x, y) for x, y in zip(a[2].values(), b[2].values(), strict=True)
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Results of runs that nobody stopped, by model and compile mode; made once, two at a time."""
    folder, made = tmp_path_factory.mktemp("reference"), {}

    def make(model, mode):
        drill = Drill(folder / f"{model}-{mode}")
        code, _, err = drill.run(model, extra=("--compile", mode))
        assert code == 0, err
        return drill.result(model)

    def get(*wanted):
        missing = [key for key in wanted if key not in made]
        with ThreadPoolExecutor(2) as pool:
            made.update(zip(missing, pool.map(lambda key: make(*key), missing), strict=True))
        return made

    get.folder = folder
    return get


def killed_often(drill, model, mode, kills, expected):
    """Kill a run at random moments, `kills` times in all; each that ends is compared and begun anew. Gives the ended ones."""
    chance, ended = random.Random(f"{model} {mode}"), 0
    while kills or not ended:
        process = drill.start(model, extra=("--compile", mode))
        await_line(process, f"{model} on digits")
        if kills:
            try:
                process.wait(chance.uniform(0.0, 3.5))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills -= 1
        process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL)
        if process.returncode == 0:
            assert same(drill.result(model), expected)
            drill.forget()
            ended += 1
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("mode, kills", [("off", 8), ("default", 2)])
def test_killed_runs_end_as_if_nothing_had_happened(reference, mode, kills):
    """Case 1: 20 kills in all, of a plain and a hyper run at once."""
    models = ("wide_resnet10_1", "hyper_resnet10_1")
    expected = reference(*((model, mode) for model in models))
    drills = [Drill(reference.folder / f"killed-{model}-{mode}") for model in models]
    with ThreadPoolExecutor(2) as pool:
        ended = list(
            pool.map(
                lambda d, m: killed_often(d, m, mode, kills, expected[m, mode]), drills, models
            )
        )
    assert all(ended)


def test_killed_between_writing_and_renaming(tmp_path):
    """Case 2: the old file is there, and what was half done goes when the next run holds the lock."""
    path = tmp_path / "x.ckpt"
    files.write_atomically(path, "old")
    code = (
        "import os, sys; from pathlib import Path; from benchmarks.system import files\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\nfiles.write_atomically(Path(sys.argv[1]), 'new')"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT).returncode
        == -signal.SIGKILL
    )
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    files.remove_leftovers(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(reference, tmp_path):
    """Cases 3 and 4: said, recorded, and the result is the same. Truncated and empty ones: tests/training/test_checkpoints.py."""
    model, drill = "hyper_resnet10_1", Drill(tmp_path)
    expected = reference((model, "off"))[model, "off"]
    process = drill.start(model)
    await_line(process, "epoch 2/5")
    process.kill()
    process.communicate()
    path = drill.checkpoint(model)
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    assert previous(path).exists()
    code, _, err = drill.run(model)
    assert code == 0 and f"checkpoint checkpoints/digits/{model}/drill-seed0.ckpt is damaged" in err
    record, histories, weights = drill.result(model)
    (resumed,) = record.pop("resumed")
    assert (
        resumed["note"].startswith("checkpoint drill-seed0.ckpt is damaged")
        and "the one before it was used" in resumed["note"]
    )
    assert resumed["differing"] == {}
    assert same((record | {"resumed": []}, histories, weights), expected)


def test_a_full_disk(tmp_path):
    """Case 5: a limit on the size of files stands in for the disk; the checkpoint that is there stays as it is."""
    model, drill = "wide_resnet10_1", Drill(tmp_path)
    (tmp_path / "drill.toml").write_text(ONE_EPOCH)
    assert drill.run(model, extra=("--time-limit", "0.001"))[0] == 75
    before = drill.checkpoint(model).read_bytes()
    limit = len(before) // 2
    code, out, err = drill.run(
        model, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert code == 1 and "File too large" in out + err and "Traceback" not in err
    assert drill.checkpoint(model).read_bytes() == before
    assert (
        drill.record(model)["status"] == "failed"
        and "File too large" in drill.record(model)["reason"]
    )
    assert [
        p.name for p in drill.checkpoint(model).parent.iterdir() if p.name.startswith(".")
    ] == []
    code, out, err = drill.run(
        model, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    )
    assert code == 1 and err.strip().count("\n") == 0 and "File too large" in err


def test_two_processes_at_one_run(tmp_path):
    """Case 6: one works, here at a step of a minute; the other says so, leaves it and goes on with the rest."""
    drill = Drill(tmp_path)
    (tmp_path / "drill.toml").write_text(ONE_EPOCH)
    first = drill.start("slow")
    await_line(first, "slow on digits")
    code, out, err = drill.run("slow", "wide_resnet10_1")
    assert code == 75 and "another process is at slow on digits, drill, seed 0; left to it" in err
    assert "wide_resnet10_1" in out and drill.record("wide_resnet10_1")["status"] == "ok"
    assert first.poll() is None
    first.kill()
    first.communicate()


def test_eight_processes_write_records(tmp_path):
    """Case 7."""
    code = (
        "import json, sys; from pathlib import Path; from benchmarks.records import store; record = json.loads(sys.argv[2])\n"
        "for seed in range(int(sys.argv[3]), int(sys.argv[3]) + 10): store.save(Path(sys.argv[1]), record | {'seed': seed})"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), json.dumps(RECORD), str(10 * n)], cwd=ROOT
        )
        for n in range(8)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    found, problems = store.load_all(tmp_path, "d")
    assert sorted(r["seed"] for r in found) == list(range(80)) and problems == []
    assert not list(tmp_path.rglob(".*"))


def test_a_loss_that_is_not_finite(tmp_path):
    """Case 9: no NaN in the record, counted in the table, not in the mean."""
    drill = Drill(tmp_path)
    (tmp_path / "drill.toml").write_text(RECIPE + "[stored]\nlearning_rate = 1e30\n")
    assert drill.run("wide_resnet10_1")[0] == 0
    record = drill.record("wide_resnet10_1")
    assert (
        record["status"] == "diverged"
        and record["test_error"] is None
        and "not finite" in record["reason"]
    )
    assert (
        run_bench.main(
            [
                "report",
                "--results-dir",
                f"{tmp_path}/results",
                "--reports-dir",
                f"{tmp_path}/reports",
            ]
        )
        == 0
    )
    assert "1 diverged" in (tmp_path / "reports" / "digits" / "README.md").read_text()


def test_out_of_memory_leaves_the_rest_of_the_matrix(tmp_path):
    """Case 10: 16 PiB are refused by any machine."""
    drill = Drill(tmp_path)
    (tmp_path / "drill.toml").write_text(ONE_EPOCH)
    code, _, err = drill.run("hungry", "wide_resnet10_1")
    assert code == 1 and "Traceback" not in err
    record = drill.record("hungry")
    assert record["status"] == "out_of_memory" and record["recipe"]["batch_size"] == 128
    assert drill.record("wide_resnet10_1")["status"] == "ok"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_with_a_checkpoint_of_the_step(reference, tmp_path, number):
    """Case 11: nothing of the epoch is lost, and the run that goes on ends as if nothing had happened."""
    model, drill = "wide_resnet10_1", Drill(tmp_path)
    process = drill.start(model)
    await_line(process, "epoch 2/5")
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in err
    assert f"interrupted: stopped by {number.name} in epoch" in out
    assert drill.record(model)["status"] == "interrupted"
    assert drill.run(model)[0] == 0
    assert same(drill.result(model), reference((model, "off"))[model, "off"])


def test_a_second_signal_leaves_at_once(tmp_path):
    drill = Drill(tmp_path)
    process = drill.start("slow")
    await_line(process, "slow on digits")
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None  # in the middle of a step of a minute
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    process.communicate()


def test_resume_with_other_code_is_refused_unless_allowed(tmp_path):
    """Case 13: a copy of the code in which a comment is added; the record and the report say so."""
    root = tmp_path / "copy"
    root.mkdir()
    for name in provenance.SOURCES:
        place = ROOT / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, root / name)
    shutil.copytree(
        ROOT / "results", root / "results", ignore=shutil.ignore_patterns("runs", "throughput")
    )
    model, drill = "wide_resnet10_1", Drill(tmp_path / "drill", root)
    (drill.folder / "drill.toml").write_text(ONE_EPOCH)
    assert drill.run(model, extra=("--time-limit", "0.001"))[0] == 75
    with (root / "models" / "ledger.py").open("a") as file:
        file.write("# changed\n")
    code, _, err = drill.run(model)
    assert (
        code == 2
        and "source_sha256" in err
        and "--resume-changed" in err
        and err.strip().count("\n") == 0
    )
    assert drill.record(model)["status"] == "interrupted"
    code, _, err = drill.run(model, extra=("--resume-changed",))
    assert code == 0 and "source_sha256 changed since" in err
    (resumed,) = drill.record(model)["resumed"]
    assert list(resumed["differing"]) == ["source_sha256"] and resumed["note"] is None
    places = (
        "--results-dir",
        str(drill.folder / "results"),
        "--reports-dir",
        str(drill.folder / "reports"),
    )
    assert run_bench.main(["report", *places]) == 0
    assert "‡ went on" in (drill.folder / "reports" / "digits" / "README.md").read_text()


@pytest.fixture
def verified(tmp_path, capsys):
    """A small run, and what `verify` says of it."""
    drill = Drill(tmp_path)
    (tmp_path / "drill.toml").write_text(ONE_EPOCH)
    assert drill.run("hyper_resnet10_1")[0] == 0

    def verify(*runs):
        code = run_bench.main(
            [
                "verify",
                *runs,
                "--results-dir",
                str(tmp_path / "results"),
                "--checkpoint-dir",
                str(tmp_path / "checkpoints"),
            ]
        )
        return code, "".join(capsys.readouterr())

    return drill, verify


def test_verify(verified):
    drill, verify = verified
    model = "hyper_resnet10_1"
    assert verify() == (0, "1 records, 1 checkpoints: nothing wrong\n")
    assert verify(f"digits/{model}")[0] == 0
    code, text = verify("digits/hyper_resnet10_2")
    assert code == 2 and "nearest" in text
    path = drill.folder / "results" / "runs" / "digits" / model / "drill-seed0.json"
    good = json.loads(path.read_text())
    parts = good["params_by_component"]
    changes = {
        "recipe hash": {"recipe": good["recipe"] | {"batch_size": 64}},
        "the registry has": {
            "params": good["params"] + 1,
            "params_by_component": parts | {"stem": parts["stem"] + 1},
        },
        "MACs": {"generator_macs": 1},
        "its place is": {"seed": 1},
        "its history is not its record's": {"history": [good["history"][0] | {"train_loss": 0.5}]},
        "source_sha256": {"code": good["code"] | {"source_sha256": "e" * 64}},
        "pair": {"pair": None},
        "must be": {"status": "splendid"},
    }
    for said, change in changes.items():
        path.write_text(json.dumps(good | change))
        code, text = verify()
        assert code == 1 and said in text, said
    for odd in ("[]", "{}", '{"recipe": null}'):
        path.write_text(odd)
        assert verify()[0] == 1
    path.write_text(json.dumps(good))
    content = bytearray(drill.checkpoint(model).read_bytes())
    content[-1] ^= 1
    drill.checkpoint(model).write_bytes(content)
    code, text = verify()
    assert code == 1 and "damaged" in text
