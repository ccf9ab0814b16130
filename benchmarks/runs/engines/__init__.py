"""Engines: what runs a matrix of runs. One protocol (`protocol.py`), a module an engine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.runs.engines.protocol import Engine
    from benchmarks.runs.options import RunOptions


def in_process(options: "RunOptions") -> bool:
    """Whether runs are made in this process, one after another."""
    return options.engine == "local" and options.jobs in (None, 1) and not options.devices


def chosen(options: "RunOptions") -> "Engine":
    """The engine of the options.

    Raises:
        EngineError: if it is not installed here.
    """
    from benchmarks.runs.engines import local

    if in_process(options):
        return local.InProcess()
    if options.engine == "slurm":
        from benchmarks.runs.engines import slurm

        return slurm.Slurm(options)
    if options.engine == "ray":
        from benchmarks.runs.engines import ray

        return ray.Ray(options)
    return local.Processes(options)
