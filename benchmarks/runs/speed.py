"""Speed records: a model's speed, the ratio of a pair, and the comparison with other code, each by the timing protocol.

Beside the runner the only room that joins the others; its data are real images (digits unless told otherwise), repeated to
an epoch of the protocol's length.
"""

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.data.batches import Batches
from benchmarks.data.splits import DataSet, Split
from benchmarks.measuring import costs
from benchmarks.measuring.baselines import ConvolutionalWRN, OrdinaryLoop, TileLoopKernels
from benchmarks.measuring.timing import (
    Call,
    Protocol,
    Timer,
    interleaved,
    interval,
    measure,
    paired,
    ratios,
    spread,
    warm_up,
)
from benchmarks.records import provenance, store
from benchmarks.records.fields import condition
from benchmarks.runs import runner
from benchmarks.system.device import EnergyMeter, peak_memory, reset_peak_memory, shares_of_peak
from benchmarks.training import optimizers
from benchmarks.training.loop import Evaluation, Normalize, Settings, Trainer, drive
from benchmarks.training.recipes import RECIPES, Recipe
from models import ledger, registry
from models.kernels.protocol import KernelNetwork
from models.materialize import materialize
from models.wide_resnet import WideResNet


class Bench:
    """A module on a device with the calls that are timed: a training step, a training epoch, an inference."""

    def __init__(self, model: torch.nn.Module, data: DataSet, recipe: Recipe, settings: Settings):
        self.data, self.recipe, self.settings = data, recipe, settings
        batches = Batches(
            data.train, recipe.batch_size, crop_padding=recipe.crop_padding, flip=data.flip
        )
        self.trainer = Trainer(model, data, batches, recipe, settings, seed=0, identity={})
        self.model = self.trainer.model
        self.batches = self._stream()

    def _stream(self):
        epoch = 0
        while True:
            yield from self.trainer.batches.epoch(0, epoch)
            epoch += 1

    def _train_step(self) -> None:
        switch(self.settings)
        self.model.train()
        self.trainer.step(*next(self.batches), 0)

    def _train_epoch(self) -> None:
        switch(self.settings)
        drive(self.trainer.train_epoch(0))

    @property
    def step(self) -> Call:
        """Augmentation, forward, backward and optimizer."""
        return Call(self._train_step, self.recipe.batch_size)

    @property
    def epoch(self) -> Call:
        """All steps of an epoch with its permutation and its bookkeeping."""
        return Call(
            self._train_epoch, self.trainer.batches.steps_per_epoch * self.recipe.batch_size
        )

    def inference(self, model: torch.nn.Module) -> Call:
        """A batch of uint8 images to losses and answers, in evaluation mode."""
        normalize = Normalize(self.data.mean, self.data.std).to(self.settings.device)
        evaluation = self.settings.compiled(
            Evaluation(model, normalize), isinstance(model, KernelNetwork)
        )
        x, y = next(self.trainer.batches.epoch(0, 0))

        def infer() -> object:
            model.eval()
            with torch.inference_mode(), self.settings.autocast():
                return evaluation(x, y)

        return Call(infer, self.recipe.batch_size)


def switch(settings: Settings) -> None:
    """Deterministic or not, whatever ran before in this process."""
    if torch.are_deterministic_algorithms_enabled() != settings.deterministic:
        runner.set_switches(settings.deterministic)


def timing_data(data: DataSet, images: int, settings: Settings) -> DataSet:
    """The data set with `images` training images, repeated as often as that takes, on the device."""
    index = torch.arange(images) % len(data.train)
    return replace(data, train=Split(data.train.images[index], data.train.labels[index])).to(
        settings.device
    )


def time_model(
    name: str, data: DataSet, recipe: Recipe, settings: Settings, protocol: Protocol
) -> dict:
    """The speed record of one model: training step, epoch, inference generated and materialised, costs of both.

    The epoch is timed against steps in turns, because their ratio is what tells the cost of data and bookkeeping.
    """
    torch._dynamo.reset()
    timer, energy = Timer(settings.device), EnergyMeter(settings.device)
    reset_peak_memory(settings.device)
    with torch.cuda.stream(settings.new_stream()):
        bench = Bench(runner.build(name, data.num_classes, seed=0), data, recipe, settings)
        found = {"training_step": measure(bench.step, timer, protocol, energy)}
        peak = peak_memory(settings.device)
        epochs = _epoch_against_steps(bench, timer, protocol)
        found["training_epoch"] = epochs.pop("rate")
        found["inference_generated"] = measure(
            bench.inference(bench.model), timer, protocol, energy
        )
        one_off = None
        if isinstance(bench.model, KernelNetwork):
            one_off, plain = _timed_materialization(bench.model, timer)
            found["inference_materialized"] = measure(
                bench.inference(plain), timer, protocol, energy
            )
    compiled = settings.compile != "off"
    return _head("speed", name, recipe, settings, timer) | {
        "optimizer": optimizers.names(bench.model, recipe),
        "measurements": found,
        "epoch_to_step": epochs["ratio"],
        "materialize_s": one_off,
        "compile_s": sum(m.get("first_call_s", 0.0) for m in found.values()) if compiled else None,
        "peak_memory_bytes": peak,
        "bounds": _bounds(name, bench.model, found["training_step"]["median"], recipe, settings),
    }


def _epoch_against_steps(bench: Bench, timer: Timer, protocol: Protocol) -> dict:
    epoch = warm_up(bench.epoch, timer, replace(protocol, window_s=0, max_warmup=1))
    step = warm_up(bench.step, timer, replace(protocol, max_warmup=1))
    step = replace(step, steps=max(step.steps, bench.trainer.batches.steps_per_epoch))
    rates = interleaved({"epoch": epoch, "step": step}, protocol.epochs, timer)
    return {"rate": spread(rates["epoch"]), "ratio": interval(rates["epoch"], rates["step"])}


def _timed_materialization(model: KernelNetwork, timer: Timer) -> tuple[float, KernelNetwork]:
    """Median seconds of materialising, and the materialised network."""
    kept: list[KernelNetwork] = []
    seconds = sorted(timer(lambda: kept.append(materialize(model)), 1) for _ in range(5))
    return seconds[2], kept[-1]


def _bounds(
    name: str, model: torch.nn.Module, images_per_s: float, recipe: Recipe, settings: Settings
) -> dict | None:
    """Arithmetic of a training step, three forward passes' worth, and modelled traffic; not of a foreign module."""
    spec = registry.get(name)
    if spec.builder is not None:
        return None
    macs = costs.count_macs(model)
    flops = 2 * 3 * (macs.per_image + macs.generator / recipe.batch_size)
    traffic = ledger.training_bytes(spec.kernel_shapes(), 4 if settings.precision == "fp32" else 2)
    return shares_of_peak(
        runner.settings_environment(settings)["device"], images_per_s, flops, traffic
    )


def _head(kind: str, name: str, recipe: Recipe, settings: Settings, timer: Timer) -> dict:
    environment = runner.settings_environment(settings)
    return {
        "schema_version": store.SCHEMA_VERSION,
        "kind": kind,
        "model": name,
        "device": environment["device"],
        "batch_size": recipe.batch_size,
        "event_to_clock": spread(timer.event_to_clock) if timer.event_to_clock else None,
        "environment": environment,
        "code": provenance.code(),
    }


def optimizer_in_place(name: str, recipe: Recipe) -> tuple[str, str | None]:
    """A model's optimizers under a recipe, and what its record's place says of them: nothing of those that `quick` has."""
    model = runner.build(name, 10, seed=0)
    optimizer = optimizers.names(model, recipe)
    return optimizer, None if optimizer == optimizers.names(model, RECIPES["quick"]) else optimizer


def untimed(names: list[str], results: Path, recipe: Recipe, settings: Settings) -> list[str]:
    """Those of the models that have no speed record of their optimizer under this condition; one that is torn is none."""
    environment = runner.settings_environment(settings)
    device, batch_size = environment["device"], recipe.batch_size
    here = condition({"device": device, "batch_size": batch_size, "environment": environment})

    def timed(name: str) -> bool:
        optimizer, said = optimizer_in_place(name, recipe)
        try:
            record = store.load(
                store.throughput_path(results, device, name, batch_size=batch_size, optimizer=said)
            )
        except store.RecordError:
            return False
        return (
            isinstance(record, dict)
            and record.get("optimizer") == optimizer
            and condition(record) == here
        )

    return [name for name in names if not timed(name)]


def same_optimizer(recipe: Recipe) -> Recipe:
    """The recipe with the stored block for generated kernels too: a ratio of two models must not be one of two optimizers."""
    return replace(recipe, generated=recipe.stored, scaled=None)


def time_pair(
    name: str, data: DataSet, recipe: Recipe, settings: Settings, protocol: Protocol
) -> dict:
    """The ratio record of a pair, model / plain: training step, and inference generated and materialised.

    Raises:
        registry.RegistryError: if the model has no plain pair.
    """
    plain_name = registry.get(name).pair
    if plain_name is None:
        raise registry.RegistryError(
            f"model {name!r} has no plain pair; allowed are models that have one, see `list`"
        )
    torch._dynamo.reset()
    timer, recipe = Timer(settings.device), same_optimizer(recipe)
    with torch.cuda.stream(settings.new_stream()):
        over, under = (
            Bench(runner.build(n, data.num_classes, 0), data, recipe, settings)
            for n in (name, plain_name)
        )
        result = _pair_of(over.step, under.step, timer, protocol)
        plain_inference = under.inference(under.model)
        inference = {
            "generated": _pair_of(over.inference(over.model), plain_inference, timer, protocol)
        }
        if isinstance(over.model, KernelNetwork):
            inference["materialized"] = _pair_of(
                over.inference(materialize(over.model)), plain_inference, timer, protocol
            )
    head = _head("pair", name, recipe, settings, timer)
    optimizer = optimizers.names(under.model, recipe)
    return (
        head
        | {"pair": [name, plain_name], "optimizer": optimizer}
        | result
        | {"inference": inference}
    )


def _pair_of(over: Call, under: Call, timer: Timer, protocol: Protocol) -> dict:
    return paired(*(warm_up(call, timer, protocol) for call in (over, under)), timer, protocol)


def profile(
    name: str, data: DataSet, recipe: Recipe, settings: Settings, steps: int = 10
) -> list[dict]:
    """Where the time of a training step goes: operator, calls a step and share of the time, the longest first."""
    torch._dynamo.reset()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = settings.device.type == "cuda"
    kinds += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
    with torch.cuda.stream(settings.new_stream()):
        bench = Bench(runner.build(name, data.num_classes, seed=0), data, recipe, settings)
        for _ in range(5):
            bench.step.run()
        bench.trainer.synchronize()
        with torch.profiler.profile(activities=kinds) as seen:
            for _ in range(steps):
                bench.step.run()
            bench.trainer.synchronize()
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda e: -getattr(e, key))
    total = sum(getattr(e, key) for e in events)
    return [
        {"operator": e.key, "calls_per_step": e.count / steps, "share": getattr(e, key) / total}
        for e in events
    ]


STEP_RATIOS = (
    ("suite hyper", "tile loop"),
    ("suite hyper", "suite plain"),
    ("suite plain eager", "nn.Conv2d"),
    ("tile loop", "suite plain eager"),
    ("suite plain", "suite plain eager"),
    ("suite hyper, deterministic", "suite hyper"),
)
EPOCH_RATIOS = (("suite plain", "ordinary loop"), ("ordinary loop", "suite plain eager"))
DESCRIPTIONS = {
    "tile loop": "the HyperResNet, its tiles generated one by one in a Python loop, fp32, eager",
    "ordinary loop": "DataLoader with 4 persistent workers, torchvision transforms on PIL images, fp32, eager, "
    "channels_last, .item() each step",
    "nn.Conv2d": "a Wide ResNet written by hand with nn.Conv2d, under the suite's step, fp32, eager",
    "suite plain eager": "the suite's plain network, fp32, eager",
    "suite plain": "the suite's plain network, its default settings",
    "suite hyper": "the suite's HyperResNet, its default settings",
    "suite hyper, deterministic": "the same with --deterministic",
}


def compare(
    name: str, data: DataSet, recipe: Recipe, settings: Settings, protocol: Protocol
) -> dict:
    """The comparison record of a HyperResNet and its pair with other code, all in one process, in turns.

    Raises:
        registry.RegistryError: if the model is not a projection-free wide HyperResNet of the paper's width rule.
    """
    spec, plain = registry.get(name), registry.get(name).pair
    if (
        spec.kernels != "hyper"
        or spec.backbone != "wide_resnet"
        or spec.builder
        or spec.channels[0] % 16
    ):
        raise registry.RegistryError(
            f"model {name!r} is not allowed here; choose hyper_resnet{{depth}}_{{width}}"
        )
    torch._dynamo.reset()
    width, timer, eager = (
        spec.channels[0] // 16,
        Timer(settings.device),
        replace(settings, precision="fp32", compile="off"),
    )
    torch.manual_seed(0)
    modules = {
        "tile loop": (WideResNet(spec.depth, width, data.num_classes, TileLoopKernels), eager),
        "nn.Conv2d": (ConvolutionalWRN(spec.depth, width, data.num_classes), eager),
        "suite plain eager": (runner.build(plain, data.num_classes, 0), eager),
        "suite plain": (runner.build(plain, data.num_classes, 0), settings),
        "suite hyper": (runner.build(name, data.num_classes, 0), settings),
        "suite hyper, deterministic": (
            runner.build(name, data.num_classes, 0),
            replace(settings, deterministic=True),
        ),
    }
    with torch.cuda.stream(settings.new_stream()):
        benches = {
            key: Bench(model, data, recipe, chosen) for key, (model, chosen) in modules.items()
        }
        steps = {key: warm_up(bench.step, timer, protocol) for key, bench in benches.items()}
        step_rates = interleaved(steps, protocol.pairs, timer)
        switch(settings)
        loop = OrdinaryLoop(
            ConvolutionalWRN(spec.depth, width, data.num_classes),
            data.train.images,
            data.train.labels,
            data.mean,
            data.std,
            recipe.batch_size,
            settings.device,
        )
        images = len(loop.loader) * recipe.batch_size
        epochs = {key: benches[key].epoch for key in ("suite plain eager", "suite plain")}
        epochs["ordinary loop"] = Call(loop.epoch, images)
        once = replace(protocol, window_s=0, max_warmup=1)
        epoch_rates = interleaved(
            {key: warm_up(call, timer, once) for key, call in epochs.items()},
            protocol.epochs,
            timer,
        )
    return _head("compare", name, recipe, settings, timer) | {
        "descriptions": DESCRIPTIONS,
        "epoch_images": images,
        "step": {
            "rates": {key: spread(r) for key, r in step_rates.items()},
            "ratios": ratios(step_rates, STEP_RATIOS),
        },
        "epoch": {
            "rates": {key: spread(r) for key, r in epoch_rates.items()},
            "ratios": ratios(epoch_rates, EPOCH_RATIOS),
        },
    }
