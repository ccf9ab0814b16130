"""What is done with a checkpoint after its run: load the model, evaluate it, export its weights."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from benchmarks.data.datasets import Data
from benchmarks.data.splits import Split
from benchmarks.data.text import Text
from benchmarks.runs.building import build
from benchmarks.system import generators
from benchmarks.system.faults import one_line
from benchmarks.system.files import write_atomically
from benchmarks.training.checkpoints import CheckpointError, load_checkpoint, load_weights
from benchmarks.training.compiling import Compiler
from benchmarks.training.learning import evaluator_of
from benchmarks.training.settings import Settings
from models import registry
from models.kernels.protocol import KernelNetwork
from models.materialize import materialize

EVALUATED = 128
"""Images at a time."""


def load_trained(checkpoint: Path) -> tuple[torch.nn.Module, dict]:
    """The model of a checkpoint with its weights, and the checkpoint's identity.

    It is built from the run's seed: what a checkpoint does not hold is as it was drawn then.

    Raises:
        CheckpointError: if there is no model of that name, or if it has other weights as it is
            built now.
    """
    state = load_checkpoint(checkpoint)
    identity = state["identity"]
    name, classes = identity.get("model"), identity.get("num_classes")
    if not isinstance(name, str) or not isinstance(classes, int):
        raise CheckpointError(f"checkpoint {checkpoint} does not name its model and classes")
    try:
        registry.get(name)
    except registry.RegistryError:
        raise CheckpointError(
            f"checkpoint {checkpoint} is of {name!r}, which is no model of this suite; the "
            "file that registers it is given by --plugin"
        ) from None
    with generators.kept():
        model = build(name, classes, identity.get("seed", 0))
    try:
        load_weights(model, state)
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit {name!r} as it is now: {one_line(str(error))}"
        ) from None
    model.eval()
    return model, identity


def evaluate_checkpoint(
    checkpoint: Path,
    data: Data,
    settings: Settings,
    note: Callable[[str], None] = lambda text: None,
) -> dict:
    """Test error of a checkpoint, in the task's metric, and whether it was trained on these data.

    `note` is called if the model cannot be compiled and is evaluated eagerly.

    Raises:
        CheckpointError: if the data set has other classes, or another number of them.
        DataError: for a text with symbols that the model never saw.
    """
    model, identity = load_trained(checkpoint)
    task = registry.get(identity["model"]).task
    if task != data.task.name:
        raise CheckpointError(f"{checkpoint} is of {task}, {data.name} is of {data.task.name}")
    compiler = Compiler(settings, not registry.is_built_in(identity["model"]), note)
    evaluator = evaluator_of(model.to(settings.device), data, settings, compiler)
    tested = evaluator.evaluate(
        _test_split(checkpoint, identity, data).to(settings.device), EVALUATED
    )
    return {
        "model": identity["model"],
        "seed": identity["seed"],
        "dataset": data.name,
        "same_data": identity.get("dataset") == data.fingerprint["decoded_sha256"],
        "test_error": tested.error,
        "test_loss": tested.loss,
    }


def _test_split(checkpoint: Path, identity: dict, data: Data) -> Split | torch.Tensor:
    """The test split, whose labels or symbols mean what they meant in training."""
    outputs, number = identity.get("outputs"), identity["num_classes"]
    if isinstance(data, Text) and outputs:
        return data.read_test_as(outputs)
    if number != data.num_classes:
        raise CheckpointError(
            f"{checkpoint} has {number} {data.task.outputs}, {data.name} has {data.num_classes}"
        )
    if outputs and data.outputs:
        for own, other in zip(outputs, data.outputs, strict=True):
            if own != other:
                raise CheckpointError(
                    f"{checkpoint} has a class {own!r} where {data.name} has {other!r}"
                )
    return data.read_test()


def export(checkpoint: Path, out: Path, materialized: bool) -> int:
    """Write a checkpoint's weights as safetensors, with materialised kernels if so wanted.

    Returns:
        The number of tensors.

    Raises:
        CheckpointError: if kernels are to be materialised that no source generates.
    """
    model, identity = load_trained(checkpoint)
    if materialized:
        if not isinstance(model, KernelNetwork):
            kind = type(model).__name__
            raise CheckpointError(f"checkpoint {checkpoint}: {kind} has no kernel source")
        model = materialize(model)
    metadata = {"model": identity["model"], "materialized": str(materialized).lower()}
    write(model, out, metadata | names_of_outputs(identity))
    return len(model.state_dict())


def names_of_outputs(identity: dict) -> dict[str, str]:
    """The metadata that says what the network's outputs stand for, where the data had names."""
    outputs = identity.get("outputs")
    return {"outputs": json.dumps(list(outputs))} if outputs else {}


def write(model: torch.nn.Module, out: Path, metadata: dict[str, str]) -> None:
    """Write a model's weights as safetensors.

    Raises:
        CheckpointError: if its state holds anything else than tensors.
    """
    others = [
        key for key, value in model.state_dict().items() if not isinstance(value, torch.Tensor)
    ]
    if others:
        raise CheckpointError(
            f"{metadata['model']} has no tensor under {others[0]!r}; safetensors hold nothing else"
        )
    # Copies, because the format does not have tied weights: one tensor under two names.
    state = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    write_atomically(out, save(state, metadata=metadata))
