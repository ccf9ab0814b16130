"""What is done with a checkpoint after its run: load the model, evaluate it, export its weights."""

from pathlib import Path

import torch
from safetensors.torch import save

from benchmarks.data.batches import evaluation_batches
from benchmarks.data.splits import DataSet
from benchmarks.system.files import write_atomically
from benchmarks.training.checkpoints import CheckpointError, load_checkpoint
from benchmarks.training.objective import Evaluation, Normalize, evaluate
from benchmarks.training.settings import Settings
from models import registry
from models.kernels.protocol import KernelNetwork
from models.materialize import materialize


def load_trained(checkpoint: Path) -> tuple[torch.nn.Module, dict]:
    """The model of a checkpoint with its weights, and the checkpoint's identity.

    Raises:
        CheckpointError: if the model of that name, as it is built now, has other weights.
    """
    state = load_checkpoint(checkpoint)
    identity = state["identity"]
    try:
        model = registry.build(identity["model"], identity["num_classes"])
        model.load_state_dict(state["model"])
    except (RuntimeError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit {identity.get('model')!r} as it is now: {reason}"
        ) from None
    return model.eval(), identity


def evaluate_checkpoint(checkpoint: Path, data: DataSet, settings: Settings) -> dict:
    """Test error of a checkpoint, in percent, and whether it was trained on these data.

    Raises:
        CheckpointError: if the data set has another number of classes.
    """
    model, identity = load_trained(checkpoint)
    if identity["num_classes"] != data.num_classes:
        raise CheckpointError(
            f"{checkpoint} has {identity['num_classes']} classes, "
            f"{data.name} has {data.num_classes}"
        )
    normalize = Normalize(data.mean, data.std).to(settings.device)
    evaluation = settings.compiled(
        Evaluation(model.to(settings.device), normalize), isinstance(model, KernelNetwork)
    )
    tested = evaluate(
        evaluation, evaluation_batches(data.read_test().to(settings.device), 128), settings
    )
    return {
        "model": identity["model"],
        "seed": identity["seed"],
        "dataset": data.name,
        "same_data": identity.get("dataset") == data.fingerprint["decoded_sha256"],
        "test_error": tested.error,
        "test_loss": tested.loss,
    }


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
    # Copies, because the format does not have tied weights: one tensor under two names.
    state = {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    metadata = {"model": identity["model"], "materialized": str(materialized).lower()}
    write_atomically(out, save(state, metadata=metadata))
    return len(state)
