"""The cases of docs/reliability.md, with real processes, signals and files where they matter."""

import contextlib
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

from benchmarks.cli.main import main
from benchmarks.records import provenance, store
from benchmarks.system import files
from benchmarks.training.checkpoints import load_checkpoint, previous
from models import registry
from tests.conftest import ROOT
from tests.records.test_store import RECORD

RECIPE = 'name = "drill"\nbase = "demo"\nepochs = 3\nbatch_size = 128\n'
ONE_EPOCH = RECIPE.replace("epochs = 3", "epochs = 1")
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
            print("in a step", flush=True)
            time.sleep(3600)
        return nn.Linear.forward(self, x.flatten(1))


@register_model("hungry")
def hungry(num_classes):
    return Hungry(3072, num_classes)


@register_model("slow")
def slow(num_classes):
    return Slow(3072, num_classes)
"""


class Drill:
    """A folder with its own results and checkpoints, and commands that train there."""

    def __init__(self, folder: Path, root: Path = ROOT, recipe: str = RECIPE):
        self.folder, self.root, self.dataset = folder, root, "digits"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "drill.toml").write_text(recipe)
        (folder / "plugin.py").write_text(PLUGIN)

    def folders(self, *names):
        """The options of folders, all of them or those of some names."""
        options = []
        for name in names or ("results", "reports", "checkpoint", "data"):
            place = "checkpoints" if name == "checkpoint" else name
            options += [f"--{name}-dir", str(self.folder / place)]
        return options

    def arguments(self, *models, extra=()):
        chosen = ("--recipe", str(self.folder / "drill.toml"))
        plugin = ("--plugin", str(self.folder / "plugin.py"))
        return ["train", *models, *chosen, *plugin, *self.folders(), *extra]

    def start(self, *models, extra=(), **options):
        """A process that trains, on one thread."""
        environment = os.environ | {
            "PYTHONPATH": str(self.root),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder.parent / "inductor"),
        }
        arguments = self.arguments(*models, extra=("--threads", "1", *extra))
        return subprocess.Popen(
            [sys.executable, str(self.root / "run_bench.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment,
            **options,
        )

    def run(self, *models, **options):
        """The exit code and output of a process that trains."""
        process = self.start(*models, **options)
        out, err = process.communicate()
        return process.returncode, out, err

    def main(self, *models, extra=()):
        """The exit code of the same command in this process, on one thread too."""
        threads = torch.get_num_threads()
        try:
            return main(self.arguments(*models, extra=("--threads", "1", *extra)))
        finally:
            torch.set_num_threads(threads)

    def report(self):
        """The report's page."""
        assert main(["report", *self.folders()]) == 0
        return (self.folder / "reports" / "digits" / "README.md").read_text()

    def record_path(self, model):
        return self.folder / "results" / "runs" / self.dataset / model / "drill-seed0.json"

    def record(self, model):
        return json.loads(self.record_path(model).read_text())

    def checkpoint(self, model):
        return self.folder / "checkpoints" / self.dataset / model / "drill-seed0.ckpt"

    def result(self, model):
        """What must not depend on how often a run was stopped: its record and weights, no times."""
        record, state = self.record(model), load_checkpoint(self.checkpoint(model))
        histories = [
            without_seconds(record["history"]),
            without_seconds(state["history"]["epochs"]),
        ]
        kept = {k: v for k, v in record.items() if k not in ("history", "train_images_per_s")}
        return kept, histories, state["model"]

    def forget(self):
        for name in ("results", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def without_seconds(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


def await_line(process, part):
    for line in process.stdout:
        if part in line:
            return
    raise AssertionError(f"no line with {part!r}: {process.stderr.read()}")


def same(a, b):
    weights = zip(a[2].values(), b[2].values(), strict=True)
    return a[:2] == b[:2] and all(torch.equal(x, y) for x, y in weights)


@pytest.fixture
def own_models(monkeypatch, own_models):
    """Each command of this process registers the plugin's models anew, and none is left."""
    load = registry.load_plugin

    def load_afresh(path):
        registry.PLUGIN_MODELS.clear()
        return load(path)

    monkeypatch.setattr(registry, "load_plugin", load_afresh)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Results of runs that nobody stopped, by model and compile mode; made once, two at a time."""
    folder = tmp_path_factory.mktemp("reference")
    made: dict[tuple[str, str], tuple] = {}

    def make(key):
        model, mode = key
        drill = Drill(folder / f"{model}-{mode}")
        code, _, err = drill.run(model, extra=("--compile", mode))
        assert code == 0, err
        return drill.result(model)

    def get(*wanted):
        missing = [key for key in wanted if key not in made]
        with ThreadPoolExecutor(2) as pool:
            made.update(zip(missing, pool.map(make, missing), strict=True))
        return made

    get.folder = folder
    return get


def killed_often(drill, model, mode, kills, expected):
    """Kill a run at random moments, `kills` times; gives how many runs ended.

    A run that ends is compared with what is expected, and made again.
    """
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
        process.communicate()
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

    def ended(model):
        drill = Drill(reference.folder / f"killed-{model}-{mode}")
        return killed_often(drill, model, mode, kills, expected[model, mode])

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(ended, models))


TEXT_RECIPE = """
name = "drill"
base = "text_demo"
epochs = 60
stored = { steps = 720, learning_rate = 0.01 }
generated = { steps = 720, learning_rate = 0.01 }
"""


@pytest.mark.slow
def test_killed_runs_on_text_end_as_if_nothing_had_happened(tmp_path):
    """20 kills: the carried state and the masks of dropout are those of a run in one piece."""
    file = tmp_path / "words.txt"
    file.write_text("".join("abcdefgh"[(n * n // 7) % 8] for n in range(5000)))
    chosen = ("--dataset", f"text:{file}")
    results = []
    for folder, kills in (("whole", 0), ("killed", 20)):
        drill = Drill(tmp_path / folder, recipe=TEXT_RECIPE)
        drill.dataset = "words"
        killed_at_times(drill, "hyper_lstm_8_m6", chosen, kills)
        results.append(drill.result("hyper_lstm_8_m6"))
    assert same(*results)


def killed_at_times(drill, model, extra, kills):
    """Make a run to its end, killed so many times before it may end."""
    chance = random.Random(model)
    while True:
        process = drill.start(model, extra=extra)
        await_line(process, f"{model} on words")
        if kills:
            await_line(process, "epoch ")
            time.sleep(chance.uniform(0.0, 0.1))
            process.send_signal(signal.SIGKILL)
            kills -= 1
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        if process.returncode == 0:
            assert not kills
            return


def test_killed_between_writing_and_renaming(tmp_path):
    """Case 2: the old file is there; what was left is removed when the next run has the lock."""
    path = tmp_path / "x.ckpt"
    files.write_atomically(path, "old")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom benchmarks.system import files\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "files.write_atomically(Path(sys.argv[1]), 'new')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    files.remove_leftovers(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(reference, tmp_path):
    """Cases 3 and 4: it is said and recorded, and the result is the same.

    Truncated and empty ones: tests/training/test_checkpoints.py.
    """
    model, drill = "hyper_resnet10_1", Drill(tmp_path)
    expected = reference((model, "off"))[model, "off"]
    process = drill.start(model)
    await_line(process, "epoch 2/3")
    process.kill()
    process.communicate()
    path = drill.checkpoint(model)
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    assert previous(path).exists()
    code, _, err = drill.run(model)
    assert code == 0 and f"checkpoints/digits/{model}/drill-seed0.ckpt is damaged" in err
    record, histories, weights = drill.result(model)
    (resumed,) = record.pop("resumed")
    note = resumed["note"]
    assert note.startswith("checkpoint drill-seed0.ckpt is damaged")
    assert "the one before it was used" in note
    assert resumed["differing"] == {}
    assert same((record | {"resumed": []}, histories, weights), expected)


@contextlib.contextmanager
def full_disk(size):
    """No file of this process may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_a_full_disk(tmp_path, own_models, capsys):
    """Case 5: the checkpoint that is there stays as it is."""
    model, drill = "wide_resnet10_1", Drill(tmp_path, recipe=ONE_EPOCH)
    assert drill.main(model, extra=("--time-limit", "0.001")) == 75
    before = drill.checkpoint(model).read_bytes()
    capsys.readouterr()
    with full_disk(len(before) // 2):
        code = drill.main(model)
    out, err = capsys.readouterr()
    assert code == 1 and "File too large" in out + err and "Traceback" not in err
    assert drill.checkpoint(model).read_bytes() == before
    record = drill.record(model)
    assert record["status"] == "failed" and "File too large" in record["reason"]
    names = [path.name for path in drill.checkpoint(model).parent.iterdir()]
    assert not [name for name in names if name.startswith(".")]
    with full_disk(100):
        code = drill.main(model)
    err = capsys.readouterr().err
    assert code == 1 and err.strip().count("\n") == 0 and "File too large" in err


@pytest.mark.slow
def test_two_processes_at_one_run(tmp_path, own_models, capsys):
    """Case 6: one works, here at a step of an hour; the other says so and makes the rest."""
    drill = Drill(tmp_path, recipe=ONE_EPOCH)
    first = drill.start("slow")
    await_line(first, "in a step")
    code = drill.main("slow", "wide_resnet10_1")
    out, err = capsys.readouterr()
    assert code == 75 and err.endswith(
        "note: another process is at slow on digits, drill, seed 0; left to it\n"
    )
    assert "wide_resnet10_1" in out and drill.record("wide_resnet10_1")["status"] == "ok"
    assert first.poll() is None
    first.kill()
    first.communicate()


def test_eight_processes_write_records(tmp_path):
    """Case 7."""
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom benchmarks.records import store\n"
        "record, first = json.loads(sys.argv[2]), int(sys.argv[3])\n"
        "for seed in range(first, first + 10):\n"
        "    store.save(Path(sys.argv[1]), record | {'seed': seed})\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), json.dumps(RECORD)]
    writers = [subprocess.Popen([*command, str(10 * n)], cwd=ROOT) for n in range(8)]
    assert [writer.wait() for writer in writers] == [0] * 8
    records = [store.load(path) for path in store.run_files(tmp_path)]
    assert sorted(record["seed"] for record in records) == list(range(80))
    assert not list(tmp_path.rglob(".*"))


def test_a_loss_that_is_not_finite(tmp_path, own_models):
    """Case 9: no NaN in the record, counted in the table, not in the mean."""
    drill = Drill(tmp_path, recipe=ONE_EPOCH + "[stored]\nlearning_rate = 1e30\n")
    assert drill.main("wide_resnet10_1") == 0
    record = drill.record("wide_resnet10_1")
    assert record["status"] == "diverged" and record["test_error"] is None
    assert "not finite" in record["reason"]
    assert "1 diverged" in drill.report()


def test_out_of_memory_leaves_the_rest_of_the_matrix(tmp_path, own_models, capsys):
    """Case 10: 16 PiB are refused by any machine."""
    drill = Drill(tmp_path, recipe=ONE_EPOCH)
    code = drill.main("hungry", "wide_resnet10_1")
    assert code == 1 and "Traceback" not in capsys.readouterr().err
    record = drill.record("hungry")
    assert record["status"] == "out_of_memory" and record["recipe"]["batch_size"] == 128
    assert drill.record("wide_resnet10_1")["status"] == "ok"


@pytest.mark.slow
def test_a_signal_stops_with_a_checkpoint_of_the_step(tmp_path, own_models):
    """Case 11: nothing of the epoch is lost, and the resumed run ends as if never stopped."""
    model, drill = "wide_resnet10_1", Drill(tmp_path)
    for number, epoch in ((signal.SIGTERM, 1), (signal.SIGINT, 2)):
        process = drill.start(model)
        await_line(process, f"epoch {epoch}/3")
        process.send_signal(number)
        out, err = process.communicate()
        assert process.returncode == 75 and "Traceback" not in err
        assert f"interrupted: stopped by {number.name} in epoch" in out
        assert drill.record(model)["status"] == "interrupted"
    assert drill.main(model) == 0
    undisturbed = Drill(tmp_path / "undisturbed")
    assert undisturbed.main(model) == 0
    assert same(drill.result(model), undisturbed.result(model))


@pytest.mark.slow
def test_a_second_signal_leaves_at_once(tmp_path):
    """In the middle of a step of an hour; the process may take a moment to see the first one."""
    drill = Drill(tmp_path, recipe=ONE_EPOCH)
    process = drill.start("slow")
    await_line(process, "in a step")
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert process.poll() is None
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert process.returncode == -signal.SIGTERM
    process.communicate()


def copied_code(root):
    """The code that makes numbers, and the published ones, at another place."""
    root.mkdir()
    for name in provenance.SOURCES:
        place = ROOT / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, root / name)
    ignored = shutil.ignore_patterns("runs", "studies", "throughput")
    shutil.copytree(ROOT / "results", root / "results", ignore=ignored)
    return root


@pytest.mark.slow
def test_resume_with_other_code_is_refused_unless_allowed(tmp_path, own_models, capsys):
    """Case 13: a run was stopped that a copy of the code made, in which a comment is added.

    The record and the report say that the code has changed.
    """
    model = "wide_resnet10_1"
    drill = Drill(tmp_path / "drill", copied_code(tmp_path / "copy"), recipe=ONE_EPOCH)
    with (drill.root / "models" / "ledger.py").open("a") as file:
        file.write("# changed\n")
    code, _, err = drill.run(model, extra=("--time-limit", "0.001"))
    assert code == 75, err
    assert drill.main(model) == 2
    err = capsys.readouterr().err
    assert "source_sha256" in err and "--resume-changed" in err
    assert err.strip().count("\n") == 0
    assert drill.record(model)["status"] == "interrupted"
    assert drill.main(model, extra=("--resume-changed",)) == 0
    assert "source_sha256 changed since" in capsys.readouterr().err
    (resumed,) = drill.record(model)["resumed"]
    assert list(resumed["differing"]) == ["source_sha256"] and resumed["note"] is None
    assert "‡" in drill.report()


@pytest.fixture
def verified(tmp_path, own_models, few_are_loaded, capsys):
    """A small run, and what `verify` says of it."""
    recipe = ONE_EPOCH.replace("batch_size = 128", "batch_size = 64")
    drill = Drill(tmp_path, recipe=recipe)
    assert drill.main("hyper_resnet10_1") == 0
    capsys.readouterr()

    def verify(*runs):
        code = main(["verify", *runs, *drill.folders("results", "checkpoint")])
        return code, "".join(capsys.readouterr())

    return drill, verify


def test_verify(verified):
    drill, verify = verified
    model = "hyper_resnet10_1"
    assert verify() == (0, "1 record, 1 checkpoint: nothing wrong\n")
    assert verify(f"digits/{model}")[0] == 0
    code, text = verify("digits/hyper_resnet10_2")
    assert code == 2 and "nearest" in text
    path = drill.record_path(model)
    good = json.loads(path.read_text())
    parts = good["params_by_component"]
    changes = {
        "recipe hash": {"recipe": good["recipe"] | {"batch_size": 32}},
        "the registry has": {
            "params": good["params"] + 1,
            "params_by_component": parts | {"stem": parts["stem"] + 1},
        },
        "MACs": {"generator_macs": 1, "generator_flops": 2},
        "not 2 x": {"generator_flops": 2},
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
