"""Records that are made up, valid to the last key, and the frames that they give."""

import json

from benchmarks.records import store, validation
from benchmarks.records.frame import load_runs
from benchmarks.report.known_data import BY_SHA256, CIFAR10
from benchmarks.report.summary import differences, load_results, summarize
from tests.records.test_store import RECORD

BLOCK = {"optimizer": "sgd", "learning_rate": 0.1, "l2": 5e-4, "schedule": "cosine", "warmup": 0.05}
RECIPE = RECORD["recipe"] | {"stored": BLOCK, "generated": BLOCK, "steps": 702, "epochs": 2}
RECIPE["batch_size"] = 128
FINGERPRINT = RECORD["dataset_fingerprint"] | {"train": 45000, "validation": 5000, "test": 10000}


SHA256 = {"itself": "cifar10-9980", "other": "cifar10-jpeg"}
FOLDERS = {
    SHA256[known.form]: sha256
    for sha256, known in BY_SHA256.items()
    if known.published == CIFAR10.published
}
"""The fingerprints of the folders that a report knows, by the names that they have here."""


def fingerprint_of(dataset, fingerprint=FINGERPRINT):
    """A fingerprint, with the hash of a folder that is known."""
    if dataset not in FOLDERS:
        return fingerprint
    return fingerprint | {"sha256": FOLDERS[dataset]}


def on(dataset, entry):
    """A record of another data set."""
    return entry | {"dataset": dataset, "dataset_fingerprint": fingerprint_of(dataset)}


def record(model="wide_resnet16_1", seed=0, error=10.0, pair=None, recipe=None, **changes):
    """A record of data set `made`; `recipe` and `environment` are merged into those it has."""
    parts = {"stem": 10, "kernels": 90} if pair is None else {"stem": 10, "generator": 30}
    entry = RECORD["history"][0]
    made = RECORD | {
        "model": model,
        "seed": seed,
        "test_error": error,
        "val_error": error,
        "pair": pair,
        "dataset": "made",
        "dataset_fingerprint": FINGERPRINT,
        "recipe": RECIPE | {"name": "quick8"} | (recipe or {}),
        "params_by_component": parts,
        "macs_per_image": 1000,
        "generator_macs": 0,
        "environment": RECORD["environment"] | changes.pop("environment", {}),
    }
    made |= changes
    made["dataset_fingerprint"] = fingerprint_of(made["dataset"], made["dataset_fingerprint"])
    made["params"] = sum(made["params_by_component"].values()) if made["status"] == "ok" else None
    made["flops_per_image"] = None if made["macs_per_image"] is None else 2 * made["macs_per_image"]
    made["generator_flops"] = None if made["generator_macs"] is None else 2 * made["generator_macs"]
    if made["params"] is None:
        made["params_by_component"] = None
    last = made["val_error"] if made["val_error"] is not None else 90.0
    made["history"] = [entry | {"val_error": 50.0}, entry | {"epoch": 2, "val_error": last}]
    return made


def rows(model, errors, params=80, pair=None, macs=1000, val_error=None, **changes):
    """Records of a model with these errors by seed; None is a seed without a record."""
    parts = {"stem": params}
    return [
        record(
            model,
            seed,
            error,
            pair,
            params_by_component=parts,
            macs_per_image=macs,
            val_error=error if val_error is None else val_error,
            **changes,
        )
        for seed, error in enumerate(errors)
        if error is not None
    ]


def hyper(errors, **changes):
    """Records of the hypernetwork on 16-1."""
    return rows("hyper_resnet16_1", errors, pair="wide_resnet16_1", **changes)


SEQUENCES = {"length": 100, "keep": 0.9, "clip": 1.0}
SPLITS = {"train": 312_871, "validation": 17_381, "test": 17_383, "num_classes": 103}
TEXT_DATA = RECORD["dataset_fingerprint"] | SPLITS | {"split_seed": None}
TEXT_RECIPE = {key: value for key, value in RECIPE.items() if key != "crop_padding"}
TEXT_RECIPE |= {"name": "chars", "batch_size": 128, "sequences": SEQUENCES}
PLAIN_PARTS = {"recurrent": 519_168, "generator": 0, "layer_norms": 0, "readout": 32_239}
SMALL_PARTS = {"recurrent": 368_640, "generator": 0, "layer_norms": 0, "readout": 26_471}
HYPER_PARTS = SMALL_PARTS | {"generator": 156_544}


def text_rows(model, bits, parts, pair=None, macs=421_512, **changes):
    """Records of a text's model with these bits per character by seed."""
    made = []
    for seed, value in enumerate(bits):
        entry = record(model, seed, value, pair, params_by_component=parts, macs_per_image=macs)
        history = [
            entry["history"][0] | {"epoch": epoch, "step": 351 * epoch, "val_error": error}
            for epoch, error in enumerate((2.9, value + 0.02), start=1)
        ]
        kernels = "stored" if pair is None else "hyper"
        own = {"task": "text", "dataset": "pydoc", "kernels": kernels, "history": history}
        own |= {"recipe": TEXT_RECIPE, "dataset_fingerprint": TEXT_DATA, "flip": False}
        made.append(entry | own | {"val_error": value + 0.02} | changes)
    return made


def text_records():
    """Three seeds of two hypernetworks, their pairs, and the plain network with their units."""
    norms = {"layer_norms": 3200}
    return [
        *text_rows("lstm_312", (1.901, 1.912, 1.896), PLAIN_PARTS),
        *text_rows("lstm_256", (1.951, 1.948, 1.959), SMALL_PARTS, macs=288_512),
        *text_rows("hyper_lstm_256", (1.884, 1.897, 1.89), HYPER_PARTS, "lstm_312", 431_872),
        *text_rows("ln_lstm_312", (1.862, 1.871, 1.868), PLAIN_PARTS | {"layer_norms": 3120}),
        *text_rows(
            "ln_hyper_lstm_256",
            (1.851, 1.849, 1.87),
            HYPER_PARTS | norms,
            "ln_lstm_312",
            431_872,
        ),
    ]


def text_speed(model, median, **changes):
    """A speed record of a text's model."""
    return speed(model, median, task="text", **changes)


def speed(model, median, device="A processor", batch_size=128, **changes):
    """A speed record of training steps."""
    return {
        "kind": "speed",
        "model": model,
        "device": device,
        "batch_size": batch_size,
        "environment": {"threads": 2, "precision": "bf16", "compile": "default", "torch": "2.14.0"},
        "measurements": {
            "training_step": {"median": median, "q1": median, "q3": median, "windows": 3}
        },
    } | changes


def write(folder, records, speeds=()):
    """A results folder with these records, text as it is; gives its path."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    for number, entry in enumerate(records):
        if isinstance(entry, str):
            path = results / "runs" / "made" / f"m{number}" / "r-seed0.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(entry)
        else:
            validation.validate(entry)
            path = store.RunId.of(entry).place(results)
            assert not path.exists(), path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(entry))
    for entry in speeds:
        place = results / "throughput" / f"m{len(list(results.glob('throughput/*')))}"
        folder = place if entry.get("kind", "speed") == "speed" else place / entry["kind"]
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(entry))
    return results


def results_of(folder, records, speeds=(), dataset="made"):
    """The frames of these records."""
    return load_results(write(folder, records, speeds), dataset)


def frames(folder, records):
    """The summary and the paired differences of these records."""
    runs = load_runs(write(folder, records))
    assert runs.attrs["problems"] == []
    return summarize(runs), differences(runs)
