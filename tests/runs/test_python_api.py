"""docs/python-api.md: its code runs, and importing `benchmarks` is quick."""

import dataclasses
import re
import subprocess
import sys

import pytest

import benchmarks
from benchmarks.measuring import timing
from benchmarks.runs import reproduce
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "python-api.md").read_text()


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path, few_are_loaded, monkeypatch, capsys):
    """Block after block in one namespace, as in a notebook, in a folder of its own."""
    shortened = dataclasses.replace(
        timing.SHORT, window_s=0.01, max_warmup=1, windows=2, epoch_images=64
    )
    monkeypatch.setattr(reproduce, "SHORT", shortened)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/python-api.md", "exec"), namespace)
    assert [outcome.status for outcome in namespace["outcomes"]] == ["ok", "ok"]
    assert not namespace["result"].halted and len(namespace["result"].timings) == 2
    assert (tmp_path / "my" / "reports" / "digits" / "README.md").exists()
    counts = namespace["summary"]["count"].groupby("recipe").sum()
    assert counts.to_dict() == {"short": 3, "demo": 2}
    assert len(namespace["steps"]) == 2 and len(namespace["published"]) >= 4
    out = capsys.readouterr().out
    assert "hyper_resnet10_1 on digits, short, seed 0: epoch 1 of 1" in out


def test_the_page_names_what_there_is():
    named = set(re.findall(r"`(\w+)`", PAGE.split("## Train")[0]))
    assert set(benchmarks.__all__) == named & set(dir(benchmarks))
    for name in benchmarks.__all__:
        assert getattr(benchmarks, name) is not None


def test_importing_loads_neither_torch_nor_pandas():
    code = (
        "import sys\nfrom benchmarks import RunOptions\nimport benchmarks.report\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)\n"
        "assert not hasattr(benchmarks, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
