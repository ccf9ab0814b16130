"""Speed records of models and of pairs by the timing protocol, and the profile of a step."""

import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measuring.timing import (
    Call,
    Protocol,
    Timer,
    Warm,
    interleaved,
    interval,
    measure,
    paired,
    spread,
    warm_up,
)
from benchmarks.records import provenance, store, validation
from benchmarks.records.fields import at, condition
from benchmarks.runs.bench import Bench, TimingSetup
from benchmarks.runs.building import build
from benchmarks.runs.counting import count
from benchmarks.runs.progress import QUIET, Progress, Timing
from benchmarks.runs.settings import settings_environment
from benchmarks.system.device import EnergyMeter, peak_memory, reset_peak_memory, shares_of_peak
from benchmarks.system.faults import described, is_fault
from benchmarks.training import optimizers, recipes
from benchmarks.training.compiling import instead
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings
from models import ledger, plugins, registry
from models.kernels.protocol import KernelNetwork
from models.materialize import materialize


def time_models(
    models: Iterable[str],
    setup: TimingSetup,
    results_dir: Path,
    progress: Progress = QUIET,
) -> list[Timing]:
    """Time models one after the other and write their records.

    A model that cannot be timed has a reason in place of a record, and the others are still timed.
    """
    timings = []
    for name in models:
        timing = _time_and_save(name, setup, results_dir)
        progress.timed(timing)
        timings.append(timing)
    return timings


def _time_and_save(name: str, setup: TimingSetup, results_dir: Path) -> Timing:
    try:
        record = time_model(name, setup)
        _, suffix = optimizer_in_place(name, setup.recipe)
        path = store.save_throughput(results_dir, record, suffix)
    except BaseException as error:
        if not is_fault(error):
            raise
        return _untimable(name, error, setup)
    return Timing(name, path, record)


def _untimable(name: str, error: BaseException, setup: TimingSetup) -> Timing:
    """Why a model cannot be timed."""
    if setup.traceback:
        traceback.print_exception(error)
    return Timing(name, reason=described(error))


def time_model(name: str, setup: TimingSetup) -> dict:
    """The speed record of one model: training step, epoch and inference, memory and energy.

    Inference is timed with generated and, for kernel networks, with materialised kernels. The
    epoch and its steps are interleaved, because their ratio tells the cost of data and bookkeeping.
    """
    record, used = _timed(name, setup)
    if used.compile == "off" != setup.settings.compile:  # perhaps after some was timed compiled
        record, _ = _timed(name, replace(setup, settings=used))
    return record


def _timed(name: str, setup: TimingSetup) -> tuple[dict, Settings]:
    """The record, and the settings as they were used."""
    recipe, settings, protocol = setup.recipe, setup.settings, setup.protocol
    torch._dynamo.reset()
    timer, energy = Timer(settings.device), EnergyMeter(settings.device)
    reset_peak_memory(settings.device)
    with torch.cuda.stream(settings.new_stream()):
        bench = bench_of(name, setup)
        step = measure(bench.step, timer, protocol, energy)
        peak = peak_memory(settings.device)
        epochs = _epoch_against_steps(bench, step["steps_per_window"], timer, protocol)
        measured = {
            "training_step": step,
            "training_epoch": epochs["rate"],
            "inference_generated": measure(bench.inference(bench.model), timer, protocol, energy),
        }
        materialize_s = None
        if isinstance(bench.model, KernelNetwork):
            materialize_s, plain = _timed_materialization(bench.model, timer)
            inference = bench.inference(plain)
            measured["inference_materialized"] = measure(inference, timer, protocol, energy)
    used = bench.trainer.compiler.used
    first_calls = sum(values.get("first_call_s", 0.0) for values in measured.values())
    record = head("speed", name, recipe, used, timer) | {
        "optimizer": optimizers.names(bench.model, recipe),
        "measurements": measured,
        "epoch_to_step": epochs["ratio"],
        "materialize_s": materialize_s,
        "compile_s": first_calls if settings.compile != "off" else None,
        "peak_memory_bytes": peak,
        "bounds": _bounds(name, step["median"], recipe, settings),
    }
    return record, used


def bench_of(name: str, setup: TimingSetup, recipe: Recipe | None = None) -> Bench:
    """The bench of a model by its name; `recipe` in place of the setup's."""
    model = build(name, setup.data.num_classes, seed=0)
    foreign = not registry.is_built_in(name)
    return Bench(model, setup.data, recipe or setup.recipe, setup.settings, foreign)


def _epoch_against_steps(
    bench: Bench, steps_per_window: int, timer: Timer, protocol: Protocol
) -> dict:
    """Epochs and windows of steps, interleaved. The steps are warm; one epoch warms the rest."""
    first = timer(bench.epoch.run, 1)
    epoch = Warm(bench.epoch, steps=1, settled=True, first_call_s=first)
    steps = max(steps_per_window, bench.trainer.learning.steps_per_epoch)
    step = Warm(bench.step, steps=steps, settled=True, first_call_s=first)
    rates = interleaved({"epoch": epoch, "step": step}, protocol.epochs, timer)
    return {"rate": spread(rates["epoch"]), "ratio": interval(rates["epoch"], rates["step"])}


def _timed_materialization(model: KernelNetwork, timer: Timer) -> tuple[float, KernelNetwork]:
    """Median seconds of materialising, and the materialised network."""
    made: list[KernelNetwork] = []
    seconds = sorted(timer(lambda: made.append(materialize(model)), 1) for _ in range(5))
    return seconds[2], made[-1]


def _bounds(name: str, images_per_s: float, recipe: Recipe, settings: Settings) -> dict | None:
    """Arithmetic of a training step, three forward passes' worth, and modelled traffic.

    None for a module that is not of this suite, or that cannot be counted.
    """
    spec = registry.get(name)
    if spec.builder is not None:
        return None
    macs = count(name).macs
    if macs is None:
        return None
    if spec.recurrent is not None:  # no model of what its step moves
        return None
    flops = 2 * 3 * (macs.per_image + macs.generator / recipe.batch_size)
    traffic = ledger.training_bytes(spec.kernel_shapes(), 4 if settings.precision == "fp32" else 2)
    device = settings_environment(settings)["device"]
    return shares_of_peak(device, images_per_s, flops, traffic)


def head(kind: str, name: str, recipe: Recipe, settings: Settings, timer: Timer) -> dict:
    """What every speed record begins with: what was timed, where and from which code."""
    environment = settings_environment(settings)
    return {
        "schema_version": validation.SCHEMA_VERSION,
        "task": recipe.task.name,
        "kind": kind,
        "model": name,
        "device": environment["device"],
        "batch_size": recipe.batch_size,
        "event_to_clock": spread(timer.event_to_clock) if timer.event_to_clock else None,
        "environment": environment,
        "code": provenance.code() | {"plugin_sha256": plugins.sha256_of(name) or ""},
    }


def optimizer_in_place(name: str, recipe: Recipe) -> tuple[str, str | None]:
    """A model's optimizers under a recipe, and what the name of its speed record says of them.

    The name does not say those that the default recipe has.
    """
    model = build(name, registry.get(name).usual_classes, seed=0)
    optimizer = optimizers.names(model, recipe)
    usual = optimizers.names(model, recipes.load(recipes.default_name("", recipe.task)))
    return optimizer, None if optimizer == usual else optimizer


def untimed(
    models: Iterable[str], results_dir: Path, recipe: Recipe, settings: Settings
) -> list[str]:
    """Those of the models that have no speed record of their optimizer under this condition."""
    environment = settings_environment(settings)
    here = {
        "device": environment["device"],
        "batch_size": recipe.batch_size,
        "environment": environment,
    }
    return [name for name in models if not _is_timed(name, results_dir, recipe, here)]


def _is_timed(name: str, results_dir: Path, recipe: Recipe, here: dict) -> bool:
    """Whether there is a speed record that says what `here` says; one that is torn is none.

    A model that cannot be built is not timed: timing it says why.
    """
    try:
        optimizer, suffix = optimizer_in_place(name, recipe)
    except BaseException as error:
        if not is_fault(error):
            raise
        return False
    path = store.throughput_path(
        results_dir, here["device"], name, batch_size=here["batch_size"], optimizer=suffix
    )
    try:
        record = store.load(path)
    except store.RecordError:
        return False
    if not isinstance(record, dict) or record.get("optimizer") != optimizer:
        return False
    if (at(record, "code", "plugin_sha256") or "") != (plugins.sha256_of(name) or ""):
        return False
    environment = as_asked(record.get("environment"), here["environment"]["compile"])
    return condition(record | {"environment": environment}) == condition(here)


def as_asked(environment: object, asked: str) -> object:
    """A record's environment; `compile` is what was asked for if it says that it fell back."""
    used, notes = at(environment, "compile"), at(environment, "fallbacks")
    if not isinstance(environment, dict) or not isinstance(notes, list):
        return environment
    fell_back = any(str(note).startswith(instead(str(used), asked)) for note in notes)
    return environment | {"compile": asked} if fell_back else environment


def same_optimizer(recipe: Recipe) -> Recipe:
    """The recipe with the stored block for generated kernels too.

    With it the ratio of two models is not a ratio of two optimizers.
    """
    return replace(recipe, generated=recipe.stored, scaled=None)


def time_pair(name: str, setup: TimingSetup) -> dict:
    """The ratio record of a pair, model / plain.

    It has the ratio of training steps, and of inference with generated and materialised kernels.

    Raises:
        registry.RegistryError: if the model has no plain pair.
    """
    plain_name = registry.get(name).pair
    if plain_name is None:
        raise registry.RegistryError(
            f"model {name!r} has no plain pair; allowed are models that have one, see `list`"
        )
    record, used = _timed_pair(name, plain_name, setup)
    if used.compile == "off" != setup.settings.compile:  # then both: a ratio is of one condition
        record, _ = _timed_pair(name, plain_name, replace(setup, settings=used))
    return record


def _timed_pair(name: str, plain_name: str, setup: TimingSetup) -> tuple[dict, Settings]:
    """The record, and the settings as they were used."""
    torch._dynamo.reset()
    settings, protocol = setup.settings, setup.protocol
    timer, recipe = Timer(settings.device), same_optimizer(setup.recipe)
    with torch.cuda.stream(settings.new_stream()):
        over, under = bench_of(name, setup, recipe), bench_of(plain_name, setup, recipe)
        steps = _pair_of(over.step, under.step, timer, protocol)
        plain_inference = under.inference(under.model)
        calls = {"generated": over.inference(over.model)}
        if isinstance(over.model, KernelNetwork):
            calls["materialized"] = over.inference(materialize(over.model))
        inference = {
            kind: _pair_of(call, plain_inference, timer, protocol) for kind, call in calls.items()
        }
    used = over.trainer.compiler.used
    record = head("pair", name, recipe, used, timer) | steps
    record |= {
        "pair": [name, plain_name],
        "optimizer": optimizers.names(under.model, recipe),
        "inference": inference,
    }
    return record, used


def _pair_of(over: Call, under: Call, timer: Timer, protocol: Protocol) -> dict:
    warm_over = warm_up(over, timer, protocol)
    warm_under = warm_up(under, timer, protocol)
    return paired(warm_over, warm_under, timer, protocol)


def profile_models(
    models: Iterable[str], setup: TimingSetup, progress: Progress = QUIET
) -> dict[str, list[dict]]:
    """The `profile` of each model that can be timed; `progress.timed` is told of the others."""
    profiles = {}
    for name in models:
        try:
            profiles[name] = profile(name, setup)
        except BaseException as error:
            if not is_fault(error):
                raise
            progress.timed(_untimable(name, error, setup))
    return profiles


def profile(name: str, setup: TimingSetup, steps: int = 10) -> list[dict]:
    """Where the time of a training step goes, by operator, the longest first.

    A row has the `operator`, `calls_per_step` and its `share` of the time.
    """
    torch._dynamo.reset()
    settings = setup.settings
    on_gpu = settings.device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.cuda.stream(settings.new_stream()):
        bench = bench_of(name, setup)
        for _ in range(5):
            bench.step.run()
        bench.trainer.synchronize()
        with torch.profiler.profile(activities=kinds) as profiler:
            for _ in range(steps):
                bench.step.run()
            bench.trainer.synchronize()
    key = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    averages = profiler.key_averages()
    if on_gpu:  # kernels; an operator's time on the device is that of its kernels once more
        cuda = torch.autograd.DeviceType.CUDA
        averages = [e for e in averages if e.device_type == cuda and not e.is_user_annotation]
    events = sorted(averages, key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events)
    return [
        {
            "operator": event.key,
            "calls_per_step": event.count / steps,
            "share": getattr(event, key) / total,
        }
        for event in events
    ]
