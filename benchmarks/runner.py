"""The runner: spec -> build -> train, count, time -> record. The only room that joins the others."""

import os
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from benchmarks import costs, datasets, records, throughput
from benchmarks.files import write_atomically
from benchmarks.listing import cost_row
from benchmarks.recipes import Recipe
from benchmarks.training import (
    Evaluation,
    Interrupted,
    Normalize,
    Result,
    Settings,
    Trainer,
    evaluate,
    is_generated,
    load_checkpoint,
)  # fmt: skip
from models import registry
from models.kernels.protocol import KernelNetwork
from models.materialize import materialize


class RunError(ValueError):
    """Options that are not allowed; the message is one line for the user."""


@dataclass(frozen=True)
class Places:
    """Folders that a run reads and writes."""

    results: Path = Path("results")
    reports: Path = Path("reports")
    data: Path = Path("data")
    checkpoints: Path = Path("checkpoints")

    def checkpoint(self, dataset: str, model: str, recipe: str, seed: int) -> Path:
        record = records.run_path(Path(), dataset, model, recipe, seed)
        return self.checkpoints / dataset / model / f"{record.stem}.ckpt"


def resolve_settings(device: str, precision: str, compile_mode: str) -> Settings:
    """What "auto" means here, and which fall-backs were taken.

    Precision: bf16 on CUDA and on a CPU with AMX or AVX512-BF16, else fp32. Compile: "default" where a compiler is.

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
        fast = device == "cuda" or {"amx_bf16", "avx512_bf16"} & set(records.cpu_features())
        precision = "bf16" if fast else "fp32"
    if compile_mode == "auto":
        compile_mode = "default"
        if device == "cpu" and not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
            compile_mode = "off"
            fallbacks.append("no C++ compiler found: eager instead of compiled")
    return Settings(torch.device(device), precision, compile_mode, tuple(fallbacks))


def build(name: str, num_classes: int, seed: int) -> torch.nn.Module:
    """The model of a name, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    return registry.build(name, num_classes)


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
    data: datasets.DataSet
    recipe: Recipe
    seed: int
    settings: Settings
    places: Places
    plugin_sha256: str | None = None
    deadline: float | None = None

    @property
    def record_path(self) -> Path:
        return records.run_path(self.places.results, self.data.name, self.model, self.recipe.name, self.seed)

    @property
    def checkpoint_path(self) -> Path:
        return self.places.checkpoint(self.data.name, self.model, self.recipe.name, self.seed)

    def done(self) -> bool:
        """Whether a record of this recipe says that the run ended.

        Raises:
            records.RecordError: if the record there was made with another recipe.
        """
        records.refuse_other_hash(self.record_path, self.recipe.hash)
        there = records.load(self.record_path)
        return there is not None and there["status"] in records.DONE

    def execute(self, on_epoch: Callable, on_step: Callable) -> dict:
        """Train and write the record, whatever happens; gives the record.

        Raises:
            RunError: if another process is at this run.
        """
        self.checkpoint_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{self.checkpoint_path}.lock", timeout=0):
                return self._execute(on_epoch, on_step)
        except Timeout:
            raise RunError(f"another process is at {self.record_path.stem} of {self.model}; nothing done") from None

    def _execute(self, on_epoch: Callable, on_step: Callable) -> dict:
        provenance = records.code()
        trainer, facts, result = None, {}, None
        try:
            model = build(self.model, self.data.num_classes, self.seed)
            facts = self._facts(model)
            trainer = self._trainer(model, provenance)
            result = trainer.train(
                datasets.evaluation_batches, self.checkpoint_path, self.deadline, on_epoch, on_step
            )
        except Interrupted as stop:
            result = Result("interrupted", str(stop), trainer.history, None)
        except torch.OutOfMemoryError as error:
            result = self._bad("out_of_memory", error, trainer)
        except Exception as error:  # noqa: BLE001 - a fault of one run is its record's; the matrix goes on
            traceback.print_exc()
            result = self._bad("failed", error, trainer)
        record = self._record(result, facts, trainer, provenance)
        records.save(self.places.results, record)
        return record

    def _bad(self, status: str, error: Exception, trainer: Trainer | None) -> Result:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Result(status, reason, trainer.history if trainer else None, None)

    def _trainer(self, model: torch.nn.Module, provenance: dict) -> Trainer:
        batches = datasets.Batches(
            self.data.train, self.recipe.batch_size, crop_padding=self.recipe.crop_padding, flip=self.data.flip
        )
        identity = {
            "model": self.model,
            "dataset": self.data.fingerprint["decoded_sha256"],
            "source_sha256": provenance["source_sha256"],
            "torch": str(torch.__version__),
            "precision": self.settings.precision,
            "compile": self.settings.compile,
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
            "generated": is_generated(model),
        }

    def _record(self, result: Result, facts: dict, trainer: Trainer | None, provenance: dict) -> dict:
        history = result.history
        epochs = history.epochs if history else []
        resolved = self.recipe.as_dict()
        if trainer is not None:
            resolved |= {"epochs": trainer.epochs, "steps": trainer.total}
            resolved["block"] = "generated" if facts["generated"] else "stored"
        counts = ("params", "params_by_component", "macs_per_image", "generator_macs")
        return {
            "schema_version": records.SCHEMA_VERSION,
            "model": self.model,
            "pair": registry.get(self.model).pair,
            "dataset": self.data.name,
            "dataset_fingerprint": self.data.fingerprint,
            "recipe": resolved,
            "seed": self.seed,
            "status": result.status,
            "reason": result.reason,
            "test_error": result.test_error,
            "val_error": epochs[-1]["val_error"] if result.status == "ok" else None,
            **{key: facts.get(key) for key in counts},
            "train_images_per_s": history.images_per_s if history else None,
            "history": epochs,
            "environment": settings_environment(self.settings),
            "code": provenance | ({"plugin_sha256": self.plugin_sha256} if self.plugin_sha256 else {}),
        }


def settings_environment(settings: Settings) -> dict:
    """Environment of a record, with the precision and compile mode as used."""
    return records.environment(
        settings.device.type,
        precision=settings.precision,
        compile=settings.compile,
        memory_format="channels_last",
        fallbacks=list(settings.fallbacks),
    )


def time_model(
    name: str, data: datasets.DataSet, recipe: Recipe, settings: Settings, protocol: throughput.Protocol
) -> dict:
    """Measure the speed of a model by the protocol; gives the throughput record."""
    model = build(name, data.num_classes, seed=0)
    images = recipe.batch_size
    batches = datasets.Batches(data.train, images, crop_padding=recipe.crop_padding, flip=data.flip)
    trainer = Trainer(model, data, batches, recipe, settings, seed=0, identity={})
    if settings.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    measurements = {"training_step": throughput.measure(_endless_step(trainer), images, trainer._synchronize, protocol)}
    x, y = next(iter(batches.epoch(0, 0)))
    one_off = None
    measurements["inference_generated"] = _inference_rate(trainer.model, data, x, y, settings, trainer, protocol)
    if isinstance(trainer.model, KernelNetwork):
        begin = time.perf_counter()
        plain = materialize(trainer.model)
        trainer._synchronize()
        one_off = time.perf_counter() - begin
        measurements["inference_materialized"] = _inference_rate(plain, data, x, y, settings, trainer, protocol)
    compiled = settings.compile != "off"
    return {
        "schema_version": records.SCHEMA_VERSION,
        "model": name,
        "device": settings_environment(settings)["device"],
        "batch_size": images,
        "measurements": measurements,
        "materialize_s": one_off,
        "compile_s": sum(m["first_call_s"] for m in measurements.values()) if compiled else None,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if settings.device.type == "cuda" else None,
        "environment": settings_environment(settings),
        "code": records.code(),
    }


def _endless_step(trainer: Trainer) -> Callable[[], object]:
    """A training step on the next batch, augmentation included; epochs without end."""
    trainer.model.train()

    def stream():
        epoch = 0
        while True:
            yield from trainer.batches.epoch(0, epoch)
            epoch += 1

    batches = stream()
    return lambda: trainer.step(*next(batches), 0)


def _inference_rate(model, data, x, y, settings: Settings, trainer: Trainer, protocol: throughput.Protocol) -> dict:
    model.eval()
    normalize = Normalize(data.mean, data.std).to(settings.device)
    evaluation = settings.compiled(Evaluation(model, normalize))

    def infer() -> object:
        with torch.inference_mode(), settings.autocast():
            return evaluation(x, y)

    return throughput.measure(infer, x.shape[0], trainer._synchronize, protocol)


def save_throughput(places: Places, record: dict) -> Path:
    path = records.throughput_path(places.results, record["device"], record["model"])
    write_atomically(path, records.to_json(record))
    return path


def load_trained(checkpoint: Path) -> tuple[torch.nn.Module, dict]:
    """The model of a checkpoint with its weights, and the checkpoint's identity."""
    state = load_checkpoint(checkpoint)
    identity = state["identity"]
    model = registry.build(identity["model"], identity["num_classes"])
    model.load_state_dict(state["model"])
    return model.eval(), identity


def evaluate_checkpoint(checkpoint: Path, data: datasets.DataSet, settings: Settings) -> dict:
    """Test error of a checkpoint, in percent."""
    model, identity = load_trained(checkpoint)
    if identity["num_classes"] != data.num_classes:
        raise RunError(f"{checkpoint} has {identity['num_classes']} classes, {data.name} has {data.num_classes}")
    normalize = Normalize(data.mean, data.std).to(settings.device)
    evaluation = settings.compiled(Evaluation(model.to(settings.device), normalize))
    loss, error = evaluate(evaluation, datasets.evaluation_batches(data.read_test(), 128), settings)
    return {"model": identity["model"], "dataset": data.name, "seed": identity["seed"], "test_error": error,
            "test_loss": loss}  # fmt: skip


def export(checkpoint: Path, out: Path, materialized: bool) -> int:
    """Write a checkpoint's weights as safetensors; gives the number of tensors."""
    from safetensors.torch import save

    model, identity = load_trained(checkpoint)
    if materialized:
        model = materialize(model)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    metadata = {"model": identity["model"], "materialized": str(materialized).lower()}
    write_atomically(out, save(state, metadata=metadata))
    return len(state)


def with_overrides(recipe: Recipe, precision: str | None, compile_mode: str | None) -> Recipe:
    """A recipe with the command line's precision and compile mode; its hash tells."""
    changes = {"precision": precision, "compile": compile_mode}
    return replace(recipe, **{key: value for key, value in changes.items() if value is not None})
