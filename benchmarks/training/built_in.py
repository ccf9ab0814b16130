"""The built-in recipes, as data, and what each is in a few words."""

import dataclasses
import re

from benchmarks.training.recipe_types import MAX_EPOCHS, Block, Recipe, Rule

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
}
"""The recipes with a fixed name; `epochs<N>` are made on demand."""

DEFAULT = "epochs10"
"""The recipe of every data set but digits, which has "demo"."""

DESCRIPTIONS = {
    "epochs<N>": "N epochs for both members of a pair, warm-up and cosine",
    "paper": "the paper's own schedules (appendix A.3.2): plain 140,000 steps of SGD, "
    "hyper 672,000 of Adam, batch 128",
    "demo": "2 epochs of small batches, fp32, eager: a minute or less a run, for digits and tests",
    "epochs5_adam": "a control of 5 epochs: Adam for all generated kernels, scaled gradients for "
    "none; its Adam was settled on the hypernetwork alone",
    "epochs5_crossed": "a control of 5 epochs: Adam for stored kernels and SGD for generated ones",
}

ALLOWED = (f"epochs<N> (N from 1 to {MAX_EPOCHS})", *RECIPES)
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

_EPOCHS = re.compile(r"epochs([1-9][0-9]{0,4})")


def built_in(name: str) -> Recipe | None:
    """The built-in recipe of a name, `epochs<N>` for any N included; None where there is none."""
    match = _EPOCHS.fullmatch(name)
    if match:
        return Recipe(name, int(match[1]), stored=SGD, generated=ADAM, scaled=SCALED)
    return RECIPES.get(name)


def recorded(name: str) -> Recipe | None:
    """`built_in`, also under the name that a recipe had: for records and studies."""
    recipe = built_in(FORMER.get(name, name))
    return recipe and dataclasses.replace(recipe, name=name)


def description(name: str) -> str:
    """What a built-in recipe is, in a few words; `name` may be a former one."""
    name = FORMER.get(name, name)
    match = _EPOCHS.fullmatch(name)
    if match:
        return DESCRIPTIONS["epochs<N>"].replace("N epochs", f"{match[1]} epochs")
    return DESCRIPTIONS[name]


def default_name(dataset: str) -> str:
    """The recipe of a data set where none is asked for."""
    return "demo" if dataset == "digits" else DEFAULT
