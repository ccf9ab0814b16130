"""Recipes: how a model is trained, as data. This module is the door to them.

A recipe has an optimizer block for stored kernels and one for generated ones, and may have a third
for sources that scale their gradients; everything else is shared by a pair. Its hash covers every
field, and results with different hashes are never pooled.
"""

import dataclasses
import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from benchmarks.system.files import read_text
from benchmarks.training.built_in import (
    ALLOWED,
    DEFAULT,
    DEFAULT_TEXT,
    DESCRIPTIONS,
    FORMER,
    RECIPES,
    built_in,
    default_name,
    description,
    recorded,
)
from benchmarks.training.messages import not_among, shown, unknown_key
from benchmarks.training.recipe_types import (
    COMPILE_MODES,
    KINDS,
    PARTS,
    PRECISIONS,
    Block,
    Recipe,
    Rule,
    Sequences,
)

__all__ = [
    "ALLOWED",
    "COMPILE_MODES",
    "DEFAULT",
    "DEFAULT_TEXT",
    "DESCRIPTIONS",
    "FORMER",
    "KINDS",
    "PARTS",
    "PRECISIONS",
    "RECIPES",
    "Block",
    "Recipe",
    "RecipeError",
    "Rule",
    "Sequences",
    "built_in",
    "default_name",
    "description",
    "differences",
    "from_record",
    "load",
    "optimizer_names",
    "recorded",
    "rules",
    "varied",
]


class RecipeError(ValueError):
    """A recipe that is not allowed; the message is one line for the user."""


def load(text: str) -> Recipe:
    """The recipe of a name, or of a TOML file (`name`, `base`, and what it changes of the base).

    Raises:
        RecipeError: for an unknown name or key, or a value that is not allowed.
    """
    recipe = built_in(text)
    if recipe is not None:
        return recipe
    if text.endswith(".toml"):
        return _from_toml(Path(text))
    raise RecipeError(
        f"unknown recipe {shown(text)}; {_hint(text)}allowed are {', '.join(ALLOWED)}, "
        "or a file ending in .toml"
    )


def _hint(name: str) -> str:
    """What a recipe is called now, or which name is near."""
    if name in FORMER:
        return f"now {FORMER[name]}; "
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    epochs = re.fullmatch(r"(?:epochs?|ep|e)?(\d{1,5})(?:epochs?|ep|e)?", plain)
    if epochs and built_in(f"epochs{int(epochs[1])}"):
        return f"nearest: epochs{int(epochs[1])}; "
    near = difflib.get_close_matches(name.lower(), DESCRIPTIONS, n=1)
    return f"nearest: {near[0]}; " if near else ""


def _from_toml(path: Path) -> Recipe:
    try:
        values = tomllib.loads(read_text(path))
    except OSError as error:
        raise RecipeError(f"recipe {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"recipe {path}: {error}") from None
    try:
        name, base = _text(values, "name"), _text(values, "base")
        if recorded(name) is not None:
            raise RecipeError(f"name {name!r} is taken by a built-in recipe")
        recipe = built_in(base)
        if recipe is None:
            allowed = ", ".join(ALLOWED)
            raise RecipeError(
                f"base {shown(base)} is not allowed; {_hint(base)}choose from {allowed}"
            )
        return varied(recipe, name, values)
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from None


def _text(values: dict, key: str) -> str:
    """A text that a file must have, taken out of its values."""
    value = values.pop(key, None)
    if not isinstance(value, str):
        raise RecipeError(f"{key} is missing or no text")
    return value


def varied(base: Recipe, name: str, values: dict) -> Recipe:
    """The base with another name and some values, nested by block.

    Raises:
        RecipeError: for an unknown key, a value that is not allowed, or one that has no effect.
    """
    if "sequences" in values and base.sequences is None:
        raise RecipeError(f"sequences are of text, base {base.name} is of images")
    recipe = _checked(_changed(base, values | {"name": name}))
    for kind in KINDS:
        block = getattr(recipe, kind)
        if block is None:
            continue
        if "epochs" in values and block.steps is not None and "steps" not in values.get(kind, {}):
            raise RecipeError(
                f"epochs {values['epochs']} has no effect: {kind}.steps is {block.steps}; "
                "set that instead"
            )
        before = getattr(base, kind) or base.stored
        _refuse_idle(kind, block, before)
        for part in PARTS:
            if (rule := getattr(block, part)) is not None:
                _refuse_idle(f"{kind}.{part}", rule, getattr(before, part) or before)
    return recipe


IDLE = {
    "warmup": ("schedule", "steps"),
    "milestones": ("schedule", "cosine"),
    "momentum": ("optimizer", "adam"),
    "betas": ("optimizer", "sgd"),
}
"""What nobody reads of a block or rule, by the key and value that it has then."""


def _refuse_idle(name: str, rule: Block | Rule, before: Block | Rule) -> None:
    """Refuse what was changed of a block or rule and has no effect."""
    for key, (of, value) in IDLE.items():
        changed = hasattr(rule, key) and getattr(rule, key) != getattr(before, key)
        if changed and getattr(rule, of) == value:
            raise RecipeError(
                f"{name}.{key} {shown(getattr(rule, key))} has no effect: {name}.{of} is {value!r}"
            )


def from_record(values: dict) -> Recipe:
    """The recipe that a record holds, its hash computed anew.

    Raises:
        RecipeError: for a value that is not allowed.
    """
    # What a record does not name, because it is older, its recipe did not have.
    base = dataclasses.replace(load(DEFAULT), scaled=None)
    if values.get("sequences"):
        base = dataclasses.replace(base, crop_padding=0)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    return _checked(_changed(base, {key: values[key] for key in values if key in fields}))


def _changed(base: Recipe, changes: dict) -> dict:
    """The values of `base` with the changes, not yet checked.

    A table changes the block that there is. Where there is none, it changes what lies beside it:
    a new block starts as the stored one, the new rule of a part as its block.
    """
    values = dataclasses.asdict(base)
    tables = [key for key in (*KINDS, "sequences") if isinstance(changes.get(key), dict)]
    for key in tables:
        if key == "sequences":
            values[key] = (values[key] or {}) | changes[key]
        else:
            values[key] = _changed_block(values[key] or values["stored"], changes[key])
    return values | {key: value for key, value in changes.items() if key not in tables}


def _changed_block(base: dict, changes: dict) -> dict:
    values = base | changes
    beside = {field.name: values[field.name] for field in dataclasses.fields(Rule)}
    for part in PARTS:
        if isinstance(changes.get(part), dict):
            values[part] = (base[part] or beside) | changes[part]
    return values


def _checked(values: dict) -> Recipe:
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        raise RecipeError(_one_line(error)) from None


TABLES: tuple[Any, ...] = (Recipe, Block, Rule)
"""The tables of a recipe's file, by depth."""
TYPES = {"int_type": "int", "float_type": "float", "string_type": "str"}
"""What a value should be, by pydantic's type of error."""


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong: the value, what is allowed, and the nearest match."""
    first = error.errors(include_url=False)[0]
    keys = [key for key in first["loc"] if isinstance(key, str)]
    if not keys:  # what a check across fields says
        return str(first["ctx"]["error"])
    table, key, value = TABLES[len(keys) - 1], keys[-1], first["input"]
    if keys[0] == "sequences" and len(keys) > 1:
        table = Sequences
    if table is Sequences and first["type"] == "missing":
        return f"{key} is missing in sequences"
    if first["type"] == "unexpected_keyword_argument":
        return unknown_key(key, [field.name for field in dataclasses.fields(table)])
    if first["type"] == "dataclass_type":
        return f"{key} {shown(value)} is not a table"
    if first["type"] == "finite_number":
        return f"{key} {shown(value)} is no finite number"
    if first["type"] in TYPES:
        return f"{key} {shown(value)} is not of type {TYPES[first['type']]}"
    field = table.__pydantic_fields__[key]
    if first["type"] == "literal_error":
        return not_among(key, value, get_args(field.annotation))
    return f"{key} {shown(value)} is not allowed; it is {field.description}"


def differences(values: dict, base: dict) -> dict[str, object]:
    """What one recipe (as JSON has it) says otherwise than another, apart from name and hash.

    Nested keys are joined by dots. Of a block or rule that the other does not have: what it says
    otherwise than what it inherits from.
    """
    changes: dict[str, object] = {}
    for key, other in base.items():
        value = values.get(key)
        if isinstance(other, dict) or isinstance(value, dict):
            inner = value if isinstance(value, dict) else {}
            inherited = other
            if not isinstance(other, dict):
                inherited = {name: values.get(name) for name in inner}
            for name, changed in differences(inner, inherited).items():
                changes[f"{key}.{name}"] = changed
        elif key not in ("name", "hash") and value != other:
            changes[key] = value
    return changes


def rules(block: dict) -> dict[str, dict]:
    """The rules of a block (as JSON has it): its own as "block", then those of parts that have one.

    The keys are "block", "embeddings" and "backbone".
    """
    own = {part: block[part] for part in PARTS if isinstance(block.get(part), dict)}
    return {"block": block, **own}


def optimizer_names(kind: str, block: dict) -> str:
    """The optimizers of a block (as JSON has it) and of its parts, without their rates.

    The time of a step depends on them.
    """
    names = []
    for part, rule in rules(block).items():
        optimizer = str(rule.get("optimizer"))
        names.append(optimizer if part == "block" else f"{part} {optimizer}")
    text = ", ".join(names)
    return f"scaled {text}" if kind == "scaled" else text
