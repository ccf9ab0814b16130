"""The options of engines: what is wrong is one line, with exit code 2."""

import pytest

from benchmarks.runs.engines.slurm import commands


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ("--engine=slurm", "--slurm-options=--gres='gpu:1"),
            'slurm_options "--gres=\'gpu:1" is not allowed: No closing quotation',
        ),
        (("--engine=slurm", "--slurm-options=--array=0-9%2"), "the engine sets it"),
        (("--slurm-options=--time=5",), "is not allowed with engine local; it is of engine slurm"),
        (("--detach",), "detach True is not allowed with engine local; it is of engine slurm"),
        (("--engine=slurm", "--jobs=2"), "jobs 2 is not allowed with engine slurm"),
        (("--engine=slurm", "--parallel-seeds=2"), "parallel_seeds 2 is not allowed with engine"),
        (("--engine=slurm",), "engine slurm needs the command sbatch, which is not installed"),
    ],
)
def test_wrong_options_are_one_line(desk, capsys, monkeypatch, options, message):
    commands.version.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert desk.train("wide_resnet10_1", "--compile=off", *options) == 2
    printed = capsys.readouterr().err
    assert message in printed and len(printed.splitlines()) == 1
