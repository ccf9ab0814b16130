"""Which parameters follow which rule, with which optimizer, and what a resume keeps of it."""

import contextlib
import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.training.checkpoints import CheckpointError, load_checkpoint
from benchmarks.training.loop import Interrupted, Trainer
from benchmarks.training.optimizers import kind_of, make_optimizer, ruled
from benchmarks.training.recipes import Block, Rule
from tests.training.test_loop import CPU, trainer


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("kind, momentum", [("sgd", 0.9), ("sgd", 0.0), ("adam", 0.9)])
def test_a_first_gradient_may_come_late(kind, momentum, dtype):
    """Each parameter moves as with torch's own loop over it alone, from its first gradient on."""
    early, late = (nn.Parameter(torch.ones(3, dtype=dtype)) for _ in range(2))
    rule = Block(kind, 0.1, 0.0, momentum=momentum)
    optimizer = make_optimizer([early, late], rule, torch.device("cpu"))
    alone = nn.Parameter(torch.ones(3, dtype=dtype))
    options = {"momentum": momentum, "nesterov": momentum > 0} if kind == "sgd" else {}
    expected = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[kind]([alone], 0.1, **options)
    for step in range(6):
        loss = early.abs().square().sum()
        if step in (2, 3, 5):
            (loss + late.abs().square().sum()).backward()
            alone.grad = late.grad.clone()
            expected.step()
        else:
            loss.backward()
            assert late.grad is None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.testing.assert_close(late, alone)
    assert not torch.equal(early, late)


class Late(nn.Module):
    """A layer that is used from the fourth training step on."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3072, 10), nn.Linear(10, 10, bias=False)
        self.last = nn.BatchNorm1d(10)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if self.training:
            self.steps += 1
        x = self.first(x.flatten(1))
        return self.last(self.second(x) if self.steps > 3 else x)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("stop_after", [2, 4])
def test_resume_is_exact_where_some_have_no_gradient_yet(few, tiny, tmp_path, kind, stop_after):
    """Stopped before and after the first gradient, the run ends as if it had not been."""
    block = dataclasses.replace(tiny.stored, optimizer=kind, l2=0.0)
    recipe = dataclasses.replace(tiny, batch_size=32, epochs=2, stored=block)

    def trained(folder, steps):
        torch.manual_seed(0)
        run = Trainer(Late(), few, recipe, CPU, 0, {"model": "late"}, foreign=True)
        if (folder / "run.ckpt").exists():
            run.restore(load_checkpoint(folder / "run.ckpt"))
        reasons = iter([None] * (steps - 1) + ["enough"])
        with contextlib.suppress(Interrupted):
            run.train(folder / "run.ckpt", lambda: next(reasons))
        return run.model.state_dict()

    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = trained(tmp_path / "whole", 100)
    trained(tmp_path / "parts", stop_after)
    parts = trained(tmp_path / "parts", 100)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert whole["steps"] == 8


@pytest.mark.parametrize("kind, expected", [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_optimizer(kind, expected):
    optimizer = make_optimizer(
        [*nn.Linear(2, 2).parameters()], Block(kind, 0.1, 1.0), torch.device("cpu")
    )
    assert isinstance(optimizer, expected)
    assert all(group["weight_decay"] == 0 for group in optimizer.param_groups)


def test_parts_follow_rules_of_their_own_on_the_schedule_of_the_block(digits, tiny):
    rules = {"embeddings": Rule("adam", 0.05), "backbone": Rule("sgd", 0.02, momentum=0.0)}
    block = Block("adam", 0.1, 0.0, warmup=0.5, **rules)
    run = trainer(
        digits, dataclasses.replace(tiny, generated=block, scaled=None), "hyper_resnet10_1"
    )
    names = {id(p): name for name, p in run.model.named_parameters()}
    found = [
        {names[id(p)] for p in optimizer.param_groups[0]["params"]} for optimizer in run.optimizers
    ]
    assert [type(optimizer) for optimizer in run.optimizers] == [
        torch.optim.Adam,
        torch.optim.Adam,
        torch.optim.SGD,
    ]
    assert found[:2] == [
        {f"kernels.{name}" for name in ("w_in", "b_in", "w_out", "b_out")},
        {"kernels.embeddings"},
    ]
    assert found[2] == {name for name in names.values() if not name.startswith("kernels.")}
    weight, gradients = run.model.classifier.weight, []
    before = weight.detach().clone()
    run.optimizers[2].register_step_post_hook(lambda *_: gradients.append(weight.grad.clone()))
    run.step(next(run.learning.epoch(0, 0, 0)), step=0)
    share = block.learning_rate_at(0, run.total) / 0.1
    assert 0 < share < 1
    torch.testing.assert_close(weight, before - 0.02 * share * gradients[0])
    assert [float(o.param_groups[0]["lr"]) for o in run.optimizers] == pytest.approx(
        [0.1 * share, 0.05 * share, 0.02 * share]
    )


def test_sources_that_scale_their_gradients_take_the_block_for_them(digits, tiny):
    recipe = dataclasses.replace(tiny, scaled=Block("sgd", 0.1, 0.0))
    kinds = {
        name: trainer(digits, recipe, name).kind
        for name in ("wide_resnet10_1", "hyper_resnet10_1", "hashed_resnet10_1")
    }
    assert kinds == {
        "wide_resnet10_1": "stored",
        "hyper_resnet10_1": "scaled",
        "hashed_resnet10_1": "generated",
    }
    assert (
        trainer(digits, dataclasses.replace(tiny, scaled=None), "hyper_resnet10_1").kind
        == "generated"
    )


def test_a_foreign_module_is_stored_kernels_whatever_its_attributes(tiny):
    class Foreign(nn.Linear):
        generated = True
        kernels = SimpleNamespace(generated=True, scales_gradients=True)

    assert kind_of(Foreign(2, 2), tiny) == "stored"


def test_a_foreign_module_is_all_under_the_rule_of_the_block():
    block = Block("sgd", 0.1, 0.0, backbone=Rule("adam", 0.01))
    assert [(rule, len(parameters)) for rule, parameters in ruled(nn.Linear(2, 2), block)] == [
        (block, 2)
    ]


def test_a_changed_recipe_has_its_own_options_after_a_resume(digits, tiny, tmp_path):
    first, other = (
        trainer(digits, tiny, "wide_resnet10_1"),
        dataclasses.replace(tiny.stored, momentum=0.5),
    )
    first.step(next(first.learning.epoch(0, 0, 0)), 0)
    first.save(tmp_path / "run.ckpt")
    again = trainer(digits, dataclasses.replace(tiny, stored=other), "wide_resnet10_1")
    again.restore(load_checkpoint(tmp_path / "run.ckpt"))
    (group,) = again.optimizers[0].param_groups
    assert group["momentum"] == 0.5 and group["lr"] is again._rates[0][0]
    momenta = [
        optimizer.state[run.model.stem.weight]["momentum_buffer"]
        for run in (first, again)
        for optimizer in run.optimizers
    ]
    assert torch.equal(*momenta)
    adam = trainer(
        digits,
        dataclasses.replace(tiny, stored=dataclasses.replace(tiny.stored, optimizer="adam")),
        "wide_resnet10_1",
    )
    with pytest.raises(CheckpointError, match="its optimizer is not Adam"):
        adam.restore(load_checkpoint(tmp_path / "run.ckpt"))
