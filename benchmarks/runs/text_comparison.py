"""The comparison record of a HyperLSTM: its speed against code as others write it."""

from dataclasses import replace

import torch

from benchmarks.data.text import Text
from benchmarks.measuring.recurrent_baselines import (
    OrdinaryTextLoop,
    StepwiseHyperLstm,
    TorchLstm,
)
from benchmarks.measuring.timing import Call, Timer, interleaved, ratios, spread, warm_up
from benchmarks.runs.bench import Bench, TimingSetup
from benchmarks.runs.building import build
from benchmarks.runs.speed import head
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models import registry

RATIOS = (
    ("suite HyperLSTM", "step by step"),
    ("suite HyperLSTM", "suite LSTM"),
    ("suite LSTM", "torch.nn.LSTM"),
    ("suite HyperLSTM", "suite HyperLSTM eager"),
)
DESCRIPTIONS = {
    "step by step": "the HyperLSTM with a linear layer for each gate and embedding, one-hot input "
    "multiplied in each step of a Python loop, fp32, eager, .item() each step",
    "torch.nn.LSTM": "the LSTM of the same parameters with torch.nn.LSTM and one-hot input, fp32, "
    "eager, .item() each step",
    "suite HyperLSTM": "the suite's HyperLSTM, its default settings but no dropout, on pydoc",
    "suite LSTM": "the suite's LSTM of the same parameters, in the same way",
    "suite HyperLSTM eager": "the suite's HyperLSTM, fp32, eager",
}


def compare(name: str, setup: TimingSetup) -> dict:
    """The comparison record of a HyperLSTM and its pair with other code, interleaved.

    None of them has dropout, which the other code would have to draw too.

    Raises:
        registry.RegistryError: if the model is not a HyperLSTM of one layer without layer norm.
    """
    spec = registry.get(name)
    row = spec.recurrent
    if row is None or not row.hyper_units or row.layer_norm or row.layers > 1:
        raise registry.RegistryError(
            f"model {name!r} is not allowed here; choose hyper_lstm_{{units}}, of one layer and "
            "without layer norm, or hyper_resnet{depth}_{width}"
        )
    torch._dynamo.reset()
    settings, timer = setup.settings, Timer(setup.settings.device)
    assert setup.recipe.sequences is not None
    recipe = replace(setup.recipe, sequences=replace(setup.recipe.sequences, keep=1.0))
    with torch.cuda.stream(settings.new_stream()):
        calls = _suite(spec, setup, recipe) | _others(spec, setup, recipe)
        steps = {key: warm_up(call, timer, setup.protocol) for key, call in calls.items()}
        rates = interleaved(steps, setup.protocol.pairs, timer)
    return head("compare", name, recipe, settings, timer) | {
        "descriptions": DESCRIPTIONS,
        "step": {
            "rates": {key: spread(values) for key, values in rates.items()},
            "ratios": ratios(rates, RATIOS),
        },
    }


def _suite(spec: registry.ModelSpec, setup: TimingSetup, recipe: Recipe) -> dict[str, Call]:
    """The training steps of the suite."""
    assert spec.pair is not None
    settings, classes = setup.settings, setup.data.num_classes
    eager = replace(settings, precision="fp32", compile="off")
    chosen: dict[str, tuple[str, Settings]] = {
        "suite HyperLSTM": (spec.name, settings),
        "suite LSTM": (spec.pair, settings),
        "suite HyperLSTM eager": (spec.name, eager),
    }
    return {
        key: Bench(build(name, classes, 0), setup.data, recipe, used).step
        for key, (name, used) in chosen.items()
    }


def _others(spec: registry.ModelSpec, setup: TimingSetup, recipe: Recipe) -> dict[str, Call]:
    """The training steps of the other code."""
    hyper, plain, data = spec.recurrent, registry.get(str(spec.pair)).recurrent, setup.data
    assert hyper is not None and plain is not None
    assert isinstance(data, Text) and recipe.sequences is not None
    classes, sequences = data.num_classes, recipe.sequences
    torch.manual_seed(0)
    modules: dict[str, StepwiseHyperLstm | TorchLstm] = {
        "step by step": StepwiseHyperLstm(classes, hyper.units, hyper.hyper_units, hyper.embedding),
        "torch.nn.LSTM": TorchLstm(classes, plain.units),
    }
    calls = {}
    for key, module in modules.items():
        loop = OrdinaryTextLoop(
            module,
            data.train,
            recipe.batch_size,
            sequences.length,
            sequences.clip,
            setup.settings.device,
        )
        calls[key] = Call(loop.step, recipe.items_per_step)
    return calls
