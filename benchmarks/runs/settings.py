"""How the arithmetic is done: what `auto` means on this machine, and torch's switches for it."""

import os
import shutil
from collections.abc import Callable

import torch

from benchmarks.runs.options import RunOptions
from benchmarks.system import environment
from benchmarks.system.device import keep_freed_memory
from benchmarks.training import recipes
from benchmarks.training.recipes import Recipe
from benchmarks.training.settings import Settings


class RunError(ValueError):
    """Options that are not allowed; the message is one line for the user."""


def settings_of(options: RunOptions, recipe: Recipe, note: Callable[[str], None]) -> Settings:
    """The settings of a recipe on the device of `options`; sets the number of threads too.

    `note` is called with each fall-back.

    Raises:
        RunError: for a device that is not there.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = resolve_settings(
        options.device,
        recipe.precision,
        recipe.compile,
        options.deterministic,
        options.parallel_seeds,
    )
    for fallback in settings.fallbacks:
        note(fallback)
    return settings


def as_asked(options: RunOptions, recipe: Recipe) -> Settings:
    """The settings as they are asked for, for a run that another machine resolves and makes."""
    return Settings(
        torch.device("cpu"),
        recipe.precision,
        recipe.compile,
        deterministic=options.deterministic,
    )


def resolve_settings(
    device: str,
    precision: str,
    compile_mode: str,
    deterministic: bool = False,
    parallel_seeds: int = 1,
) -> Settings:
    """What "auto" means here, and which fall-backs were taken; sets torch's switches accordingly.

    Precision: bf16 on a GPU from Ampere on and on a CPU with AMX or AVX512-BF16, else fp32.
    Compile: "graph" on CUDA and "default" on a CPU, each with a compiler of C or C++, else "off".

    Raises:
        RunError: for a device that is not there.
    """
    device = device_type(device)
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(device) else "fp32"
    compile_mode, fallback = _compile_mode(compile_mode, device)
    fallbacks = [fallback] if fallback else []
    if parallel_seeds > 1 and device == "cpu":
        fallbacks.append(
            f"parallel seeds {parallel_seeds} are interleaved on the CPU: nothing is gained"
        )
    if device == "cpu" and not keep_freed_memory():
        fallbacks.append("no mallopt in this C library: it decides whether freed memory is kept")
    set_switches(deterministic)
    return Settings(
        torch.device(device),
        precision,
        compile_mode,
        tuple(fallbacks),
        deterministic,
        parallel_seeds,
    )


def device_type(name: str) -> str:
    """The type of device, "cpu" or "cuda", that a name or "auto" stands for on this machine.

    Raises:
        RunError: for another name, and for a device that is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise RunError(f"device {name!r} is not allowed; choose from auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("device 'cuda' is not there; choose cpu or auto")
    return name


def _has_fast_bf16(device: str) -> bool:
    if device == "cuda":  # before Ampere it is emulated, and cannot be compiled
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"amx_bf16", "avx512_bf16"} & set(environment.cpu_features()))


def _compile_mode(mode: str, device: str) -> tuple[str, str | None]:
    """The mode on a device, and the fall-back that was taken, if any."""
    if device != "cuda" and mode == "graph":
        return "default", "a CPU captures no graphs: compile default instead of graph"
    if mode != "auto":
        return mode, None
    # Triton builds its launchers with a C compiler, inductor its CPU code with one of C++.
    if device == "cuda":
        best, language, names = "graph", "C", (os.environ.get("CC", "gcc"), "clang")
    else:
        best, language, names = "default", "C++", (os.environ.get("CXX", "g++"), "clang++")
    if any(shutil.which(name) for name in names):
        return best, None
    return "off", f"no {language} compiler found: eager instead of compiled"


def set_switches(deterministic: bool) -> None:
    """Set torch's switches: fp32 without TF32, no silent fall-back to eager, and determinism.

    A compiled model that would be recompiled too often raises; by default it would run eagerly.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    # A guard against bugs, which costs time and is not needed for determinism.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def settings_environment(settings: Settings) -> dict:
    """Environment of a record, with the precision and compile mode as used."""
    return environment.environment(
        settings.device.type,
        precision=settings.precision,
        compile=settings.compile,
        memory_format="channels_last",
        deterministic=settings.deterministic,
        parallel_seeds=settings.parallel_seeds,
        fallbacks=list(settings.fallbacks),
    )


def with_overrides(recipe: Recipe, options: RunOptions) -> Recipe:
    """The recipe with the options' precision, compile mode and mirroring, where they are given.

    Its hash tells.

    Raises:
        RecipeError: for a value that is not allowed.
    """
    changes = {name: getattr(options, name) for name in ("precision", "compile", "flip")}
    given = {key: value for key, value in changes.items() if value is not None}
    return recipes.varied(recipe, recipe.name, given) if given else recipe
