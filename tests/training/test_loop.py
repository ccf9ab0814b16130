"""The objective, the loop, checkpoints, and that the test set is read once."""

import copy
import dataclasses
import weakref

import pytest
import torch
from torch import nn

from benchmarks.data.batches import evaluation_batches
from benchmarks.runs import runner
from benchmarks.training.checkpoints import CheckpointError, load_checkpoint
from benchmarks.training.compiling import Compiler
from benchmarks.training.loop import Interrupted, Settings, Trainer
from benchmarks.training.objective import Evaluation, Normalize, Objective, evaluate
from benchmarks.training.recipes import Block, Rule
from models import registry
from models.kernels.protocol import dense
from tests.conftest import without_collector

CPU = Settings(torch.device("cpu"))
NORMALIZE = Normalize((0.5,) * 3, (0.25,) * 3)


def batch(size=8):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(
        0, 256, (size, 3, 32, 32), generator=generator, dtype=torch.uint8
    ), torch.arange(size) % 10


def trainer(digits, recipe, name="hyper_resnet10_1", seed=0, settings=CPU, identity=None):
    model = runner.build(name, 10, seed)
    return Trainer(model, digits, recipe, settings, seed, identity or {"model": name})


def test_normalize():
    x = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    assert torch.allclose(NORMALIZE(x), torch.full((1, 3, 2, 2), 2.0))


@pytest.mark.parametrize("name", ["wide_resnet10_1_projection", "resnet8"])
def test_l2_is_weight_decay_on_a_plain_net(name):
    """Ten SGD steps with the objective's term give the same weights as with `weight_decay`."""
    x, y = batch()
    weights = []
    for in_objective in (True, False):
        model = runner.build(name, 10, seed=0).double()
        objective = Objective(model, NORMALIZE, l2=0.05 if in_objective else 0.0)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        rest = [p for p in model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": 0.0 if in_objective else 0.05},
            {"params": rest},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
        objective.normalize = nn.Sequential(NORMALIZE, ToDouble())
        for _ in range(10):
            optimizer.zero_grad()
            objective(x, y)[0].backward()
            optimizer.step()
        weights.append([p.detach().clone() for p in model.parameters()])
    # The objective works in fp32, so equal to its rounding, and not without the term.
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*weights, strict=True))
    plain = runner.build(name, 10, seed=0).double()
    assert not torch.allclose(weights[0][0], next(plain.parameters()), rtol=1e-2)


@pytest.mark.slow
def test_the_largest_hypernetwork_takes_a_step(digits, tiny):
    """28-10: 1.1 M parameters generate what the plain network stores in 36 M."""
    made = trainer(digits, dataclasses.replace(tiny, batch_size=2), "hyper_resnet28_10")
    before = {name: p.detach().clone() for name, p in made.model.named_parameters()}
    assert sum(p.numel() for p in before.values()) == 1_115_162
    made.model.train()
    loss, _ = made.step(next(made.learning.epoch(0, 0, 0)), 0)
    assert loss.isfinite()
    for part in (
        "kernels.embeddings",
        "kernels.w_in",
        "kernels.w_out",
        "stem.weight",
        "classifier.weight",
    ):
        now = made.model.get_parameter(part)
        assert now.isfinite().all() and not torch.equal(now, before[part]), part


class ToDouble(nn.Module):
    def forward(self, x):
        return x.double()


def test_l2_acts_on_generated_kernels_only():
    model = runner.build("hyper_resnet10_1", 10, seed=0).train()
    x, y = batch()
    with torch.no_grad():
        without, with_l2 = (Objective(model, NORMALIZE, l2)(x, y)[0] for l2 in (0.0, 1.0))
    weights = [*model.generate(), model.stem.weight, model.classifier.weight]
    assert float(with_l2 - without) == pytest.approx(
        0.5 * sum(float(w.detach().square().sum()) for w in weights), rel=1e-4
    )


@pytest.mark.parametrize("name", ["basis_resnet10_1", "tucker_resnet10_1"])
def test_penalty_and_l2_are_in_fp32_under_autocast(name):
    """In half precision the Gram matrix's rounding would outweigh the task's gradient."""
    model = runner.build(name, 10, seed=0).train()
    with torch.no_grad():
        for parameter in model.kernels.parameters():
            parameter.mul_(1 + 0.01 * torch.randn_like(parameter))
        kernels = model.generate()
        weights = [*map(dense, kernels), *model.stored_weights()]
        squares = sum(float(weight.square().sum()) for weight in weights)
        expected = float(model.kernels.penalty(kernels)) + 0.5 * 0.01 * squares
        x, y = batch()
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = Objective(model, NORMALIZE, l2=0.01)(x, y)
            logits = model(NORMALIZE(x)).float()
    assert float(loss - nn.functional.cross_entropy(logits, y)) == pytest.approx(expected, rel=1e-5)


def test_l2_of_a_foreign_module_is_on_its_matrices():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    x, y = batch()
    without, with_l2 = (Objective(model, NORMALIZE, l2)(x, y)[0] for l2 in (0.0, 1.0))
    assert float((with_l2 - without).detach()) == pytest.approx(
        0.5 * float(model[1].weight.detach().square().sum()), rel=1e-4
    )


@pytest.mark.parametrize(
    "component, moving", [("generator", "embeddings"), ("embeddings", "w_out")]
)
def test_a_frozen_component_stays_as_drawn(digits, tiny, component, moving):
    name = f"hyper_resnet10_1_frozen_{component}"
    run = trainer(digits, tiny, name)
    drawn = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.step(next(run.learning.epoch(0, 0, 0)), step=5)
    parts = {key: run.model.component_of(key) for key, _ in run.model.named_parameters()}
    still = {key for key in parts if torch.equal(drawn[key], run.model.state_dict()[key])}
    assert {
        key for key in parts if parts[key] == component
    } <= still and f"kernels.{moving}" not in still
    frozen = sum(p.numel() for p in run.model.parameters() if not p.requires_grad)
    assert frozen == registry.get(name).frozen_parameters() > 0


@pytest.mark.parametrize(
    "name", ["hyper_resnet10_1", "hyper_resnet10_1_frozen_generator", "template_resnet10_1"]
)
def test_a_scaled_step_moves_against_the_scaled_gradient(digits, tiny, name):
    block = Block("sgd", 0.1, 0.0, warmup=0.0, momentum=0.0)
    run = trainer(digits, dataclasses.replace(tiny, scaled=block), name)
    x, y = next(run.learning.epoch(0, 0, 0))
    twin = copy.deepcopy(run.model)
    objective = Objective(twin, Normalize(digits.mean, digits.std), 0.0)
    objective(x, y)[0].backward()
    twin.kernels.scale_gradients()
    run.step((x, y), step=0)
    for (key, here), there in zip(run.model.named_parameters(), twin.parameters(), strict=True):
        moved = there if there.grad is None else there - 0.1 * there.grad
        torch.testing.assert_close(here, moved, msg=key)


def test_evaluate_counts_real_images_only(digits):
    """Error and loss do not depend on the batch size: repeated images do not count."""
    model = runner.build("wide_resnet10_1", 10, seed=0).eval()
    evaluation = Evaluation(model, Normalize(digits.mean, digits.std))
    whole, parts = (
        evaluate(evaluation, evaluation_batches(digits.validation, size), CPU) for size in (180, 64)
    )
    assert whole[:2] == pytest.approx(parts[:2])
    assert torch.equal(whole.wrong, parts.wrong)
    assert len(whole.wrong) == len(digits.validation)


@pytest.mark.parametrize("name", ["wide_resnet10_1", "hyper_resnet10_1"])
def test_an_ended_run_is_freed_at_once(few, tiny, name):
    """Without the garbage collector: on a GPU the next run would find less memory."""
    run = trainer(few, dataclasses.replace(tiny, batch_size=32), name)
    run.train()
    left = [weakref.ref(run), weakref.ref(run.model)]
    with without_collector():
        del run
        assert [reference() for reference in left] == [None, None]


@pytest.mark.slow
def test_it_learns(digits, tiny):
    recipe = dataclasses.replace(tiny, epochs=3, batch_size=32)
    result = trainer(digits, recipe, "wide_resnet10_1").train()
    assert result.status == "ok" and result.test_error < 40
    assert [e["step"] for e in result.history.epochs] == [39, 78, 117]


def test_it_reads_the_test_set_once(few, tiny):
    few = dataclasses.replace(few, _reads={"test": 0})
    seen = []
    recipe = dataclasses.replace(tiny, epochs=3, batch_size=32)
    trainer(few, recipe, "wide_resnet10_1").train(
        on_epoch=lambda entry, epochs: seen.append(few.test_reads)
    )
    assert seen == [0, 0, 0] and few.test_reads == 1


def test_the_last_epoch_may_be_partial(few, tiny):
    stored = dataclasses.replace(tiny.stored, steps=6)
    recipe = dataclasses.replace(tiny, batch_size=32, stored=stored)
    result = trainer(few, recipe, "wide_resnet10_1").train()
    assert [e["step"] for e in result.history.epochs] == [4, 6]


def without_times(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history.epochs]


@pytest.mark.parametrize("stop_after", [4, 5, 7])
def test_resume_is_exact(few, tiny, tmp_path, stop_after):
    """After the first, the second and the last step of an epoch of four."""
    recipe = dataclasses.replace(tiny, epochs=3, batch_size=32)
    resume_exactly(few, recipe, tmp_path / "run.ckpt", stop_after)


def test_resume_is_exact_with_an_optimizer_for_each_part(few, tiny, tmp_path):
    rules = {"embeddings": Rule("adam", 0.02), "backbone": Rule("sgd", 0.02)}
    block = dataclasses.replace(tiny.generated, **rules)
    recipe = dataclasses.replace(tiny, epochs=3, batch_size=32, generated=block, scaled=None)
    assert len(trainer(few, recipe).optimizers) == 3
    resume_exactly(few, recipe, tmp_path / "run.ckpt", 5)


def resume_exactly(data, recipe, path, stop_after):
    whole = trainer(data, recipe)
    expected = whole.train()
    reasons = iter([None] * stop_after + ["enough"])
    with pytest.raises(Interrupted, match="enough in epoch 2 of 3"):
        trainer(data, recipe).train(path, lambda: next(reasons))
    again = trainer(data, recipe, seed=0)
    again.restore(load_checkpoint(path))
    assert again.history.steps_done == stop_after + 1 and len(again.history.epochs) == 1
    result = again.train(path)
    assert result.test_error == expected.test_error
    assert without_times(result.history) == without_times(expected.history)
    for a, b in zip(
        whole.model.state_dict().values(), again.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_diverged(digits, tiny):
    recipe = dataclasses.replace(tiny, stored=dataclasses.replace(tiny.stored, learning_rate=1e30))
    digits = dataclasses.replace(digits, _reads={"test": 0})
    result = trainer(digits, recipe, "wide_resnet10_1").train()
    assert (result.status, result.test_error, digits.test_reads) == ("diverged", None, 0)
    assert "not finite in epoch 1" in result.reason


def test_weights_that_do_not_fit_are_refused(digits, tiny, tmp_path):
    trainer(digits, tiny, "wide_resnet10_1").save(tmp_path / "run.ckpt")
    with pytest.raises(CheckpointError, match="does not fit hyper_resnet10_1"):
        trainer(digits, tiny).restore(load_checkpoint(tmp_path / "run.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wide_resnet10_1", "hyper_resnet10_1"])
@pytest.mark.parametrize(
    "dtype, images, tolerance", [(torch.float64, 32, 1e-5), (torch.float32, 4, 1e-3)]
)
def test_compiled_agrees_with_eager(name, dtype, images, tolerance):
    """In fp32 few images: rounding that turns one ReLU around changes gradients by 3e-3 at once."""
    x, y = batch(images)
    results = []
    for compiled in ("off", "default"):
        model = runner.build(name, 10, seed=0).train()
        objective = Objective(model, copy.deepcopy(NORMALIZE), 5e-4).to(dtype)
        compiler = Compiler(Settings(torch.device("cpu"), "fp32", compiled))
        loss, _ = compiler(objective)(x, y)
        loss.backward()
        results.append((float(loss.detach()), {n: p.grad for n, p in model.named_parameters()}))
    (eager, eager_grads), (compiled, grads) = results
    assert compiled == pytest.approx(eager, rel=1e-5)
    for key, grad in eager_grads.items():
        if key == "stem.bias" or key.startswith("biases."):
            continue  # zero but for rounding: each feeds a batch norm
        assert float((grads[key] - grad).norm()) <= tolerance * float(grad.norm()), key
