"""The house rules: who imports whom, and what loads torch."""

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
        "import run_bench; run_bench.main(['list'])",
        "import benchmarks.report.pages",
        "import models.ledger, models.registry; "
        "models.registry.get('hyper_resnet40_2').parameters()",
    ],
)
def test_torch_is_not_loaded(code):
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
