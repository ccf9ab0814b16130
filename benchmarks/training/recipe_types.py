"""What a recipe is made of: rules, blocks and recipes. pydantic checks their values."""

import dataclasses
import hashlib
import json
import math
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from benchmarks.tasks import IMAGES, TEXT, Task

Optimizer = Literal["sgd", "adam"]
Schedule = Literal["cosine", "steps"]
Precision = Literal["auto", "fp32", "bf16"]
CompileMode = Literal["auto", "off", "default", "graph"]

PRECISIONS: tuple[str, ...] = get_args(Precision)
COMPILE_MODES: tuple[str, ...] = get_args(CompileMode)
KINDS = ("stored", "generated", "scaled")
"""Of kernel sources, by how they are trained: the blocks of a recipe."""
PARTS = ("embeddings", "backbone")
"""The parts of a model that may have a separate rule beside their block's."""

CONFIG = ConfigDict(extra="forbid")

MAX_EPOCHS = 99_999
MAX_STEPS = 1_000_000_000
MAX_BATCH_SIZE = 65_536
"""A larger number of images, or streams, a step is taken for a slip."""

MAX_LENGTH = 100_000
_LENGTHS = f"at least 1, at most {MAX_LENGTH:,}"

Steps = Field(ge=1, le=MAX_STEPS, description=f"at least 1, at most {MAX_STEPS:,}")
Epochs = Field(ge=1, le=MAX_EPOCHS, description=f"at least 1, at most {MAX_EPOCHS:,}")
BatchSize = Field(ge=2, le=MAX_BATCH_SIZE, description=f"at least 2, at most {MAX_BATCH_SIZE:,}")

# The description of a field is what an error message says after "it is".
Rate = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False, description="more than 0")]
Share = Annotated[float, Strict(), Field(ge=0, lt=1, allow_inf_nan=False, description="in [0, 1)")]
Betas = Annotated[tuple[Share, Share], Field(description="two, in [0, 1)")]
Step = Annotated[int, Strict(), Field(gt=0)]


def _rising(milestones: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    starts = [start for start, _ in milestones]
    if starts != sorted(set(starts)):
        raise ValueError("the steps do not rise")
    return milestones


Milestones = Annotated[
    tuple[tuple[Step, Rate], ...],
    AfterValidator(_rising),
    Field(description="[step, learning rate] pairs, steps and rates positive, steps rising"),
]


@dataclass(frozen=True, config=CONFIG)
class Rule:
    """How parameters follow their gradients: SGD with Nesterov momentum, or Adam."""

    optimizer: Optimizer
    learning_rate: Rate
    momentum: Share = 0.9
    betas: Betas = (0.9, 0.999)


@dataclass(frozen=True, config=CONFIG)
class Block:
    """How a model with one kind of kernel source is optimized.

    `l2` multiplies half the sum of squares of the kernels as used, and of stem, shortcuts and
    classifier. `schedule` is "cosine" (linear warm-up over the share `warmup` of all steps, then
    down to zero) or "steps" (`milestones`: pairs of a step and the learning rate from there on).
    `steps` overrides the recipe's epochs. `embeddings` (of the source: a hypernetwork's, a bank's
    coefficients) and `backbone` (stem, biases, batch norms, shortcuts, classifier; of a HyperLSTM
    all but its hyper cell) may have separate rules; their learning rates follow the same schedule.
    """

    optimizer: Optimizer
    learning_rate: Rate
    l2: Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False, description="at least 0")]
    schedule: Schedule = "cosine"
    warmup: Share = 0.05
    milestones: Milestones = ()
    momentum: Share = 0.9
    betas: Betas = (0.9, 0.999)
    steps: Annotated[int | None, Strict(), Steps] = None
    embeddings: Rule | None = None
    backbone: Rule | None = None

    def learning_rate_at(self, step: int, total: int) -> float:
        """The learning rate of step `step` (from 0) of `total`."""
        if self.schedule == "steps":
            rate = self.learning_rate
            for start, later_rate in self.milestones:
                if step >= start:
                    rate = later_rate
            return rate
        warm = round(self.warmup * total)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        angle = math.pi * (step - warm) / max(1, total - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(angle))


@dataclass(frozen=True, config=CONFIG)
class Sequences:
    """How text is read in training, in `batch_size` streams whose state is carried.

    `length`: symbols of each stream in a step, through which gradients flow. `keep`: what dropout
    leaves of the input, of each layer's output, and of what is new in its cell. `clip`: the
    largest norm of the gradient.
    """

    length: Annotated[int, Strict(), Field(ge=1, le=MAX_LENGTH, description=_LENGTHS)]
    keep: Annotated[float, Strict(), Field(gt=0, le=1, description="more than 0, at most 1")]
    clip: Rate


def steps_per_epoch(items: int, batch_size: int, length: int | None) -> int:
    """The steps in which `items` of training are read once; `length`: of text, of a step."""
    if length is None:
        return items // batch_size
    return max(0, items // batch_size - 1) // length


@dataclass(frozen=True, config=CONFIG)
class Recipe:
    """A named recipe: a block for stored kernels, one for generated ones, and perhaps one for
    sources that scale their gradients (SGD; without it they take the block of generated ones).

    `precision` and `compile` "auto" are resolved per device and recorded as used. `flip`: whether
    training mirrors images at random; None is what the data set has by default. `sequences`: of a
    recipe for text, which has neither `flip` nor `crop_padding`; None is a recipe for images.

    Raises:
        pydantic.ValidationError: for a value that is not allowed; it is a ValueError.
    """

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9._]+$", description="made of letters, digits, '.' and '_'"),
    ]
    epochs: Annotated[int, Strict(), Epochs]
    stored: Block
    generated: Block
    batch_size: Annotated[int, Strict(), BatchSize] = 128
    crop_padding: Annotated[int, Strict(), Field(ge=0, le=16, description="0 to 16")] = 4
    precision: Precision = "auto"
    compile: CompileMode = "auto"
    scaled: Block | None = None
    flip: Annotated[bool | None, Strict(), Field(description="true or false")] = None
    sequences: Sequences | None = None

    @model_validator(mode="after")
    def _has_what_its_task_has(self) -> Self:
        if self.sequences is None:
            return self
        if self.flip is not None or self.crop_padding:
            raise ValueError("flip and crop_padding are of images; this recipe is for text")
        if self.scaled is not None:
            raise ValueError("scaled is of kernel sources; this recipe is for text")
        if self.generated.embeddings is not None or self.stored.backbone is not None:
            raise ValueError(
                "a recipe for text has no rule of a part but generated.backbone, what a hyper cell "
                "scales"
            )
        return self

    @model_validator(mode="after")
    def _blocks_fit_their_kinds(self) -> Self:
        if self.stored.embeddings is not None:
            raise ValueError("stored kernels have no embeddings that a rule could be of")
        if self.scaled is None:
            return self
        for rule in (self.scaled, self.scaled.embeddings):
            if rule is not None and rule.optimizer != "sgd":
                raise ValueError(
                    f"optimizer of scaled gradients {rule.optimizer!r} is not allowed; "
                    "choose from sgd"
                )
        return self

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all fields, as JSON."""
        content = dataclasses.asdict(self)
        for kind in KINDS:
            block = content.pop(kind)
            # The third block and the rules of parts came later. Where there is none, the text
            # is what it was before, and so is the hash.
            if block is not None:
                content[kind] = {
                    key: value
                    for key, value in block.items()
                    if key not in PARTS or value is not None
                }
        for key in ("flip", "sequences"):  # they came later still
            if content[key] is None:
                del content[key]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def kind(self, generated: bool, scales_gradients: bool) -> str:
        """Which block a kernel source takes."""
        if not generated:
            return "stored"
        if scales_gradients and self.scaled is not None:
            return "scaled"
        return "generated"

    @property
    def task(self) -> Task:
        """What it is a recipe for."""
        return TEXT if self.sequences else IMAGES

    @property
    def items_per_step(self) -> int:
        """Images, or characters, of a step."""
        return self.batch_size * (self.sequences.length if self.sequences else 1)

    @property
    def step_told(self) -> str:
        """What a step reads, for messages."""
        length = f" with length {self.sequences.length}" if self.sequences else ""
        return f"batch size {self.batch_size}{length}"

    def steps_per_epoch(self, items: int) -> int:
        """The steps in which `items` of training are read once; what is left over is dropped."""
        length = self.sequences.length if self.sequences else None
        return steps_per_epoch(items, self.batch_size, length)

    def flips(self, default: bool | None) -> bool | None:
        """Whether training mirrors images; `default` is what the data set says."""
        return default if self.flip is None else self.flip

    def block(self, kind: str) -> Block:
        """The block of a kind of kernel sources.

        Raises:
            ValueError: if the recipe has none.
        """
        block = getattr(self, kind)
        if block is None:
            raise ValueError(f"recipe {self.name} has no block for {kind} kernels")
        return block

    def total_steps(self, kind: str, steps_per_epoch: int) -> int:
        """How many steps of the optimizer a run has."""
        return self.block(kind).steps or self.epochs * steps_per_epoch

    def as_dict(self) -> dict:
        """Every field of its task and the hash, as JSON has them."""
        content = dataclasses.asdict(self) | {"hash": self.hash}
        for key in ("flip", "crop_padding") if self.sequences else ("sequences",):
            del content[key]
        return json.loads(json.dumps(content))
