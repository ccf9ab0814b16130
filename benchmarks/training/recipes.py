"""Recipes: how a model is trained, as data.

A recipe has an optimizer block for stored and one for generated kernels, and may have a third for sources that scale their
gradients; everything else is shared by a pair. Its hash covers every field, and results with different hashes are never pooled.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("cosine", "steps")
PRECISIONS = ("auto", "fp32", "bf16")
KINDS = ("stored", "generated", "scaled")
"""Of kernel sources, by how they are trained."""
PARTS = ("embeddings", "backbone")
"""What may have a rule beside its block's."""
COMPILE_MODES = ("auto", "off", "default", "reduce-overhead", "max-autotune", "graph")


class RecipeError(ValueError):
    """A recipe that is not allowed; the message is one line for the user."""


@dataclass(frozen=True)
class Rule:
    """How parameters follow their gradients: SGD with Nesterov momentum, or Adam."""

    optimizer: str
    learning_rate: float
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        _check_rule(self)


@dataclass(frozen=True)
class Block:
    """How a model with one kind of kernel source is optimized.

    `l2` multiplies half the sum of squares of the kernels as used, and of stem, shortcuts and classifier. `schedule` is
    "cosine" (linear warm-up over the share `warmup` of all steps, then to zero) or "steps" (`milestones`: from which step
    on which learning rate). `steps` overrides the recipe's epochs. `embeddings` (of the source: a hypernetwork's, a bank's
    coefficients) and `backbone` (what is not the source's: stem, biases, batch norms, shortcuts, classifier) may have rules of
    their own; their learning rates follow the same schedule.
    """

    optimizer: str
    learning_rate: float
    l2: float
    schedule: str = "cosine"
    warmup: float = 0.05
    milestones: tuple[tuple[int, float], ...] = ()
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    steps: int | None = None
    embeddings: Rule | None = None
    backbone: Rule | None = None

    def __post_init__(self) -> None:
        _check_rule(self)
        _one_of("schedule", self.schedule, SCHEDULES)
        _check("l2", self.l2, self.l2 >= 0, "at least 0")
        _check("warmup", self.warmup, 0 <= self.warmup < 1, "in [0, 1)")
        _check("steps", self.steps, self.steps is None or self.steps > 0, "at least 1")
        starts = [start for start, _ in self.milestones]
        rising = starts == sorted(set(starts)) and all(
            s > 0 and rate > 0 for s, rate in self.milestones
        )
        _check(
            "milestones",
            self.milestones,
            rising,
            "[step, learning rate] pairs, steps and rates positive, steps rising",
        )

    def learning_rate_at(self, step: int, total: int) -> float:
        """The learning rate of step `step` (from 0) of `total`."""
        if self.schedule == "steps":
            return [
                self.learning_rate,
                *(rate for start, rate in self.milestones if step >= start),
            ][-1]
        warm = round(self.warmup * total)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return (
            self.learning_rate
            * 0.5
            * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
        )


@dataclass(frozen=True)
class Recipe:
    """A named recipe: a block for stored kernels, one for generated ones, and one for those of sources that scale their
    gradients (SGD; without it they are trained as the other generated ones).

    `precision` and `compile` "auto" are resolved per device and recorded as used.
    """

    name: str
    epochs: int
    stored: Block
    generated: Block
    batch_size: int = 128
    crop_padding: int = 4
    precision: str = "auto"
    compile: str = "auto"
    scaled: Block | None = None
    hash: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._]+", self.name):
            raise RecipeError(
                f"recipe name {_shown(self.name)} is not allowed; use letters, digits, '.' and '_'"
            )
        _check("epochs", self.epochs, self.epochs >= 1, "at least 1")
        _check("batch_size", self.batch_size, self.batch_size >= 2, "at least 2")
        _check("crop_padding", self.crop_padding, 0 <= self.crop_padding <= 16, "0 to 16")
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("compile", self.compile, COMPILE_MODES)
        for rule in (self.scaled, self.scaled and self.scaled.embeddings):
            if rule is not None:
                _one_of("optimizer of scaled gradients", rule.optimizer, ("sgd",))
        if self.stored.embeddings is not None:
            raise RecipeError("stored kernels have no embeddings that a rule could be of")
        content = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "hash"
        }
        for kind in KINDS:
            # Hashes of recipes from before there were such rules and such a block stay as they are.
            if (block := content.pop(kind)) is not None:
                values = dataclasses.asdict(block).items()
                content[kind] = {
                    key: value for key, value in values if key not in PARTS or value is not None
                }
        text = json.dumps(content, sort_keys=True)
        object.__setattr__(self, "hash", hashlib.sha256(text.encode()).hexdigest()[:16])

    def kind(self, generated: bool, scales_gradients: bool) -> str:
        """Which block a kernel source takes."""
        if generated and scales_gradients and self.scaled is not None:
            return "scaled"
        return "generated" if generated else "stored"

    def block(self, kind: str) -> Block:
        return getattr(self, kind)

    def total_steps(self, kind: str, steps_per_epoch: int) -> int:
        return self.block(kind).steps or self.epochs * steps_per_epoch

    def as_dict(self) -> dict:
        """Everything, as JSON has it."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def _shown(value: object) -> str:
    """The value as it was written, shortened in the middle if it is very long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:60]}...{text[-57:]}"


def _check(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise RecipeError(f"{name} {_shown(value)} is not allowed; it is {allowed}")


def _check_rule(rule: Rule | Block) -> None:
    _one_of("optimizer", rule.optimizer, OPTIMIZERS)
    _check("learning_rate", rule.learning_rate, rule.learning_rate > 0, "more than 0")
    _check("momentum", rule.momentum, 0 <= rule.momentum < 1, "in [0, 1)")
    _check(
        "betas",
        rule.betas,
        len(rule.betas) == 2 and all(0 <= b < 1 for b in rule.betas),
        "two, in [0, 1)",
    )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise RecipeError(
            f"{name} {_shown(value)} is not allowed; choose from {', '.join(allowed)}{hint}"
        )


_SGD = Block("sgd", 0.4, 5e-4, warmup=0.3)
_ADAM = Block("adam", 0.06, 5e-6, warmup=0.3)
_SCALED = Block("sgd", 0.6, 2e-4, warmup=0.2, backbone=Rule("sgd", 0.2))
"""Settled on the validation split, docs/recipes.md: _SGD and _SCALED in all studies, _ADAM, for sources that do not scale their
gradients, in pair16."""
_STUDY_SGD = Block("sgd", 0.2, 5e-4, warmup=0.2)
"""What the plain network had when study5 was trained."""
_CROSSED = Block("adam", 0.006, 5e-4, warmup=0.2), Block("sgd", 0.3, 5e-6, warmup=0.3)

_PAPER_SGD = Block(
    "sgd",
    0.1,
    5e-4,
    "steps",
    0.0,
    ((28_000, 0.02), (56_000, 0.004), (84_000, 0.0008), (112_000, 0.00016)),
    steps=140_000,
)
_PAPER_ADAM = Block(
    "adam",
    0.002,
    5e-6,
    "steps",
    0.0,
    ((168_000, 0.001), (336_000, 0.0002), (504_000, 0.00005)),
    steps=672_000,
)

DESCRIPTIONS = {
    "paper": "the paper's own schedules (appendix A.3.2): plain 140,000 steps of SGD, hyper 672,000 of Adam, batch 128",
    "fast": "200 epochs for both members of a pair, warm-up and cosine",
    "quick": "10 epochs, warm-up and cosine",
    "quick8": "8 epochs, as quick",
    "quick15": "15 epochs, as quick",
    "study5": "5 epochs, Adam for all generated kernels, to compare many models; its Adam was settled on the hypernetwork alone, "
    "which later recipes train, as they do the template bank, with scaled gradients instead",
    "study5crossed": "a control: as study5, but Adam for stored kernels and SGD for generated ones",
    "smoke": "a few epochs of small batches, fp32, eager: seconds to a minute, for digits and tests",
}

RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("paper", 1911, _PAPER_SGD, _PAPER_ADAM, crop_padding=2),
        Recipe("fast", 200, _SGD, _ADAM, scaled=_SCALED),
        Recipe("quick", 10, _SGD, _ADAM, scaled=_SCALED),
        Recipe("quick8", 8, _SGD, _ADAM, scaled=_SCALED),
        Recipe("quick15", 15, _SGD, _ADAM, scaled=_SCALED),
        Recipe("study5", 5, _STUDY_SGD, _ADAM),
        Recipe("study5crossed", 5, *_CROSSED),
        Recipe(
            "smoke",
            3,
            Block("sgd", 0.05, 5e-4),
            Block("adam", 0.01, 5e-6),
            batch_size=32,
            crop_padding=2,
            precision="fp32",
            compile="off",
            scaled=Block("sgd", 0.15, 5e-4),
        ),
    )
}


_EPOCHS = re.compile(r"epochs([1-9][0-9]{0,4})")
ALLOWED = (*RECIPES, "epochs<N>")
"""Names of the built-in recipes, as messages list them."""


def built_in(name: str) -> Recipe | None:
    """The built-in recipe of a name, `epochs<N>` for any N included; None where there is none."""
    if match := _EPOCHS.fullmatch(name):
        return Recipe(name, int(match[1]), _SGD, _ADAM, scaled=_SCALED)
    return RECIPES.get(name)


def description(name: str) -> str:
    """What a built-in recipe is, in a few words."""
    if match := _EPOCHS.fullmatch(name):
        return f"{match[1]} epochs for both members of a pair, warm-up and cosine"
    return DESCRIPTIONS[name]


def rules(block: dict) -> dict[str, dict]:
    """The rules of a block, as JSON has it: its own, then those of the parts that have one, by what goes before their names."""
    return {"": block} | {
        f"{part} ": rule for part in PARTS if isinstance(rule := block.get(part), dict)
    }


def optimizer_names(kind: str, block: dict) -> str:
    """The optimizers of a block (as JSON has it) and of its parts, without their rates: what the time of a step depends on."""
    names = ", ".join(f"{part}{rule.get('optimizer')}" for part, rule in rules(block).items())
    return f"scaled {names}" if kind == "scaled" else names


def default_name(dataset: str) -> str:
    return "smoke" if dataset == "digits" else "quick"


def load(text: str) -> Recipe:
    """The recipe of a name, or of a TOML file (`name`, `base`, overrides).

    Raises:
        RecipeError: for an unknown name or key, or a value that is not allowed.
    """
    if found := built_in(text):
        return found
    if text.endswith(".toml"):
        return _from_toml(Path(text))
    near = difflib.get_close_matches(text, ALLOWED, n=1)
    hint = f"nearest: {near[0]}; " if near else ""
    raise RecipeError(
        f"unknown recipe {text!r}; {hint}allowed are {', '.join(ALLOWED)}, or a file ending in .toml"
    )


def _from_toml(path: Path) -> Recipe:
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"recipe {path}: {error}") from None
    for key in ("name", "base"):
        if not isinstance(values.get(key), str):
            raise RecipeError(f"recipe {path}: {key} is missing or no text")
    if built_in(values["name"]):
        raise RecipeError(f"recipe {path}: name {values['name']!r} is taken by a built-in recipe")
    base = values.pop("base")
    if built_in(base) is None:
        _one_of("base", base, ALLOWED)
    try:
        return varied(built_in(base), values.pop("name"), values)
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from None


def varied(base: Recipe, name: str, values: dict) -> Recipe:
    """The base with another name and some values, nested by block.

    Raises:
        RecipeError: for an unknown key, a value that is not allowed, or epochs that a block's steps would override.
    """
    found = _override(base, values | {"name": name})
    for kind in KINDS if "epochs" in values else ():
        steps = getattr(found.block(kind), "steps", None)
        if steps and "steps" not in values.get(kind, {}):
            raise RecipeError(
                f"epochs {values['epochs']} has no effect: {kind}.steps is {steps}; set that instead"
            )
    return found


def differences(values: dict, base: dict) -> dict[str, object]:
    """What one recipe (as JSON has it) says otherwise than another, nested keys joined by dots; names and hashes aside.

    Of a block or rule that the other has not: what it says otherwise than what it inherits from.
    """
    found: dict[str, object] = {}
    for key, value in base.items():
        there = values.get(key)
        if isinstance(value, dict) or isinstance(there, dict):
            there = there if isinstance(there, dict) else {}
            inner = differences(
                there,
                value if isinstance(value, dict) else {name: values.get(name) for name in there},
            )
            found |= {f"{key}.{name}": changed for name, changed in inner.items()}
        elif key not in ("name", "hash") and there != value:
            found[key] = there
    return found


def from_record(values: dict) -> Recipe:
    """The recipe that a record holds, its hash computed anew.

    Raises:
        RecipeError: for a value that is not allowed.
    """
    known = {f.name for f in dataclasses.fields(Recipe) if f.init}
    # What a record does not name, because it is older, its recipe did not have.
    base = dataclasses.replace(RECIPES["quick"], scaled=None)
    return _override(base, {key: value for key, value in values.items() if key in known})


def _override(instance, values: dict):
    """`instance` with `values`, of the types of its fields; nested blocks and rules likewise, after what they inherit from."""
    hints = typing.get_type_hints(type(instance))
    allowed = [f.name for f in dataclasses.fields(instance) if f.init]
    for key in values:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            raise RecipeError(f"unknown key {_shown(key)}; allowed are {', '.join(allowed)}{hint}")
    nested = [
        key
        for key in allowed
        if key in values and _is_nested(hints[key]) and values[key] is not None
    ]
    plain = {
        key: value if value is None and _is_nested(hints[key]) else _typed(key, value, hints[key])
        for key, value in values.items()
        if key not in nested
    }
    instance = dataclasses.replace(instance, **plain)
    for key in nested:
        if not isinstance(values[key], dict):
            raise RecipeError(f"{key} {_shown(values[key])} is not a table")
        inner = _override(getattr(instance, key) or _beside(instance), values[key])
        instance = dataclasses.replace(instance, **{key: inner})
    return instance


def _is_nested(hint) -> bool:
    return hint in (Block, Block | None, Rule | None)


def _beside(instance: Recipe | Block) -> Block | Rule:
    """What a new block of a recipe, or a new rule of a block, says where it says nothing: what lies beside it."""
    if isinstance(instance, Recipe):
        return instance.stored
    return Rule(**{f.name: getattr(instance, f.name) for f in dataclasses.fields(Rule)})


def _typed(key: str, value, hint):
    """`value` if it is of the type `hint`; lists become tuples, whole numbers floats."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(t for t in typing.get_args(hint) if t is not type(None))
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)
        if inner[-1] is Ellipsis:
            return tuple(_typed(key, v, inner[0]) for v in value)
        if len(inner) == len(value):
            return tuple(_typed(key, v, t) for v, t in zip(value, inner, strict=True))
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (int, str) and type(value) is hint:
        return value
    raise RecipeError(f"{key} {_shown(value)} is not of type {getattr(hint, '__name__', hint)}")
