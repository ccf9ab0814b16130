"""What came of a run: from its record, from what the runner gave, or why there is no record."""

from benchmarks.records import store
from benchmarks.runs.progress import Outcome, RunSpec
from benchmarks.runs.runner import Busy, Run, Unrecorded
from benchmarks.system.faults import described

NOT_STARTED = "runs were stopped before it began"


def spec_of(run: Run) -> RunSpec:
    """Which run it is."""
    return RunSpec(run.model, run.recipe, run.seed)


def of_record(run: Run, record: dict) -> Outcome:
    """The outcome that a run's record tells."""
    return Outcome(spec_of(run), run.record_path, record["status"], record, record["reason"])


def without_record(run: Run, status: str, reason: str) -> Outcome:
    """The outcome of a run that has no record, and why."""
    return Outcome(spec_of(run), run.record_path, status, None, reason)


def of_result(run: Run, result: dict | ValueError) -> Outcome:
    """The outcome of what the runner gave: the record, or why there is none."""
    if isinstance(result, dict):
        return of_record(run, result)
    statuses: dict[type, str] = {Busy: "busy", Unrecorded: "failed"}
    return without_record(run, statuses.get(type(result), "refused"), str(result))


def ended(run: Run) -> Outcome | None:
    """The outcome of a run that needs no making or cannot be looked up; None of one to make.

    Raises:
        store.RecordError: if the record there was made with another recipe.
    """
    try:
        record = store.load(run.record_path) if run.done() else None
    except OSError as error:
        return without_record(run, "failed", f"{run.title}: {described(error)}")
    return None if record is None else of_record(run, record)


def of_event(run: Run, event: dict) -> Outcome:
    """The outcome that an engine's event of an end tells; the record is read at its place."""
    if event["recorded"]:
        record = store.load(run.record_path)
        if record is not None:
            return of_record(run, record)
    return without_record(run, event["status"], event["reason"])
