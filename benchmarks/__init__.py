"""Parameter-efficient networks: train, time, and read the records as DataFrames.

from benchmarks import RUN_KEY, load_runs

runs = load_runs("results")
runs[runs.status == "ok"].groupby(RUN_KEY).test_error.agg(["mean", "std", "count"])

Importing this package loads neither torch nor pandas: each name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from benchmarks.system.version import VERSION

if TYPE_CHECKING:
    from benchmarks.records.frame import RUN_KEY, load_published, load_runs
    from benchmarks.records.speeds import load_speeds
    from benchmarks.report.pages import build_report
    from benchmarks.runs.matrix import train
    from benchmarks.runs.options import RunOptions
    from benchmarks.runs.reproduce import reproduce

__version__ = VERSION

__all__ = [
    "RUN_KEY",
    "RunOptions",
    "build_report",
    "load_published",
    "load_runs",
    "load_speeds",
    "reproduce",
    "train",
]

_MODULES = {
    "RUN_KEY": "benchmarks.records.frame",
    "RunOptions": "benchmarks.runs.options",
    "build_report": "benchmarks.report.pages",
    "load_published": "benchmarks.records.frame",
    "load_runs": "benchmarks.records.frame",
    "load_speeds": "benchmarks.records.speeds",
    "reproduce": "benchmarks.runs.reproduce",
    "train": "benchmarks.runs.matrix",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
