"""Any place: other locales and encodings, byte-order marks, an installed copy in another folder."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from benchmarks.cli import output
from benchmarks.cli.main import main
from benchmarks.records import store, validation
from benchmarks.records.frame import load_published, load_runs
from benchmarks.records.provenance import source_sha256
from benchmarks.training import recipes, studies
from tests.cli.conftest import code_of
from tests.conftest import ROOT, one_line
from tests.records.test_store import RECORD

BOM = b"\xef\xbb\xbf"
RECIPE = '# Grüße, π\nname = "tiny"\nbase = "demo"\nepochs = 1\nbatch_size = 256\n'
STUDY = (
    'about = "für π"\nbase = "demo"\nseeds = [0]\nfixed = {}\n[trials.wide_resnet10_1]\na = {}\n'
)
PLUGIN = """
from torch import nn
from models.registry import register_model


class Größe(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(nn.init.zeros_(nn.Linear(1, 1).weight))

    def forward(self, x):
        raise RuntimeError("größer als π")


@register_model("broken")
def broken(num_classes):
    return Größe()
"""
LOCALES = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C"},
]


def run(folder, *arguments, script=(str(ROOT / "run_bench.py"),), **variables):
    """A command as a process of its own in a folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, *script, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, env=kept | variables)


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, "größer als π\n".encode()),
        ({"PYTHONIOENCODING": "ascii"}, b"gr\\xf6\\xdfer als \\u03c0\n"),
    ],
)
def test_a_stream_of_the_locale_prints_everything(variables, expected, monkeypatch):
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    streams = {
        name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")
    }
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    output.print_any_text()
    for stream in streams.values():
        print("größer als π", file=stream, flush=True)
        assert stream.buffer.getvalue() == expected


@pytest.mark.slow
@pytest.mark.parametrize("variables", LOCALES, ids=lambda variables: " ".join(variables))
def test_output_is_printed_in_every_locale(tmp_path, variables):
    (tmp_path / "größe.py").write_text(PLUGIN, encoding="utf-8")
    done = run(tmp_path, "check", "broken", "--plugin", "größe.py", **variables)
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    shown = "größer als π".encode(encoding, "backslashreplace")
    assert done.returncode == 1 and shown in done.stdout, done.stderr
    assert b"Traceback" not in done.stderr
    done = run(tmp_path, "cost", "größe_π", **variables)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"error: unknown model")


def test_a_name_that_no_encoding_has_is_printed(capsys):
    assert code_of("cost", "wide_\udcff_\ud800") == 2
    assert r"wide_\udcff_\ud800" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("variables", LOCALES[:2], ids=lambda variables: " ".join(variables))
def test_records_and_reports_are_the_same_in_every_locale(tmp_path, variables):
    pages = []
    (tmp_path / "größe").mkdir()
    (tmp_path / "größe" / "t.toml").write_text(RECIPE, encoding="utf-8")
    arguments = ["train", "wide_resnet10_1", "--threads", "1", "--recipe", "größe/t.toml"]
    done = run(tmp_path, *arguments, "--results-dir", "größe/r", **variables)
    assert done.returncode == 0, done.stderr
    for settings in (variables, {"PYTHONUTF8": "1"}):
        folder = f"größe/{len(pages)}"
        places = ("--results-dir", "größe/r", "--reports-dir", folder)
        done = run(tmp_path, "report", *places, **settings)
        assert done.returncode == 0, done.stderr
        written = sorted((tmp_path / folder / "digits").rglob("*.md"))
        pages.append({page.name: page.read_bytes() for page in written})
    assert pages[0] == pages[1] and any(not page.isascii() for page in pages[0].values())


def test_a_byte_order_mark_is_no_error(tmp_path, monkeypatch):
    recipe, study = tmp_path / "t.toml", tmp_path / "s" / "study.toml"
    study.parent.mkdir()
    for mark in (b"", BOM):
        recipe.write_bytes(mark + RECIPE.replace("\n", "\r\n").encode())
        assert recipes.load(str(recipe)).epochs == 1
        study.write_bytes(mark + STUDY.encode())
        assert studies.load(study).about == "für π"
    path = store.save(tmp_path, RECORD | {"reason": "größer als π"})
    path.write_bytes(BOM + path.read_bytes())
    frame = load_runs(tmp_path)
    assert frame.attrs["problems"] == [] and frame.reason.tolist() == ["größer als π"]
    marked = tmp_path / "published.csv"
    marked.write_bytes(BOM + store.PUBLISHED.read_bytes())
    rows = store.load_published()
    monkeypatch.setattr(store, "PUBLISHED", marked)
    assert store.load_published() == rows and load_published().model.notna().all()


@pytest.mark.parametrize("content", ["name = 'é'".encode("latin-1"), "name = 'x'".encode("utf-16")])
def test_other_encodings_are_one_line(tmp_path, content):
    path = tmp_path / "t.toml"
    path.write_bytes(content)
    for load in (lambda: recipes.load(str(path)), lambda: studies.load(path)):
        with pytest.raises(ValueError, match=r"t\.toml: 'utf-8' codec can't decode byte") as error:
            load()
        one_line(error)


def test_published_numbers_do_not_depend_on_the_folder(tmp_path, monkeypatch, capsys):
    frame = load_published()
    monkeypatch.chdir(tmp_path)
    assert load_published().equals(frame)
    named = frame.dropna(subset=["registry_name"]).set_index("registry_name")
    assert {name: row["test_error"] for name, row in store.load_published().items()} == (
        named.test_error.to_dict()
    )
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    shown = {row["model"]: row["published"] for row in listed if row["published"]}
    assert shown["wide_resnet40_1"]["test_error"] == 6.73


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of a copy that pip installed, not editable."""
    folder = tmp_path_factory.mktemp("installed")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    )
    for name in listed.stdout.split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("results/", "reports/")):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", "site", "./source"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "site"


@pytest.mark.slow
def test_an_installed_copy_works_in_another_folder(installed, tmp_path):
    script = (str(installed / "bin" / "run-bench"),)

    def succeed(*arguments):
        done = run(tmp_path, *arguments, script=script, PYTHONPATH=str(installed))
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    (tmp_path / "t.toml").write_text(RECIPE, encoding="utf-8")
    assert "usage: run-bench" in succeed("--help")
    assert "6.73 %" in succeed("list") and "6.73 %" in succeed("cost", "wide_resnet40_1")
    succeed("train", "wide_resnet10_1", "--dataset", "digits", "--recipe", "t.toml")
    succeed("report")
    assert "nothing wrong" in succeed("verify")
    study = tmp_path / "results" / "studies" / "s" / "study.toml"
    study.parent.mkdir(parents=True)
    small = STUDY.replace("fixed = {}", "fixed = {epochs = 1, batch_size = 256}")
    study.write_text(small, encoding="utf-8")
    succeed("study", study)
    assert "für π" in (tmp_path / "docs" / "recipes.md").read_text(encoding="utf-8")
    record = json.loads(next(tmp_path.glob("results/runs/*/*/*.json")).read_text(encoding="utf-8"))
    code = {"commit": None, "dirty": None, "source_sha256": source_sha256()}
    assert record["code"] == code


@pytest.mark.slow
def test_an_installed_copy_has_the_code_and_its_data_alone(installed, tmp_path):
    names = {path.name for path in installed.iterdir() if not path.name.startswith("parameter_")}
    assert names - {"__pycache__"} == {"bin", "benchmarks", "models", "run_bench.py"}
    schemas = list((installed / "benchmarks").rglob("*.json"))
    assert len(schemas) == validation.SCHEMA_VERSION
    # Inside another project's repository, the commit is that project's.
    repository = tmp_path / "other"
    shutil.copytree(installed, repository / ".venv" / "site")
    (repository / "a").write_text("", encoding="utf-8")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(repository)]
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], check=True)
    code = "from benchmarks.records import provenance; print(provenance.code()['commit'])"
    place = str(repository / ".venv" / "site")
    done = run(tmp_path, "-c", code, script=(), PYTHONPATH=place)
    assert done.stdout.decode().strip() == "None", done.stderr


PRINTS = """
from models.registry import build, register_model


@register_model("prints")
def prints(num_classes):
    print("made", flush=True)
    return build("wide_resnet10_1", num_classes)
"""
TRAIN_PRINTING = ("train", "prints", "--plugin", "my_models.py", "--compile", "off")


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("list", "--json"),
        pytest.param(TRAIN_PRINTING, marks=pytest.mark.slow),
        pytest.param((*TRAIN_PRINTING, "--seeds", "0-1", "--jobs", "2"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_reader_that_leaves_ends_nothing(tmp_path, command):
    """As in `train ... | head -1`, or when the program that keeps the log dies."""
    (tmp_path / "my_models.py").write_text(PRINTS)
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, str(ROOT / "run_bench.py"), *command]
    with open(writing, "wb") as nobody:
        done = subprocess.run(line, cwd=tmp_path, stdout=nobody, stderr=nobody)
    assert done.returncode == 0
    records = [store.load(path) for path in store.run_files(tmp_path / "results")]
    wanted = {"list": 0, "train": 2 if "--jobs" in command else 1}[command[0]]
    assert [record["status"] for record in records] == ["ok"] * wanted


def test_unbuffered_output_is_there_line_by_line(tmp_path):
    """`python -u`: in the file of a job that is killed, for example."""
    program = "import os; from benchmarks.system.pipes import outlive_readers as outlive; "
    program += "outlive(); print('a line'); os._exit(0)"
    with open(tmp_path / "log", "wb") as log:
        subprocess.run([sys.executable, "-u", "-c", program], cwd=ROOT, stdout=log)
    assert (tmp_path / "log").read_text() == "a line\n"
