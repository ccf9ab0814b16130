"""Weights of trained models, as safetensors with what is needed to use them in the metadata.

They lie in `results/weights/<dataset>/<model>/<recipe>-seed<k>.safetensors` and are written by
`export`, checked by `verify`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from models import registry

FOLDER = Path(__file__).resolve().parents[1] / "results" / "weights"
NUMBERS = ("num_classes", "seed", "mean", "std", "test_error", "logits")
"""Of the metadata, which holds text: what stands in it as JSON."""
TEXTS = ("model", "dataset", "recipe")
"""What stands in it as text."""


class WeightsError(ValueError):
    """Weights that are not there or do not fit; the message is one line for the user."""


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of a file and its metadata.

    Raises:
        WeightsError: if it is no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - a handle is no dict
        for key in NUMBERS:
            metadata[key] = json.loads(metadata[key])
        for key in TEXTS:
            metadata[key]  # raises where it is missing
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"weights {path} cannot be read: {error}") from None
    return tensors, metadata


def built(path: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The model of a file in evaluation mode, with its weights; and the metadata.

    Raises:
        WeightsError: if the file is none of weights, or is of another model than that of its name.
    """
    tensors, metadata = read(path)
    model = registry.build(metadata["model"], metadata["num_classes"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        shown = " ".join(str(error).split())[:200]
        raise WeightsError(f"weights {path} do not fit {metadata['model']}: {shown}") from None
    return model.eval(), metadata


def load(name: str, weights: str, folder: Path = FOLDER) -> torch.nn.Module:
    """A registered model with weights such as "cifar10-9980/epochs30" (seed 0) or ".../...-seed1".

    Its input are images (B, 3, 32, 32) on the scale from 0 to 1, minus `pretrained_cfg["mean"]`,
    divided by `pretrained_cfg["std"]`, each of the three channels.

    Raises:
        WeightsError: for weights that are not there, naming those that are.
    """
    dataset, _, run = weights.rpartition("/")
    if "-seed" not in run:
        run = f"{run}-seed0"
    path = folder / dataset / name / f"{run}.safetensors"
    if not path.is_file():
        files = sorted(folder.glob(f"*/{name}/*.safetensors"))
        there = [f"{file.parts[-3]}/{file.stem}" for file in files]
        raise WeightsError(
            f"no weights {weights!r} of {name}; there are: {', '.join(there) or 'none'}"
        )
    model, metadata = built(path)
    kept = ("mean", "std", "num_classes", "dataset", "recipe", "seed", "test_error")
    model.pretrained_cfg = {key: metadata[key] for key in kept}  # type: ignore[assignment]
    return model
