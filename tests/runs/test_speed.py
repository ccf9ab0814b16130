"""Speed records: what is timed, which models are untimed, and compiled against eager."""

import dataclasses
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measuring.timing import SHORT, Timer, interval
from benchmarks.records import store
from benchmarks.runs import speed
from benchmarks.runs.bench import Bench, TimingSetup
from benchmarks.runs.building import build
from benchmarks.runs.settings import set_switches
from benchmarks.training.learning import repeated
from benchmarks.training.recipes import RECIPES, load
from benchmarks.training.settings import Settings
from models import ledger, registry
from models.materialize import materialize
from tests.conftest import without_collector

CPU = torch.device("cpu")


class Trace(TorchDispatchMode):
    """The operators that run, with the shapes of their tensors."""

    def __init__(self):
        super().__init__()
        self.ran = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        shapes = [tuple(a.shape) for a in arguments if isinstance(a, torch.Tensor)]
        self.ran.append((str(function), shapes))
        return function(*arguments, **(options or {}))


def test_a_materialised_network_runs_the_operators_of_its_plain_pair():
    x, traces = torch.randn(2, 3, 32, 32), []
    for model in (
        materialize(build("hyper_resnet10_1", 10, 0)),
        build("wide_resnet10_1", 10, 0),
    ):
        with torch.inference_mode(), Trace() as trace:
            model.eval()(x)
        traces.append(trace.ran)
    assert traces[0] == traces[1] and len(traces[0]) > 20


def bench(digits, name, settings, batch_size=32, images=256):
    recipe = dataclasses.replace(load("epochs10"), batch_size=batch_size)
    data = repeated(digits, recipe, images).to(settings.device)
    return Bench(build(name, 10, 0), data, recipe, settings)


@pytest.mark.parametrize("flip", [None, True])
def test_what_is_timed_mirrors_as_its_recipe_does(digits, flip):
    recipe = dataclasses.replace(load("epochs10"), batch_size=32, flip=flip)
    data = repeated(digits, recipe, 64)
    made = Bench(build("wide_resnet10_1", 10, 0), data, recipe, Settings(CPU))
    assert made.trainer.learning.batches.flip is bool(flip)


def test_what_was_timed_is_freed_at_once(digits):
    """Else the next model's peak memory holds it."""
    made = bench(digits, "hyper_resnet10_1", Settings(torch.device("cpu")))
    made.step.run()
    left = [weakref.ref(made), weakref.ref(made.trainer), weakref.ref(made.model)]
    with without_collector():
        del made
        assert [reference() for reference in left] == [None, None, None]


def test_an_epoch_is_steps(digits):
    made = bench(digits, "wide_resnet10_1", Settings(CPU))
    assert made.step.images == 32 and made.epoch.images == 256
    before = [p.detach().clone() for p in made.model.parameters()]
    made.epoch.run()
    assert made.trainer.history.images == 7 * 32  # the first step is not in the rate
    assert any(not torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))


@pytest.mark.parametrize("call", ["step", "epoch"])
def test_what_is_timed_sets_its_own_determinism(digits, call):
    made = bench(digits, "wide_resnet10_1", Settings(CPU), images=64)
    set_switches(deterministic=True)
    getattr(made, call).run()
    assert not torch.are_deterministic_algorithms_enabled()


def test_models_without_a_speed_record_of_their_optimizer_are_untimed(few, tmp_path):
    settings, demo = Settings(CPU), RECIPES["demo"]
    one_rule = dataclasses.replace(demo.scaled, backbone=None)
    recipe = dataclasses.replace(demo, batch_size=32, scaled=one_rule)
    protocol = dataclasses.replace(SHORT, window_s=0.01, max_warmup=1, windows=2)
    setup = TimingSetup(repeated(few, recipe, 64), recipe, settings, protocol)
    names = ["wide_resnet10_1", "hyper_resnet10_1"]
    timings = speed.time_models(names, setup, tmp_path)
    assert [timing.model for timing in timings] == names
    record = timings[1].record
    assert record["optimizer"] == "scaled sgd"
    assert timings[1].record_path.name == "hyper_resnet10_1-scaled-sgd-batch32.json"
    assert speed.untimed([*names, "resnet8"], tmp_path, recipe, settings) == ["resnet8"]
    for torn in ("", "[]", "{}"):
        store.throughput_path(tmp_path, record["device"], "resnet8", batch_size=32).write_text(torn)
        assert speed.untimed([*names, "resnet8"], tmp_path, recipe, settings) == ["resnet8"]
    unscaled = dataclasses.replace(recipe, scaled=None)
    assert speed.untimed(names, tmp_path, unscaled, settings) == ["hyper_resnet10_1"]
    for other in ({"precision": "bf16"}, {"compile": "default"}, {"deterministic": True}):
        changed = dataclasses.replace(settings, **other)
        assert speed.untimed(names, tmp_path, recipe, changed) == names


def test_the_name_of_a_speed_record_says_an_unusual_optimizer():
    name = "hyper_resnet10_1"
    assert speed.optimizer_in_place(name, load("epochs200")) == ("scaled sgd, backbone sgd", None)
    assert speed.optimizer_in_place(name, RECIPES["paper"]) == ("adam", "adam")


def test_timing_data_are_real_and_repeated(digits):
    data = repeated(digits, load("epochs10"), 3000)
    assert len(data.train) == 3000 and torch.equal(
        data.train.images[2999], digits.train.images[2999 % len(digits.train)]
    )


def test_a_ratio_of_two_models_is_not_one_of_two_optimizers():
    recipe = speed.same_optimizer(load("epochs10"))
    assert recipe.generated == recipe.stored == load("epochs10").stored


@pytest.mark.slow
def test_one_graph_for_training_and_one_for_evaluation(digits):
    """Whole epochs, then evaluation with a padded last batch: two graphs, none compiled twice."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    made = bench(digits, "hyper_resnet10_1", Settings(CPU, "bf16", "default"))
    for _ in range(2):
        made.epoch.run()
    stats = torch._dynamo.utils.counters["stats"]
    assert stats["unique_graphs"] == 1 and not torch._dynamo.utils.counters["graph_break"]
    trainer = made.trainer
    trainer.model.eval()
    for split in (digits.validation, digits.read_test()):
        trainer.evaluator.evaluate(split, 32)
    made.epoch.run()
    assert stats["unique_graphs"] == 2


@pytest.mark.slow
def test_bf16_compiled_agrees_with_eager(digits):
    losses = []
    for compiled in ("off", "default"):
        made = bench(digits, "hyper_resnet10_1", Settings(CPU, "bf16", compiled))
        batch = next(made.trainer.learning.epoch(0, 0, 0))
        losses.append(float(made.trainer.step(batch, 0)[0]))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_modelled_traffic_by_hand():
    """40-1: the stem, and 12 blocks of two convolutions in each stage."""
    values = 16 * 1024 + 12 * (16 * 1024 + 32 * 256 + 64 * 64)
    assert (
        ledger.training_bytes(ledger.kernel_shapes(40, (16, 32, 64)), 2)
        == ledger.ACTIVATION_PASSES * 2 * values
    )


def test_bounds_are_of_the_models_own_backbone(own_models):
    """resnet8 has a stem and one block a stage; a foreign module has no modelled traffic."""
    registry.register_model("foreign")(lambda classes: None)
    settings = Settings(CPU, "fp32")
    bounds = speed._bounds("resnet8", 1.0, RECIPES["demo"], settings)
    assert bounds["modelled_bytes_per_image"] == 15 * 4 * (
        16 * 1024 + 2 * (16 * 1024 + 32 * 256 + 64 * 64)
    )
    assert bounds["flops_per_image"] == 6 * registry.get("resnet8").macs()[0]
    assert speed._bounds("foreign", 1.0, RECIPES["demo"], settings) is None


def test_epoch_against_steps(digits):
    made = bench(digits, "wide_resnet10_1", Settings(CPU), images=64)
    protocol = dataclasses.replace(SHORT, window_s=0.01, epochs=2)
    found = speed._epoch_against_steps(made, 2, Timer(CPU), protocol)
    assert found["rate"]["windows"] == 2 and set(found["ratio"]) == set(interval([1.0], [1.0]))
