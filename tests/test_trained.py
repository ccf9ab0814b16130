"""What becomes of a checkpoint after its run: test error and exported weights."""

import dataclasses

import pytest
import torch
from safetensors import safe_open

from benchmarks import runner
from benchmarks.batches import evaluation_batches
from benchmarks.checkpoints import CheckpointError
from benchmarks.trained import evaluate_checkpoint, export
from benchmarks.training import Evaluation, Normalize, evaluate
from tests.conftest import one_line
from tests.test_training import CPU, trainer


@pytest.fixture
def trained(digits, tiny, tmp_path):
    """A HyperResNet after one step, and its checkpoint."""
    run, path = trainer(digits, tiny, identity={"model": "hyper_resnet10_1", "num_classes": 10}), tmp_path / "run.ckpt"
    run.step(*next(run.batches.epoch(0, 0)), 0)
    run.save(path)
    return run.model.eval(), path


def test_the_error_is_the_models_own(digits, trained):
    model, path = trained
    evaluation = Evaluation(model, Normalize(digits.mean, digits.std))
    loss, error = evaluate(evaluation, evaluation_batches(digits.read_test(), 128), CPU)
    found = evaluate_checkpoint(path, digits, CPU)
    assert found == {"model": "hyper_resnet10_1", "dataset": "digits", "seed": 0, "test_error": error, "test_loss": loss}


def test_a_data_set_of_other_classes_is_refused(digits, trained):
    with pytest.raises(CheckpointError) as error:
        evaluate_checkpoint(trained[1], dataclasses.replace(digits, num_classes=100), CPU)
    assert "has 10 classes, digits has 100" in one_line(error)


@pytest.mark.parametrize("materialized", [False, True])
def test_exported_weights_make_the_same_network(digits, trained, tmp_path, materialized):
    model, path = trained
    count = export(path, tmp_path / "out.safetensors", materialized)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata() == {"model": "hyper_resnet10_1", "materialized": str(materialized).lower()}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    assert len(weights) == count
    network = runner.build("wide_resnet10_1" if materialized else "hyper_resnet10_1", 10, seed=1)
    network.load_state_dict(weights)
    x, _, _ = next(iter(evaluation_batches(digits.validation, 8)))
    x = x.float()
    assert torch.equal(network.eval()(x), model(x))
