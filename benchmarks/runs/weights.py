"""Weights worth sharing: small files under `results/weights/`, each of a run with a record.

A file holds the logits of a few images that scikit-learn bundles, so that anybody can check that
the weights do what they did.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.data import datasets
from benchmarks.data.datasets import Data
from benchmarks.data.splits import DataSet
from benchmarks.records import store
from benchmarks.runs import trained
from benchmarks.training.objective import Normalize
from models import pretrained, registry

LARGEST = 1_000_000
"""Bytes of a file that lies in the repository."""
PROBES = 4
TOLERANCE = 1e-3
"""Of the largest logit: other machines add in another order."""


def find(results_dir: Path) -> list[Path]:
    """All files of weights."""
    return sorted((results_dir / "weights").glob("*/*/*.safetensors"))


def publish(checkpoint: Path, data: Data, results_dir: Path) -> Path:
    """Write the weights of a run that ended well; gives their place.

    `data`: what it was trained on, whose mean and deviation a user needs.

    Raises:
        WeightsError: if there is no record that the run ended well, the file would be larger than
            a megabyte, or the model is of text or of a plugin.
        CheckpointError: for a checkpoint that cannot be read.
    """
    model, identity = trained.load_trained(checkpoint)
    if not registry.is_built_in(identity["model"]):
        raise pretrained.WeightsError(
            f"only built-in models are kept there, which anybody can build; {identity['model']} is "
            "of a plugin: name a file to write"
        )
    task = registry.get(identity["model"]).task
    if task != DataSet.task.name or not isinstance(data, DataSet):
        raise pretrained.WeightsError(
            f"only models of images are kept there, {identity['model']} is of {task}: name a file "
            "to write"
        )
    if identity["dataset"] != data.fingerprint["decoded_sha256"]:
        raise pretrained.WeightsError(
            f"checkpoint {checkpoint} was not trained on this {data.name}: name its data by "
            "--dataset"
        )
    record_path = store.run_folder(results_dir, data.name, identity["model"])
    record = store.load(record_path / f"{checkpoint.stem}.json")
    if record is None or record["status"] != "ok":
        raise pretrained.WeightsError(
            f"no record under {record_path} says that the run of {checkpoint} ended well"
        )
    if identity["recipe"] != record["recipe"]["hash"]:
        raise pretrained.WeightsError(
            f"checkpoint {checkpoint} is of another recipe than its record"
        )
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > LARGEST:
        raise pretrained.WeightsError(
            f"{identity['model']} has {size:,} bytes of weights; at most {LARGEST:,} are kept "
            "there: name a file to write"
        )
    out = results_dir / "weights" / data.name / identity["model"]
    out = out / f"{checkpoint.stem}.safetensors"
    logits = probe(model, data.mean, data.std)
    numbers = {
        "num_classes": data.num_classes,
        "seed": record["seed"],
        "mean": data.mean,
        "std": data.std,
        "test_error": record["test_error"],
        "logits": logits.tolist(),
    }
    texts = {"model": identity["model"], "dataset": data.name, "recipe": record["recipe"]["name"]}
    texts |= trained.names_of_outputs(identity)
    trained.write(model, out, texts | {key: json.dumps(value) for key, value in numbers.items()})
    return out


@torch.no_grad()
def probe(model: torch.nn.Module, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """The logits (PROBES, classes) of the first test images of the bundled digits, in fp32."""
    images = datasets.digits().read_test().images[:PROBES].permute(0, 3, 1, 2)
    return model(Normalize(mean, std)(images))


def problems(path: Path, results_dir: Path) -> Iterator[str]:
    """What is wrong with a file of weights."""
    try:
        model, metadata = pretrained.built(path)
    except ValueError as error:  # also of the registry, for a model that it does not know
        yield str(error)
        return
    dataset, name, _ = path.relative_to(results_dir / "weights").parts
    if (metadata["dataset"], metadata["model"]) != (dataset, name):
        yield f"it is of {metadata['model']} on {metadata['dataset']}"
    try:
        record = store.load(store.run_folder(results_dir, dataset, name) / f"{path.stem}.json")
    except store.RecordError:  # which `verify` tells by itself
        record = None
    if record is None or record["status"] != "ok":
        yield "there is no record of a run that ended well"
    elif record["test_error"] != metadata["test_error"]:
        yield f"test error {metadata['test_error']}, its record has {record['test_error']}"
    told, found = torch.tensor(metadata["logits"]), probe(model, metadata["mean"], metadata["std"])
    tolerance = TOLERANCE * told.abs().max()
    if told.shape != found.shape or not (told - found).abs().max() <= tolerance:  # also for NaN
        yield "its logits of the bundled images are others than it says"
