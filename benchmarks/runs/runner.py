"""The runner: spec -> build -> train, count, time -> record. The only room that joins the others."""

import os
import shutil
import sys
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from benchmarks.data.batches import Batches, evaluation_batches
from benchmarks.data.splits import DataSet
from benchmarks.measuring import costs
from benchmarks.records import store
from benchmarks.records.provenance import code
from benchmarks.runs.listing import cost_row
from benchmarks.system import environment
from benchmarks.system.device import keep_freed_memory
from benchmarks.system.files import remove_leftovers
from benchmarks.training.checkpoints import CheckpointError, differences, load_newest
from benchmarks.training.loop import Interrupted, Result, Settings, Trainer, advance
from benchmarks.training.recipes import Recipe
from models import registry


class RunError(ValueError):
    """Options that are not allowed; the message is one line for the user."""


class Busy(ValueError):
    """Another process is at the run."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was refused: torch's allocator says so on CUDA by its type, on a CPU only in its words."""
    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "DefaultCPUAllocator: can't allocate memory" in str(error)


@dataclass(frozen=True)
class Places:
    """Folders that a run writes."""

    results: Path
    checkpoints: Path

    def record(self, run: "Run") -> Path:
        return store.run_path(
            self.results, run.data.name, run.model, run.recipe.name, run.seed, run.study
        )

    def checkpoint(self, run: "Run") -> Path:
        tree = self.checkpoints / "studies" / run.study if run.study else self.checkpoints
        return tree / run.data.name / run.model / f"{self.record(run).stem}.ckpt"


def resolve_settings(
    device: str,
    precision: str,
    compile_mode: str,
    deterministic: bool = False,
    parallel_seeds: int = 1,
) -> Settings:
    """What "auto" means here, and which fall-backs were taken; sets torch's switches accordingly.

    Precision: bf16 on CUDA and on a CPU with AMX or AVX512-BF16, else fp32. Compile: "graph" on CUDA, "default" on a CPU with a
    compiler.

    Raises:
        RunError: for a device that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise RunError(f"device {device!r} is not allowed; choose from auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError("device 'cuda' is not there; choose cpu or auto")
    fallbacks = []
    if precision == "auto":
        fast = device == "cuda" or {"amx_bf16", "avx512_bf16"} & set(environment.cpu_features())
        precision = "bf16" if fast else "fp32"
    if compile_mode == "graph" and device == "cpu":
        compile_mode = "default"
        fallbacks.append("a CPU captures no graphs: compile default instead of graph")
    if parallel_seeds > 1 and device == "cpu":
        fallbacks.append(
            f"parallel seeds {parallel_seeds} take turns on the CPU: nothing is gained"
        )
    if compile_mode == "auto":
        compile_mode = "graph" if device == "cuda" else "default"
        if device == "cpu" and not any(
            shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")
        ):
            compile_mode = "off"
            fallbacks.append("no C++ compiler found: eager instead of compiled")
    if device == "cpu" and not keep_freed_memory():
        fallbacks.append(
            "no mallopt in this C library: it decides by itself whether freed memory is kept"
        )
    set_switches(deterministic)
    return Settings(
        torch.device(device),
        precision,
        compile_mode,
        tuple(fallbacks),
        deterministic,
        parallel_seeds,
    )


def set_switches(deterministic: bool) -> None:
    """fp32 means fp32 (no TF32), a compiled model that would fall back to eager raises, and results repeat if asked for."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = (
        False  # a guard against bugs that costs time, not determinism
    )
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def build(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The model of a name, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    return registry.build(name, num_classes)


def refuse_wrong_output(name: str, num_classes: int) -> None:
    """Refuse a model of a plugin whose output has the wrong shape, before anything is trained.

    A model that raises is not refused: that is a fault of its run, for its record.

    Raises:
        RunError: naming the shape and the wanted one.
    """
    if registry.get(name).closed_form:
        return
    try:
        with torch.no_grad():
            out = build(name, num_classes, seed=0).eval()(torch.zeros(2, 3, 32, 32))
    except Exception:  # noqa: BLE001
        return
    shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if shape != (2, num_classes):
        raise RunError(
            f"model {name!r} makes {shape} of 2 images and {num_classes} classes, not {(2, num_classes)}; see `check`"
        )


def cost(name: str, num_classes: int = 10) -> dict:
    """The row of `cost`: parameters and MACs, counted on the module and held against the closed form.

    Raises:
        costs.CountError: if the two counts differ.
    """
    spec = registry.get(name)
    model = build(name, num_classes, seed=0)
    parts, macs = costs.count_parameters(model), costs.count_macs(model)
    if spec.closed_form:
        counted = (parts, (macs.per_image, macs.generator))
        closed = (spec.parameters(num_classes), spec.macs(num_classes))
        if counted != closed:
            raise costs.CountError(f"{name}: counted {counted}, closed form {closed}")
    return cost_row(spec, parts, (macs.per_image, macs.generator), costs.count_frozen(model))


@dataclass
class Run:
    """One run: (model, data set, recipe, seed) with its places and settings."""

    model: str
    data: DataSet
    recipe: Recipe
    seed: int
    settings: Settings
    places: Places
    plugin_sha256: str | None = None
    should_stop: Callable[[], str | None] = lambda: None
    resume_changed: bool = False
    study: str | None = None
    """Of a trial in a recipe study: it does not read the test set."""

    def __post_init__(self) -> None:
        self.stream = self.settings.new_stream()

    @property
    def title(self) -> str:
        study = f", study {self.study}" if self.study else ""
        return f"{self.model} on {self.data.name}, {self.recipe.name}, seed {self.seed}{study}"

    @property
    def record_path(self) -> Path:
        return self.places.record(self)

    @property
    def checkpoint_path(self) -> Path:
        return self.places.checkpoint(self)

    def done(self) -> bool:
        """Whether a record of this recipe says that the run ended.

        Raises:
            store.RecordError: if the record there was made with another recipe.
        """
        there = store.load_or_set_aside(self.record_path)
        done = there is not None and there.get("status") in store.DONE
        if done or not self.resume_changed:
            store.refuse_other_hash(self.record_path, self.recipe.hash)
        return done

    def executing(self, on_epoch: Callable, on_step: Callable) -> Generator[None, None, dict]:
        """Train and write the record, whatever happens, pausing after each step; gives the record.

        Raises:
            Busy: if another process is at this run.
            CheckpointError: if a checkpoint is there that this run must not go on from.
        """
        self.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{self.checkpoint_path}.lock", timeout=0):
                remove_leftovers(self.checkpoint_path)
                return (yield from self._executing(on_epoch, on_step))
        except Timeout:
            raise Busy(f"another process is at {self.title}; left to it") from None

    def _executing(self, on_epoch: Callable, on_step: Callable) -> Generator[None, None, dict]:
        provenance = code()
        trainer, facts, result = None, {}, None
        try:
            model = build(self.model, self.data.num_classes, self.seed)
            facts = self._facts(model)
            trainer = self._trainer(model, provenance)
            self._resume(trainer)
            result = yield from trainer.training(
                evaluation_batches,
                self.checkpoint_path,
                self.should_stop,
                on_epoch,
                on_step,
                test=self.study is None,
            )
        except CheckpointError:
            raise
        except Interrupted as stop:
            result = Result("interrupted", str(stop), trainer.history, None)
        except Exception as error:  # noqa: BLE001 - a fault of one run is its record's; the matrix goes on
            if not is_out_of_memory(error) and not isinstance(error, OSError):
                traceback.print_exc()
            result = self._bad(
                "out_of_memory" if is_out_of_memory(error) else "failed", error, trainer
            )
        record = self._record(result, facts, trainer, provenance)
        store.save(self.places.results, record)
        return record

    def _resume(self, trainer: Trainer) -> None:
        state, damage = load_newest(self.checkpoint_path)
        if state is None:
            return
        differing = differences(state, trainer.identity)
        if differing and not self.resume_changed:
            parts = ", ".join(
                f"{key} {there!r} there, {here!r} here" for key, (there, here) in differing.items()
            )
            raise CheckpointError(
                f"checkpoint {self.checkpoint_path} is of another run ({parts}); remove it to start again, or give --resume-changed"
            )
        trainer.restore(state)
        if differing or damage:
            step = trainer.history.steps_done
            note = damage and damage.replace(
                f"{self.checkpoint_path.parent}{os.sep}", ""
            )  # no path of the machine in a record
            trainer.history.resumed.append({"step": step, "differing": differing, "note": note})
            self._say_resumed(step, differing, damage)

    def _say_resumed(self, step: int, differing: dict, damage: str | None) -> None:
        why = [damage] if damage else []
        why += [f"{', '.join(differing)} changed since"] if differing else []
        print(f"note: {self.title} goes on from step {step}: {'; '.join(why)}", file=sys.stderr)

    def _bad(self, status: str, error: Exception, trainer: Trainer | None) -> Result:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        for place, name in (
            (os.getcwd(), "."),
            (os.path.expanduser("~"), "~"),
        ):  # no path of the machine in a record
            reason = reason.replace(place, name)
        return Result(status, reason, trainer.history if trainer else None, None)

    def _trainer(self, model: torch.nn.Module, provenance: dict) -> Trainer:
        batches = Batches(
            self.data.train,
            self.recipe.batch_size,
            crop_padding=self.recipe.crop_padding,
            flip=self.data.flip,
        )
        identity = {
            "model": self.model,
            "dataset": self.data.fingerprint["decoded_sha256"],
            "source_sha256": provenance["source_sha256"],
            "torch": str(torch.__version__),
            "device_type": self.settings.device.type,
            "precision": self.settings.precision,
            "compile": self.settings.compile,
            "deterministic": self.settings.deterministic,
            "num_classes": self.data.num_classes,
            "plugin_sha256": self.plugin_sha256,
        }
        return Trainer(model, self.data, batches, self.recipe, self.settings, self.seed, identity)

    def _facts(self, model: torch.nn.Module) -> dict:
        parts, macs = costs.count_parameters(model), costs.count_macs(model)
        return {
            "params": sum(parts.values()),
            "params_by_component": parts,
            "macs_per_image": macs.per_image,
            "generator_macs": macs.generator,
            "flops_per_image": store.doubled(macs.per_image),
            "generator_flops": store.doubled(macs.generator),
        }

    def _record(
        self, result: Result, facts: dict, trainer: Trainer | None, provenance: dict
    ) -> dict:
        history = result.history
        epochs = history.epochs if history else []
        resolved = self.recipe.as_dict()
        if trainer is not None:
            resolved |= {"trained_epochs": trainer.epochs, "steps": trainer.total}
            resolved["block"] = trainer.kind
        macs = ("macs_per_image", "generator_macs")
        counts = ("params", "params_by_component", *macs, *store.FLOPS)
        return {
            "schema_version": store.SCHEMA_VERSION,
            "model": self.model,
            "pair": registry.get(self.model).pair,
            "dataset": self.data.name,
            "dataset_fingerprint": self.data.fingerprint,
            "recipe": resolved,
            "seed": self.seed,
            "status": result.status,
            "reason": result.reason,
            **({"study": self.study} if self.study else {"test_error": result.test_error}),
            "val_error": epochs[-1]["val_error"] if result.status == "ok" else None,
            **{key: facts.get(key) for key in counts},
            "train_images_per_s": history.images_per_s if history else None,
            "history": epochs,
            "resumed": history.resumed if history else [],
            "environment": settings_environment(self.settings),
            "code": provenance
            | ({"plugin_sha256": self.plugin_sha256} if self.plugin_sha256 else {}),
        }


def side_by_side(runs: list[Run], count: int) -> list[list[Run]]:
    """The runs in their order, in groups of at most `count` of one model."""
    by_model = (list(same) for _, same in groupby(runs, key=lambda run: run.model))
    return [
        same[first : first + count] for same in by_model for first in range(0, len(same), count)
    ]


def execute_together(
    runs: list[Run], callbacks: list[tuple[Callable, Callable]]
) -> list[dict | ValueError]:
    """Execute runs side by side in one process, a step each in turn, every run on a stream of its own where there are streams.

    A step that was captured is one launch, so that the streams fill a GPU that one small model leaves idle. Gives for each run
    its record, or why it was refused (`Busy`, `CheckpointError`).
    """
    torch._dynamo.reset()  # What was compiled for earlier models is of no use any more.
    going = {number: run.executing(*callbacks[number]) for number, run in enumerate(runs)}
    done: dict[int, dict | ValueError] = {}
    while going:
        for number, steps in list(going.items()):
            try:
                advance(steps, runs[number].stream)
            except StopIteration as end:
                done[number] = end.value
            except (Busy, CheckpointError) as refusal:
                done[number] = refusal
            if number in done:
                del going[number]
    return [done[number] for number in range(len(runs))]


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


def with_overrides(recipe: Recipe, precision: str | None, compile_mode: str | None) -> Recipe:
    """A recipe with the command line's precision and compile mode; its hash tells."""
    changes = {"precision": precision, "compile": compile_mode}
    return replace(recipe, **{key: value for key, value in changes.items() if value is not None})
