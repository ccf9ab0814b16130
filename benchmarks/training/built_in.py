"""The built-in recipes, as data, and what each is in a few words."""

import re

from benchmarks.training.recipe_types import MAX_EPOCHS, Block, Recipe, Rule

# Settled on the validation split (docs/recipes.md): SGD and SCALED in all studies, ADAM, for
# sources that do not scale their gradients, in pair16.
SGD = Block("sgd", learning_rate=0.4, l2=5e-4, warmup=0.3)
ADAM = Block("adam", learning_rate=0.06, l2=5e-6, warmup=0.3)
SCALED = Block(
    "sgd", learning_rate=0.6, l2=2e-4, warmup=0.2, backbone=Rule("sgd", learning_rate=0.2)
)

# What the plain network had when study5 was trained.
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


def _settled(name: str, epochs: int) -> Recipe:
    return Recipe(name, epochs, stored=SGD, generated=ADAM, scaled=SCALED)


RECIPES: dict[str, Recipe] = {
    "paper": Recipe("paper", 1911, stored=PAPER_SGD, generated=PAPER_ADAM, crop_padding=2),
    "fast": _settled("fast", 200),
    "quick": _settled("quick", 10),
    "quick8": _settled("quick8", 8),
    "quick15": _settled("quick15", 15),
    "study5": Recipe("study5", 5, stored=STUDY_SGD, generated=ADAM),
    "study5crossed": Recipe(
        "study5crossed",
        5,
        stored=Block("adam", learning_rate=0.006, l2=5e-4, warmup=0.2),
        generated=Block("sgd", learning_rate=0.3, l2=5e-6, warmup=0.3),
    ),
    "smoke": Recipe(
        "smoke",
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
}

DESCRIPTIONS = {
    "paper": "the paper's own schedules (appendix A.3.2): plain 140,000 steps of SGD, "
    "hyper 672,000 of Adam, batch 128",
    "fast": "200 epochs for both members of a pair, warm-up and cosine",
    "quick": "10 epochs, warm-up and cosine",
    "quick8": "8 epochs, as quick",
    "quick15": "15 epochs, as quick",
    "study5": "5 epochs, Adam for all generated kernels, to compare many models; its Adam was "
    "settled on the hypernetwork alone, which later recipes train, as they do the template bank, "
    "with scaled gradients instead",
    "study5crossed": "a control: as study5, but Adam for stored kernels and SGD for generated ones",
    "smoke": "2 epochs of small batches, fp32, eager: a minute or less a run, for digits and tests",
}

ALLOWED = (*RECIPES, f"epochs<N> (N from 1 to {MAX_EPOCHS})")
"""Names of the built-in recipes, as messages list them."""

_EPOCHS = re.compile(r"epochs([1-9][0-9]{0,4})")


def built_in(name: str) -> Recipe | None:
    """The built-in recipe of a name, `epochs<N>` for any N included; None where there is none."""
    match = _EPOCHS.fullmatch(name)
    if match:
        return _settled(name, int(match[1]))
    return RECIPES.get(name)


def description(name: str) -> str:
    """What a built-in recipe is, in a few words."""
    match = _EPOCHS.fullmatch(name)
    if match:
        return f"{match[1]} epochs for both members of a pair, warm-up and cosine"
    return DESCRIPTIONS[name]


def default_name(dataset: str) -> str:
    """The recipe of a data set where none is asked for."""
    return "smoke" if dataset == "digits" else "quick"
