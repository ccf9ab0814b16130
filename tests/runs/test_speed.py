"""What is compared with is what it says, and the fast path computes what the slow one does."""

import dataclasses
import mmap
import platform
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.data.batches import evaluation_batches
from benchmarks.measuring.baselines import ConvolutionalWRN, OrdinaryLoop, TileLoopKernels
from benchmarks.measuring.timing import SHORT, Timer, interval
from benchmarks.records import store
from benchmarks.runs import runner, speed
from benchmarks.system import device
from benchmarks.training.loop import Settings, evaluate
from benchmarks.training.recipes import RECIPES
from models import ledger, registry
from models.materialize import materialize
from models.wide_resnet import WideResNet
from tests.conftest import ROOT

CPU = torch.device("cpu")


def test_the_tile_loop_is_the_same_hypernetwork():
    ours = runner.build("hyper_resnet10_2", 10, seed=0)
    theirs = WideResNet(10, 2, 10, TileLoopKernels)
    theirs.load_state_dict(ours.state_dict())
    kernels, looped = ours.generate(), theirs.generate()
    for a, b in zip(kernels, looped, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    for generated in (kernels, looped):
        sum(
            (k * torch.linspace(-1, 1, k.numel()).view(k.shape)).sum() for k in generated
        ).backward()
    for (name, p), q in zip(
        ours.kernels.named_parameters(), theirs.kernels.parameters(), strict=True
    ):
        assert torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-4 * float(p.grad.abs().max())), (
            name
        )


def by_hand(depth, width, plain):
    """The hand-written network with the weights of the suite's."""
    other = ConvolutionalWRN(depth, width)
    kernels, biases = plain.generate(), plain.biases
    convolutions = [conv for block in other.blocks for conv in (block.conv1, block.conv2)]
    with torch.no_grad():
        for conv, kernel, bias in zip(convolutions, kernels, biases, strict=True):
            conv.weight.copy_(kernel)
            conv.bias.copy_(bias)
    norms = [norm for block in other.blocks for norm in (block.norm1, block.norm2)]
    for norm, of in zip(norms, plain.norms, strict=True):
        norm.load_state_dict(of.state_dict())
    for part in ("stem", "stem_norm", "final_norm", "classifier"):
        getattr(other, part).load_state_dict(getattr(plain, part).state_dict())
    return other


@pytest.mark.parametrize("width", [1, 2])
def test_the_hand_written_network_is_the_same_network(width):
    plain = runner.build(f"wide_resnet10_{width}", 10, seed=0)
    other = by_hand(10, width, plain)
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in plain.parameters())
    x = torch.randn(4, 3, 32, 32)
    for training in (True, False):
        assert torch.allclose(plain.train(training)(x), other.train(training)(x), atol=1e-4)


def test_the_ordinary_loop_trains(digits):
    torch.manual_seed(0)
    loop = OrdinaryLoop(
        ConvolutionalWRN(10, 1),
        digits.train.images[:256],
        digits.train.labels[:256],
        digits.mean,
        digits.std,
        32,
        CPU,
    )
    assert loop.loader.num_workers == 4 and len(loop.loader) == 8
    losses = [loop.epoch() for _ in range(3)]
    assert losses[2] < losses[0]


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
        materialize(runner.build("hyper_resnet10_1", 10, 0)),
        runner.build("wide_resnet10_1", 10, 0),
    ):
        with torch.inference_mode(), Trace() as trace:
            model.eval()(x)
        traces.append(trace.ran)
    assert traces[0] == traces[1] and len(traces[0]) > 20


def bench(digits, name, settings, batch_size=32, images=256):
    recipe = dataclasses.replace(RECIPES["quick"], batch_size=batch_size)
    return speed.Bench(
        runner.build(name, 10, 0), speed.timing_data(digits, images, settings), recipe, settings
    )


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
    runner.set_switches(deterministic=True)
    getattr(made, call).run()
    assert not torch.are_deterministic_algorithms_enabled()


def test_models_without_a_speed_record_of_their_optimizer_are_untimed(digits, tmp_path):
    settings, recipe = Settings(CPU), dataclasses.replace(RECIPES["smoke"], batch_size=32)
    data = speed.timing_data(digits, 64, settings)
    names = ["wide_resnet10_1", "hyper_resnet10_1"]
    for name in names:
        record = speed.time_model(
            name, data, recipe, settings, dataclasses.replace(SHORT, window_s=0.01)
        )
        path = store.save_throughput(tmp_path, record, speed.optimizer_in_place(name, recipe)[1])
    assert (
        record["optimizer"] == "scaled sgd"
        and path.name == "hyper_resnet10_1-scaled-sgd-batch32.json"
    )
    assert speed.optimizer_in_place(names[1], RECIPES["fast"]) == ("scaled sgd, backbone sgd", None)
    assert speed.optimizer_in_place(names[1], RECIPES["paper"]) == ("adam", "adam")
    assert speed.untimed([*names, "resnet8"], tmp_path, recipe, settings) == ["resnet8"]
    for torn in ("", "[]", "{}"):
        store.throughput_path(tmp_path, record["device"], "resnet8", batch_size=32).write_text(torn)
        assert speed.untimed([*names, "resnet8"], tmp_path, recipe, settings) == ["resnet8"]
    assert speed.untimed(names, tmp_path, dataclasses.replace(recipe, scaled=None), settings) == [
        "hyper_resnet10_1"
    ]
    for other in ({"precision": "bf16"}, {"compile": "default"}, {"deterministic": True}):
        assert (
            speed.untimed(names, tmp_path, recipe, dataclasses.replace(settings, **other)) == names
        )


def test_timing_data_are_real_and_repeated(digits):
    data = speed.timing_data(digits, 3000, Settings(CPU))
    assert len(data.train) == 3000 and torch.equal(
        data.train.images[2999], digits.train.images[2999 % len(digits.train)]
    )


def test_a_ratio_of_two_models_is_not_one_of_two_optimizers():
    recipe = speed.same_optimizer(RECIPES["quick"])
    assert recipe.generated == recipe.stored == RECIPES["quick"].stored


@pytest.mark.slow
def test_one_graph_for_training_and_one_for_evaluation(digits):
    """Whole epochs, then evaluation with a padded last batch: two graphs, and nothing is compiled twice."""
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
        evaluate(trainer.evaluation, evaluation_batches(split, 32), trainer.settings)
    made.epoch.run()
    assert stats["unique_graphs"] == 2


@pytest.mark.slow
def test_bf16_compiled_agrees_with_eager(digits):
    losses = []
    for compiled in ("off", "default"):
        made = bench(digits, "hyper_resnet10_1", Settings(CPU, "bf16", compiled))
        x, y = next(made.trainer.batches.epoch(0, 0))
        losses.append(float(made.trainer.step(x, y, 0)[0]))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_seeds_side_by_side_are_the_solo_runs(digits, tiny, tmp_path):
    """On a CPU bit for bit: runs that take turns share nothing."""

    def runs(folder, seeds):
        places = runner.Places(tmp_path / folder, tmp_path / folder)
        return [
            runner.Run("hyper_resnet10_1", digits, tiny, seed, Settings(CPU), places)
            for seed in seeds
        ]

    quiet = (lambda entry, epochs: None, lambda step, steps: None)
    together = runner.execute_together(runs("together", (0, 1)), [quiet] * 2)
    (solo,) = runner.execute_together(runs("solo", (1,)), [quiet])
    assert [r["seed"] for r in together] == [0, 1]
    for key in ("train_loss", "val_loss", "val_error"):
        assert (
            together[1]["history"][0][key]
            == solo["history"][0][key]
            != together[0]["history"][0][key]
        )


TOUCHES = """
import resource, torch
from benchmarks.system import device
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        activations = [torch.ones(2**21) for _ in range(16)]
        del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back, keeps = faults(), device.keep_freed_memory()
faults()  # the first touch
print(given_back, keeps, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept():
    """Sixteen tensors of 8 MiB, five times over: without the call, a fault for each page, of 2 MiB at most."""
    out = subprocess.run(
        [sys.executable, "-c", TOUCHES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    given_back, keeps, kept = out.split()
    assert int(given_back) >= 5 * 64 and keeps == "True" and int(kept) < 64


def test_peak_memory_begins_anew():
    device.reset_peak_memory(CPU)
    before = device.peak_memory(CPU)
    if before is None:
        pytest.skip("no /proc here")
    with mmap.mmap(
        -1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    ) as block:  # malloc may have some left
        block.write(b"1" * len(block))
        assert device.peak_memory(CPU) - before >= 60 * 2**20
    device.reset_peak_memory(CPU)
    assert device.peak_memory(CPU) < before + 32 * 2**20


def test_shares_of_peak_by_hand():
    shares = device.shares_of_peak("NVIDIA H200", 1000.0, 989e6, 4.8e6)
    assert (shares["share_of_peak_flops"], shares["share_of_peak_bandwidth"]) == pytest.approx(
        (1e-3, 1e-3)
    )
    assert device.shares_of_peak("A processor", 1.0, 1.0, 1.0)["share_of_peak_flops"] is None
    assert device.EnergyMeter(CPU)() is None


def test_modelled_traffic_by_hand():
    """40-1 has 12 blocks' two convolutions at 32x32, 16x16, 8x8 of 16, 32, 64 channels, and the stem's output."""
    values = 16 * 1024 + 12 * (16 * 1024 + 32 * 256 + 64 * 64)
    assert (
        ledger.training_bytes(ledger.kernel_shapes(40, (16, 32, 64)), 2)
        == ledger.ACTIVATION_PASSES * 2 * values
    )


def test_bounds_are_of_the_models_own_backbone(monkeypatch):
    """resnet8 has one block a stage and a stem; a foreign module has no traffic that could be modelled."""
    monkeypatch.setattr(registry, "_PLUGINS", {})
    registry.register_model("foreign")(lambda classes: None)
    settings, model = Settings(CPU, "fp32"), runner.build("resnet8", 10, 0)
    bounds = speed._bounds("resnet8", model, 1.0, RECIPES["smoke"], settings)
    assert bounds["modelled_bytes_per_image"] == 15 * 4 * (
        16 * 1024 + 2 * (16 * 1024 + 32 * 256 + 64 * 64)
    )
    assert bounds["flops_per_image"] == 6 * registry.get("resnet8").macs()[0]
    assert speed._bounds("foreign", model, 1.0, RECIPES["smoke"], settings) is None


def test_epoch_against_steps(digits):
    made = bench(digits, "wide_resnet10_1", Settings(CPU))
    found = speed._epoch_against_steps(made, Timer(CPU), dataclasses.replace(SHORT, epochs=2))
    assert found["rate"]["windows"] == 2 and set(found["ratio"]) == set(interval([1.0], [1.0]))
