"""A run's record from its parts: what was counted, how it ended, where and from which code."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.records import validation
from benchmarks.runs.settings import settings_environment
from benchmarks.system.faults import one_line
from benchmarks.training.loop import Result, Trainer
from models import registry

if TYPE_CHECKING:
    from benchmarks.runs.runner import Run

UNCOUNTED: dict = dict.fromkeys(
    ("params", "params_by_component", *validation.FLOPS.values(), *validation.FLOPS)
) | {"counting": {"by": None, "reason": None, "second_opinion": None}}
"""The counts of a run that failed before it was counted."""


def record_of(
    run: "Run", result: Result, counts: dict, trainer: Trainer | None, provenance: dict
) -> dict:
    """The record of a run. `counts` is empty and `trainer` None where it failed before them."""
    history = result.history
    epochs = history.epochs
    resolved = run.recipe.as_dict()
    spec = registry.get(run.model)
    if trainer is not None:
        resolved |= {
            "trained_epochs": trainer.epochs,
            "steps": trainer.total,
            "block": trainer.kind,
        }
    settings = run.settings if trainer is None else trainer.compiler.used
    plugin = {"plugin_sha256": run.plugin_sha256} if run.plugin_sha256 else {}
    record = {
        "schema_version": validation.SCHEMA_VERSION,
        "task": run.data.task.name,
        "model": run.model,
        "pair": spec.pair,
        "kernels": spec.kernels if spec.builder is None else None,
        "frozen": spec.frozen,
        "dataset": run.data.name,
        "dataset_fingerprint": run.data.fingerprint,
        "recipe": resolved,
        "seed": run.seed,
        "status": result.status,
        "reason": result.reason,
        "val_error": epochs[-1]["val_error"] if result.status == "ok" else None,
        "train_images_per_s": history.images_per_s,
        "history": epochs,
        "resumed": history.resumed,
        "flip": run.flip,
        "untrained": [one_line(name) for name in run.untrained],
        "environment": settings_environment(settings),
        "code": provenance | plugin,
        "engine": asdict(run.engine),
    }
    record |= UNCOUNTED | counts
    if run.study:
        return record | {"study": run.study}
    wrong = None if result.test_wrong is None else validation.packed(result.test_wrong.numpy())
    return record | {"test_error": result.test_error, "test_wrong": wrong}
