"""Whether records, checkpoints and weights are what they claim.

They are compared with their schema, place and hashes, the registry's counts, and each other.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.records import store, validation
from benchmarks.records.frame import load_runs
from benchmarks.runs import weights
from benchmarks.training import recipes
from benchmarks.training.checkpoints import CheckpointError, load_checkpoint
from models import registry


def find(results_dir: Path, checkpoint_dir: Path) -> list[Path]:
    """All records of runs, all checkpoints and all weights."""
    checkpoints = [*checkpoint_dir.glob("*/*/*.ckpt"), *checkpoint_dir.glob("studies/*/*/*/*.ckpt")]
    return [
        *store.run_files(results_dir),
        *store.trial_files(results_dir),
        *sorted(checkpoints),
        *weights.find(results_dir),
    ]


def named(names: list[str], results_dir: Path, checkpoint_dir: Path) -> list[Path]:
    """The files that are meant by paths, or by parts of paths such as `digits/hyper_resnet40_1`.

    Raises:
        ValueError: for a name that no file has.
    """
    everything = find(results_dir, checkpoint_dir)
    chosen: list[Path] = []
    for name in names:
        matching = [path for path in everything if path == Path(name) or name in path.as_posix()]
        if not matching:
            paths = [path.as_posix() for path in everything]
            near = difflib.get_close_matches(name, paths, n=1, cutoff=0.0)
            hint = f"; nearest: {near[0]}" if near else ""
            raise ValueError(
                f"no record or checkpoint {name!r} under {results_dir} or {checkpoint_dir}{hint}"
            )
        chosen += [path for path in matching if path not in chosen]
    return chosen


def problems(path: Path, results_dir: Path, checkpoint_dir: Path) -> list[str]:
    """What is wrong with one record, checkpoint or file of weights, a line each."""
    if path.suffix == ".safetensors":
        return list(weights.problems(path, results_dir))
    if path.suffix == ".ckpt":
        return list(_checkpoint_problems(path, results_dir))
    try:
        record = store.load(path)
        validation.validate(record)
    except store.RecordError as error:
        return [str(error)]
    assert isinstance(record, dict)
    return list(record_problems(record, path, results_dir))


def record_problems(record: dict, path: Path, results_dir: Path) -> Iterator[str]:
    """What is wrong with a record that follows its schema."""
    places = store.RunId.of(record).places(results_dir)
    if path not in places:
        yield f"it says that its place is {places[0]}"
    try:
        computed = recipes.from_record(record["recipe"]).hash
        if computed != record["recipe"]["hash"]:
            yield f"recipe hash {record['recipe']['hash']}, but its recipe gives {computed}"
    except recipes.RecipeError as error:
        yield f"recipe: {error}"
    yield from _count_problems(record)
    steps = record["recipe"].get("steps")
    if record["status"] == "ok" and record["history"][-1]["step"] != steps:
        yield f"it ended well after {record['history'][-1]['step']} steps of {steps}"


def shared_names(results_dir: Path) -> Iterator[str]:
    """Names that stand for several things in the records: kinds of data, versions of a plugin."""
    runs = load_runs(results_dir)
    things = {"dataset": ("data_sha256", "data"), "model": ("plugin_sha256", "code")}
    for name, (hash_column, what) in things.items():
        for value, hashes in runs.groupby(name)[hash_column].unique().items():
            if len(hashes) > 1:
                listed = ", ".join(digits[:8] or "none" for digits in sorted(hashes))
                yield f"{name} {value} is {len(hashes)} kinds of {what} ({listed}); not pooled"


def _count_problems(record: dict) -> Iterator[str]:
    """Counts against the registry's closed forms, where the model is registered."""
    try:
        spec = registry.get(record["model"])
    except registry.RegistryError:
        return
    if record["pair"] != spec.pair:
        yield f"pair {record['pair']!r}, the registry has {spec.pair!r}"
    kernels = spec.kernels if spec.builder is None else None
    if record.get("kernels", kernels) != kernels:
        yield f"kernels {record['kernels']!r}, the registry has {kernels!r}"
    if record["params"] is None or not spec.closed_form:
        return
    classes = record["dataset_fingerprint"]["num_classes"]
    counted = {key: value for key, value in record["params_by_component"].items() if value}
    expected = {key: value for key, value in spec.parameters(classes).items() if value}
    if counted != expected:
        yield f"parameters {counted}, the registry has {expected}"
    macs = (record["macs_per_image"], record["generator_macs"])
    if macs != spec.macs(classes):
        yield f"MACs {macs}, the registry has {spec.macs(classes)}"


def _checkpoint_problems(path: Path, results_dir: Path) -> Iterator[str]:
    try:
        state = load_checkpoint(path)
    except CheckpointError as error:
        yield str(error)
        return
    dataset, model, run = path.parts[-3:]
    identity = state["identity"]
    named = re.search(rf"-seed{identity.get('seed')}(-[0-9a-f]{{8}})?\.ckpt$", run)
    if identity.get("model") != model or not named:
        yield f"it is of {identity.get('model')}, seed {identity.get('seed')}"
    try:
        study = path.parts[-4] if path.parts[-5:-4] == ("studies",) else None
        folder = store.run_folder(results_dir, dataset, model, study)
        record = store.load(folder / f"{path.stem}.json")
        if record is None:
            return
        validation.validate(record)
    except store.RecordError:
        return  # a problem of the record, which is listed with it
    yield from _disagreements(state, record)


def _disagreements(state: dict, record: dict) -> Iterator[str]:
    identity, history = state["identity"], state["history"].get("epochs")
    pairs = {
        "recipe": (identity.get("recipe"), record["recipe"].get("hash")),
        "dataset": (identity.get("dataset"), record["dataset_fingerprint"].get("decoded_sha256")),
        "source_sha256": (identity.get("source_sha256"), record["code"].get("source_sha256")),
    }
    for key, (there, here) in pairs.items():
        if there != here:
            yield f"{key} {there!r}, its record has {here!r}"
    if record["status"] in store.DONE and history != record["history"]:
        yield "its history is not its record's"
