"""The comparison record: a pair's speed against code as others write it, in one process."""

from dataclasses import replace

import torch

from benchmarks.data.splits import DataSet
from benchmarks.measuring.baselines import ConvolutionalWRN, OrdinaryLoop, TileLoopKernels
from benchmarks.measuring.timing import Call, Timer, interleaved, ratios, spread, warm_up
from benchmarks.runs.bench import Bench, TimingSetup, switch
from benchmarks.runs.building import build
from benchmarks.runs.speed import head
from benchmarks.training.settings import Settings
from models import registry
from models.wide_resnet import WideResNet

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
    "ordinary loop": "DataLoader with 4 persistent workers, torchvision transforms on PIL images, "
    "fp32, eager, channels_last, .item() each step",
    "nn.Conv2d": "a Wide ResNet written by hand with nn.Conv2d, under the suite's step, fp32, "
    "eager",
    "suite plain eager": "the suite's plain network, fp32, eager",
    "suite plain": "the suite's plain network, its default settings",
    "suite hyper": "the suite's HyperResNet, its default settings",
    "suite hyper, deterministic": "the same with --deterministic",
}


def compare(name: str, setup: TimingSetup) -> dict:
    """The comparison record of a HyperResNet and its pair with other code, interleaved.

    Raises:
        registry.RegistryError: if the model is not a projection-free wide HyperResNet of the
            paper's width rule.
    """
    spec = _hyper_resnet(name)
    torch._dynamo.reset()
    settings, timer = setup.settings, Timer(setup.settings.device)
    with torch.cuda.stream(settings.new_stream()):
        benches = {
            key: Bench(model, setup.data, setup.recipe, chosen)
            for key, (model, chosen) in _contestants(spec, setup).items()
        }
        steps = {key: warm_up(bench.step, timer, setup.protocol) for key, bench in benches.items()}
        step_rates = interleaved(steps, setup.protocol.pairs, timer)
        switch(settings)
        epochs = {key: benches[key].epoch for key in ("suite plain eager", "suite plain")}
        epochs["ordinary loop"] = _ordinary_epoch(spec, setup)
        once = replace(setup.protocol, window_s=0, max_warmup=1)
        warm_epochs = {key: warm_up(call, timer, once) for key, call in epochs.items()}
        epoch_rates = interleaved(warm_epochs, setup.protocol.epochs, timer)
    return head("compare", name, setup.recipe, settings, timer) | {
        "descriptions": DESCRIPTIONS,
        "epoch_images": epochs["ordinary loop"].images,
        "step": _compared(step_rates, STEP_RATIOS),
        "epoch": _compared(epoch_rates, EPOCH_RATIOS),
    }


def _hyper_resnet(name: str) -> registry.ModelSpec:
    spec = registry.get(name)
    of_the_paper = spec.kernels == "hyper" and spec.backbone == "wide_resnet"
    if not of_the_paper or spec.builder is not None or spec.channels[0] % 16:
        raise registry.RegistryError(
            f"model {name!r} is not allowed here; choose hyper_resnet{{depth}}_{{width}}, or "
            "hyper_lstm_{units}, of one layer and without layer norm"
        )
    return spec


def _contestants(
    spec: registry.ModelSpec, setup: TimingSetup
) -> dict[str, tuple[torch.nn.Module, Settings]]:
    """What is compared: a module and the settings that it is trained with."""
    assert spec.pair is not None
    classes, settings = setup.data.num_classes, setup.settings
    eager = replace(settings, precision="fp32", compile="off")
    deterministic = replace(settings, deterministic=True)
    width = spec.channels[0] // 16
    torch.manual_seed(0)
    tile_loop = WideResNet(spec.depth, width, classes, TileLoopKernels)
    by_hand = ConvolutionalWRN(spec.depth, width, classes)
    return {
        "tile loop": (tile_loop, eager),
        "nn.Conv2d": (by_hand, eager),
        "suite plain eager": (build(spec.pair, classes, 0), eager),
        "suite plain": (build(spec.pair, classes, 0), settings),
        "suite hyper": (build(spec.name, classes, 0), settings),
        "suite hyper, deterministic": (build(spec.name, classes, 0), deterministic),
    }


def _ordinary_epoch(spec: registry.ModelSpec, setup: TimingSetup) -> Call:
    width, data = spec.channels[0] // 16, setup.data
    assert isinstance(data, DataSet)
    loop = OrdinaryLoop(
        ConvolutionalWRN(spec.depth, width, data.num_classes),
        data.train.images,
        data.train.labels,
        data.mean,
        data.std,
        setup.recipe.batch_size,
        setup.settings.device,
    )
    return Call(loop.epoch, len(loop.loader) * setup.recipe.batch_size)


def _compared(rates: dict[str, list[float]], pairs: tuple[tuple[str, str], ...]) -> dict:
    return {
        "rates": {key: spread(values) for key, values in rates.items()},
        "ratios": ratios(rates, pairs),
    }
