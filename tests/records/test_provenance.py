"""Which code made a number: commit, dirty flag and hash."""

import subprocess

import pytest

from benchmarks.records import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with the suite's folders, committed."""
    for name in ("models", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_text("x = 1\n")
    (tmp_path / "run_bench.py").write_text("x = 1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["my_models.py", "my/results/r.json", "README.md", "longer.toml"])
def test_what_is_no_code_of_the_suite_makes_no_tree_dirty(checkout, name):
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("x = 2\n")
    assert provenance.code()["dirty"] is False


@pytest.mark.parametrize("name", ["models/code.py", "benchmarks/new.py", "run_bench.py"])
def test_a_change_of_the_code_makes_it_dirty(checkout, name):
    (checkout / name).write_text("x = 2\n")
    assert provenance.code()["dirty"] is True
