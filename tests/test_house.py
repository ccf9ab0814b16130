"""The house rules: who imports whom, and what loads torch."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

KERNEL_SOURCES_AND_REGISTRY = (
    "models.registry",
    *(f"models.kernels.{file.stem}" for file in (ROOT / "models" / "kernels").glob("*.py") if file.stem != "protocol"),
)
FORBIDDEN = {
    "models": ("benchmarks",),
    "models/wide_resnet.py": KERNEL_SOURCES_AND_REGISTRY,
    "models/resnet.py": KERNEL_SOURCES_AND_REGISTRY,
    "benchmarks/training.py": ("models.registry", "benchmarks.records", "benchmarks.costs", "benchmarks.throughput"),
    "benchmarks/checkpoints.py": ("models", "benchmarks.records", "benchmarks.training"),
    "benchmarks/optimizers.py": ("models.registry", "benchmarks.records", "benchmarks.training"),
    "benchmarks/stop.py": ("models", "benchmarks", "torch"),
    "benchmarks/trained.py": ("benchmarks.records", "benchmarks.runner", "benchmarks.costs"),
    "benchmarks/costs.py": ("models.registry", "benchmarks.records", "benchmarks.training", "benchmarks.throughput"),
    "benchmarks/throughput.py": ("models", "benchmarks.records", "benchmarks.training", "benchmarks.costs"),
    "benchmarks/device.py": ("models", "benchmarks"),
    "benchmarks/baselines.py": ("models.registry", "benchmarks"),
    "benchmarks/report.py": ("models", "torch"),
    **{f"benchmarks/{room}.py": ("models", "torch")
       for room in ("summary", "verdicts", "tables", "recipe_tables", "speed_tables", "plots", "paper")},
    "benchmarks/splits.py": ("models", "benchmarks"),
    **{f"benchmarks/{room}.py": ("models", "benchmarks.records", "benchmarks.training", "benchmarks.datasets")
       for room in ("archives", "folders", "batches")},
    "benchmarks/datasets.py": ("models", "benchmarks.records", "benchmarks.training"),
}  # fmt: skip


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports(place):
    files = sorted((ROOT / place).rglob("*.py")) if (ROOT / place).is_dir() else [ROOT / place]
    assert files
    for file in files:
        for name in imported(file):
            assert not any(name == bad or name.startswith(f"{bad}.") for bad in FORBIDDEN[place]), (file.name, name)


@pytest.mark.parametrize(
    "code",
    [
        "import run_bench; run_bench.main(['list'])",
        "import benchmarks.report",
        "import models.ledger, models.registry; models.registry.get('hyper_resnet40_2').parameters()",
    ],
)
def test_torch_is_not_loaded(code):
    subprocess.run([sys.executable, "-c", f"{code}\nimport sys; assert 'torch' not in sys.modules"], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def test_only_the_records_room_knows_where_runs_lie():
    knowing = [file.name for file in [*(ROOT / "benchmarks").glob("*.py"), ROOT / "run_bench.py"] if '/ "runs"' in file.read_text()]
    assert knowing == ["records.py"]
