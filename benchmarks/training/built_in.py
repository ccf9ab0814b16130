"""The built-in recipes, as data, and what each is in a few words."""

import dataclasses
import re

from benchmarks.tasks import IMAGES, TEXT, Task
from benchmarks.training.recipe_types import MAX_EPOCHS, Block, Recipe, Rule, Sequences

# Settled on the validation split (docs/recipes.md): SGD and SCALED in all studies, ADAM, for
# sources that do not scale their gradients, in pair16.
SGD = Block("sgd", learning_rate=0.4, l2=5e-4, warmup=0.3)
ADAM = Block("adam", learning_rate=0.06, l2=5e-6, warmup=0.3)
SCALED = Block(
    "sgd", learning_rate=0.6, l2=2e-4, warmup=0.2, backbone=Rule("sgd", learning_rate=0.2)
)

# What the plain network had when `epochs5_adam` was trained.
STUDY_SGD = Block("sgd", learning_rate=0.2, l2=5e-4, warmup=0.2)

PAPER_SGD = Block(
    "sgd",
    learning_rate=0.1,
    l2=5e-4,
    schedule="steps",
    warmup=0.0,
    milestones=((28_000, 0.02), (56_000, 0.004), (84_000, 0.0008), (112_000, 0.00016)),
    steps=140_000,
)
PAPER_ADAM = Block(
    "adam",
    learning_rate=0.002,
    l2=5e-6,
    schedule="steps",
    warmup=0.0,
    milestones=((168_000, 0.001), (336_000, 0.0002), (504_000, 0.00005)),
    steps=672_000,
)

# Settled on the validation split of pydoc in study text256, at 256 units.
TEXT_STORED = Block("adam", learning_rate=0.064, l2=0.0, warmup=0.05)
TEXT_GENERATED = Block("adam", learning_rate=0.008, l2=0.0, warmup=0.05)
TEXT_SEQUENCES = Sequences(length=100, keep=0.9, clip=1.0)
PAPER_TEXT_ADAM = Block("adam", learning_rate=0.001, l2=0.0, schedule="steps", warmup=0.0)


def _text(name: str, epochs: int, stored: Block, generated: Block, batch_size: int) -> Recipe:
    return Recipe(
        name,
        epochs,
        stored=stored,
        generated=generated,
        batch_size=batch_size,
        crop_padding=0,
        sequences=TEXT_SEQUENCES,
    )


RECIPES: dict[str, Recipe] = {
    "paper": Recipe("paper", 1911, stored=PAPER_SGD, generated=PAPER_ADAM, crop_padding=2),
    "demo": Recipe(
        "demo",
        2,
        stored=Block("sgd", learning_rate=0.15, l2=5e-4, warmup=0.2),
        generated=Block("adam", learning_rate=0.01, l2=5e-6),
        scaled=Block(
            "sgd", learning_rate=0.6, l2=2e-4, warmup=0.3, backbone=Rule("sgd", learning_rate=0.3)
        ),
        batch_size=16,
        crop_padding=1,
        precision="fp32",
        compile="off",
    ),
    "epochs5_adam": Recipe("epochs5_adam", 5, stored=STUDY_SGD, generated=ADAM),
    "epochs5_crossed": Recipe(
        "epochs5_crossed",
        5,
        stored=Block("adam", learning_rate=0.006, l2=5e-4, warmup=0.2),
        generated=Block("sgd", learning_rate=0.3, l2=5e-6, warmup=0.3),
    ),
    "text_paper": _text("text_paper", 100, PAPER_TEXT_ADAM, PAPER_TEXT_ADAM, batch_size=128),
    "text_demo": Recipe(
        "text_demo",
        2,
        stored=Block("adam", learning_rate=0.004, l2=0.0, steps=40),
        generated=Block("adam", learning_rate=0.004, l2=0.0, steps=40),
        batch_size=16,
        crop_padding=0,
        precision="fp32",
        compile="off",
        sequences=Sequences(length=20, keep=0.9, clip=1.0),
    ),
}
"""The recipes with a fixed name; `epochs<N>` and `text_epochs<N>` are made on demand."""

DEFAULT = "epochs10"
"""The recipe of every data set of images but digits, which has "demo"."""
DEFAULT_TEXT = "text_epochs10"
"""The recipe of every text."""

DESCRIPTIONS = {
    "epochs<N>": "N epochs for both members of a pair, warm-up and cosine",
    "paper": "the paper's own schedules (appendix A.3.2): plain 140,000 steps of SGD, "
    "hyper 672,000 of Adam, batch 128",
    "demo": "2 epochs of small batches, fp32, eager: a minute or less a run, for digits and tests",
    "epochs5_adam": "a control of 5 epochs: Adam for all generated kernels, scaled gradients for "
    "none; its Adam was settled on the hypernetwork alone",
    "epochs5_crossed": "a control of 5 epochs: Adam for stored kernels and SGD for generated ones",
    "text_epochs<N>": "N epochs over a text for all recurrent networks: Adam, warm-up and cosine, "
    "32 streams, 100 characters a step",
    "text_paper": "the paper's Adam, dropout and clipping (appendix A.3.3), batch 128, 100 "
    "characters a step; it does not print its epochs: 100",
    "text_demo": "40 steps of 320 characters, fp32, eager: seconds, for tests",
}

ALLOWED = (
    f"epochs<N> (N from 1 to {MAX_EPOCHS})",
    f"text_epochs<N> (N from 1 to {MAX_EPOCHS})",
    *RECIPES,
)
"""Names of the built-in recipes, as messages list them."""

FORMER = {
    "quick": "epochs10",
    "quick8": "epochs8",
    "quick15": "epochs15",
    "fast": "epochs200",
    "smoke": "demo",
    "study5": "epochs5_adam",
    "study5crossed": "epochs5_crossed",
}
"""Names that recipes had, and their names now. Records and studies keep the former ones."""

_EPOCHS = re.compile(r"(?P<text>text_)?epochs(?P<number>[1-9][0-9]{0,4})")


def built_in(name: str) -> Recipe | None:
    """The built-in recipe of a name, those for any N included; None where there is none."""
    match = _EPOCHS.fullmatch(name)
    if match is None:
        return RECIPES.get(name)
    epochs = int(match["number"])
    if match["text"]:
        return _text(name, epochs, TEXT_STORED, TEXT_GENERATED, batch_size=32)
    return Recipe(name, epochs, stored=SGD, generated=ADAM, scaled=SCALED)


def recorded(name: str) -> Recipe | None:
    """`built_in`, also under the name that a recipe had: for records and studies."""
    recipe = built_in(FORMER.get(name, name))
    return recipe and dataclasses.replace(recipe, name=name)


def description(name: str) -> str:
    """What a built-in recipe is, in a few words; `name` may be a former one."""
    name = FORMER.get(name, name)
    match = _EPOCHS.fullmatch(name)
    if match:
        every = DESCRIPTIONS[f"{match['text'] or ''}epochs<N>"]
        return every.replace("N epochs", f"{match['number']} epochs")
    return DESCRIPTIONS[name]


def default_name(dataset: str, task: Task = IMAGES) -> str:
    """The recipe of a data set where none is asked for."""
    if task is TEXT:
        return DEFAULT_TEXT
    return "demo" if dataset == "digits" else DEFAULT
