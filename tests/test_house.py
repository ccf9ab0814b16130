"""The house rules: who imports whom, and what loads torch."""

import ast
import re
import subprocess
import sys

import pytest
from importlinter.cli import lint_imports

from tests.conftest import ROOT


def test_the_contracts_of_imports_hold(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    code = lint_imports(config_filename=str(ROOT / "setup.cfg"), cache_dir=None)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "code",
    [
        "import run_bench; assert run_bench.main(['list']) == 0",
        "import run_bench; assert run_bench.main(['report', '--reports-dir', '{folder}', "
        "'--dataset', 'pydoc']) == 0",
        "import models.ledger, models.registry; "
        "models.registry.get('hyper_resnet40_2').parameters()",
    ],
)
def test_torch_is_not_loaded(code, tmp_path):
    code = code.replace("{folder}", str(tmp_path))
    subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; assert 'torch' not in sys.modules"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def test_only_the_records_room_knows_where_runs_lie():
    sources = [*(ROOT / "benchmarks").rglob("*.py"), ROOT / "run_bench.py"]
    knowing = [file.name for file in sources if '/ "runs"' in file.read_text()]
    assert knowing == ["store.py"]


SOURCE_FILES = [ROOT / "run_bench.py"]
for room in ("benchmarks", "models"):
    SOURCE_FILES += (ROOT / room).rglob("*.py")
READ_OR_WRITE = {"read_text", "write_text", "read_csv", "open", "fdopen"}
OTHER = {"os.open", "Image.open", "tarfile.open"}
START = {"run", "Popen", "check_output"}


def names_no_encoding(call):
    """Whether a call takes the encoding of its text from the locale."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    owner, _, name = ast.unparse(call.func).rpartition(".")
    if "encoding" in given or ast.unparse(call.func) in OTHER:
        return False
    if name in START:
        return owner == "subprocess" and "text" in given
    if name in ("open", "fdopen"):
        texts = [ast.unparse(value) for value in (*call.args, *given.values())]
        return not any(re.fullmatch("'[rwxa+]*b[+]?'", text) for text in texts)
    return bool(owner) and name in READ_OR_WRITE


def test_text_is_read_and_written_in_a_named_encoding():
    found = []
    for file in SOURCE_FILES:
        tree = ast.walk(ast.parse(file.read_bytes()))
        calls = [node for node in tree if isinstance(node, ast.Call)]
        found += [f"{file}: {ast.unparse(call)}" for call in calls if names_no_encoding(call)]
    assert found == []


@pytest.mark.parametrize(
    "text, named",
    [
        ("path.read_text()", False),
        ("path.read_text(encoding='utf-8')", True),
        ("open(path)", False),
        ("path.open(newline='')", False),
        ("open(path, 'rb')", True),
        ("open(file=path, mode='w')", False),
        ("subprocess.run(command, text=True)", False),
        ("subprocess.run(command)", True),
    ],
)
def test_the_check_of_encodings(text, named):
    (statement,) = ast.parse(text).body
    assert names_no_encoding(statement.value) is not named
