"""What a checkpoint is good for after its run: its model, its test error, its weights in a file that others read."""

from pathlib import Path

import torch
from safetensors.torch import save

from benchmarks.batches import evaluation_batches
from benchmarks.checkpoints import CheckpointError, load_checkpoint
from benchmarks.files import write_atomically
from benchmarks.splits import DataSet
from benchmarks.training import Evaluation, Normalize, Settings, evaluate
from models import registry
from models.kernels.protocol import KernelNetwork
from models.materialize import materialize


def load_trained(checkpoint: Path) -> tuple[torch.nn.Module, dict]:
    """The model of a checkpoint with its weights, and the checkpoint's identity."""
    state = load_checkpoint(checkpoint)
    identity = state["identity"]
    model = registry.build(identity["model"], identity["num_classes"])
    model.load_state_dict(state["model"])
    return model.eval(), identity


def evaluate_checkpoint(checkpoint: Path, data: DataSet, settings: Settings) -> dict:
    """Test error of a checkpoint, in percent."""
    model, identity = load_trained(checkpoint)
    if identity["num_classes"] != data.num_classes:
        raise CheckpointError(f"{checkpoint} has {identity['num_classes']} classes, {data.name} has {data.num_classes}")
    normalize = Normalize(data.mean, data.std).to(settings.device)
    evaluation = settings.compiled(Evaluation(model.to(settings.device), normalize), isinstance(model, KernelNetwork))
    loss, error = evaluate(evaluation, evaluation_batches(data.read_test(), 128), settings)
    return {"model": identity["model"], "dataset": data.name, "seed": identity["seed"], "test_error": error,
            "test_loss": loss}  # fmt: skip


def export(checkpoint: Path, out: Path, materialized: bool) -> int:
    """Write a checkpoint's weights as safetensors; gives the number of tensors."""
    model, identity = load_trained(checkpoint)
    if materialized:
        model = materialize(model)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    metadata = {"model": identity["model"], "materialized": str(materialized).lower()}
    write_atomically(out, save(state, metadata=metadata))
    return len(state)
