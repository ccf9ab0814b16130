"""Results of several machines in one folder: what is missing is copied, contradictions are refused.

report = merge(["/mnt/other/results"], "results")
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records import store, validation
from benchmarks.records.fields import without_folder
from benchmarks.runs import verify
from benchmarks.system.files import read_text, write_atomically
from benchmarks.training.studies import find as find_studies

TIMES = ("seconds",)
"""Of an epoch; two makings of one run may differ in them."""
NUMBERS = ("status", "val_error", "test_error", "test_wrong", "params", "macs_per_image", "history")
"""What two records of one run must agree in."""


class MergeError(ValueError):
    """A folder that cannot be merged; the message is one line for the user."""


@dataclass(frozen=True)
class Merged:
    """What became of one file of another folder of results.

    `what`: "copied" to `path`, "there" already, or "refused" for a `reason`.
    """

    source: Path
    what: str
    path: Path | None = None
    reason: str | None = None


def merge(others: Iterable[str | Path], results_dir: str | Path = "results") -> list[Merged]:
    """Copy the records of other folders that are missing in `results_dir`; nothing there is lost.

    A run that ended there takes the place of one that did not end here. Refused are records that
    are not valid, and those of a run that is here with another recipe or other numbers.

    Raises:
        MergeError: for a folder that holds no results, or is `results_dir` itself, before anything
            is copied.
    """
    results = Path(results_dir)
    folders = [Path(other).expanduser() for other in others]
    for folder in folders:
        _refuse_folder(folder, results)
    merged: list[Merged] = []
    for folder in folders:
        studies = {
            path: _merge_file(path, folder, results, "study") for path in find_studies(folder)
        }
        refused = {path.parent.name for path, file in studies.items() if file.what == "refused"}
        merged += studies.values()
        for path in [*store.run_files(folder), *store.trial_files(folder)]:
            merged.append(_merge_record(path, folder, results, refused))
        for kind in store.SPEED_KINDS:
            for path in store.throughput_files(folder, kind):
                merged.append(_merge_file(path, folder, results, "speed record"))
    return merged


def _refuse_folder(folder: Path, results: Path) -> None:
    if folder.resolve() == results.resolve():
        raise MergeError(f"folder {folder} is the one to merge into; name another")
    if not any((folder / name).is_dir() for name in ("runs", "studies", "throughput")):
        raise MergeError(
            f"folder {folder} holds no results; it must have runs, studies or throughput in it"
        )


def _merge_file(path: Path, folder: Path, results: Path, what: str) -> Merged:
    """Copy a file to the same place, unless another lies there."""
    target = results / path.relative_to(folder)
    try:
        text = read_text(path)
        if not target.exists():
            write_atomically(target, text)
            return Merged(path, "copied", target)
        same = read_text(target) == text
    except (OSError, ValueError) as error:
        return Merged(path, "refused", target, without_folder(error, folder))
    if same:
        return Merged(path, "there", target)
    return Merged(path, "refused", target, f"another {what} lies there")


def _merge_record(path: Path, folder: Path, results: Path, refused: set[str]) -> Merged:
    try:
        record = store.load(path)
        validation.validate(record)
        assert record is not None
        problems = list(verify.record_problems(record, path, folder))
        if record.get("study") in refused:
            problems.append("its study is another one here")
        if problems:
            return Merged(path, "refused", None, "; ".join(problems))
        target = store.RunId.of(record).place(results)
        existing = store.load(target)
        if existing is not None:
            validation.validate(existing)
            differing = list(_contradictions(existing, record))
            if differing:
                reason = f"{target} has other values: {', '.join(differing)}"
                return Merged(path, "refused", target, reason)
            if existing["status"] in store.DONE or record["status"] not in store.DONE:
                return Merged(path, "there", target)
        return Merged(path, "copied", store.save(results, record))
    except (store.RecordError, OSError) as error:
        return Merged(path, "refused", None, without_folder(error, folder))


def _contradictions(here: dict, there: dict) -> Iterator[str]:
    """What two records of one run say otherwise; of one that did not end, the recipe alone."""
    hashes = [record["recipe"]["hash"] for record in (here, there)]
    if hashes[0] != hashes[1]:
        yield f"recipe {hashes[0]}, not {hashes[1]}"
    if not {here["status"], there["status"]} <= set(store.DONE):
        return
    for key in NUMBERS:
        if _without_times(here.get(key)) != _without_times(there.get(key)):
            yield _told(key, here, there)


def _told(key: str, here: dict, there: dict) -> str:
    """A key with both values where they are short."""
    if key in ("history", "test_wrong"):
        return key
    return f"{key} {here.get(key)}, not {there.get(key)}"


def _without_times(value: object) -> object:
    if not isinstance(value, list):
        return value
    return [{key: number for key, number in entry.items() if key not in TIMES} for entry in value]
