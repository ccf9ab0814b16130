"""The models that `list` shows; every other valid depth, width and budget builds too."""

from models.kernels.counts import KERNELS

PAPER_TABLE = ("wide_resnet40_1", "hyper_resnet40_1", "wide_resnet40_2", "hyper_resnet40_2")
"""The rows of Ha et al. 2017, Table 2, in its order."""

TEXT_TABLE = ("lstm_256", "lstm_347", "hyper_lstm_256")
"""What `reproduce` makes of text: a HyperLSTM, the LSTM of its parameters and that of its units."""

SOURCES = tuple(name for name, entry in KERNELS.items() if entry.size and name != "hyper")
"""The other sources with a size; a name without a budget has the hypernetwork's parameters."""

PROJECTED = (
    *PAPER_TABLE,
    "wide_resnet16_1",
    "hyper_resnet16_1",
    "wide_resnet28_10",
    "hyper_resnet28_10",
)
"""Listed with the projection shortcut too."""


def _of_sources() -> list[str]:
    names = []
    for source in SOURCES:
        names += [f"{source}_resnet16_1", f"{source}_resnet40_1_100k"]
        # One stage template of the last stage of 40-2 alone has 147,456 weights.
        if source != "stage_template":
            names.append(f"{source}_resnet40_2_150k")
    return names


def _of_budgets() -> list[str]:
    names = []
    for source in ("hyper", "template"):
        names += [f"{source}_resnet40_1_{budget}k" for budget in (25, 50, 100, 200)]
    return names


def _resnets() -> list[str]:
    names = []
    for family in ("resnet", "hyper_resnet"):
        names += [f"{family}{depth}" for depth in (20, 32, 44, 56)]
    return names


def listed() -> list[str]:
    """The names of the built-in models that are listed, without duplicates."""
    names = [
        *PROJECTED,
        *_of_sources(),
        "shared_resnet22_1",
        "shared_resnet40_1",
        "shared_resnet40_2",
        "separable_resnet16_1",
        "separable_resnet40_1",
        "separable_resnet40_2",
        "wide_resnet10_1",
        "wide_resnet22_1",
        "narrow_resnet16_11",
        "narrow_resnet40_6",
        "narrow_resnet40_8",
        *_of_budgets(),
        "hyper_resnet40_1_tile8_50k",
        "hyper_resnet40_1_tile8_100k",
        "subspace_resnet40_1_20k",
        "hyper_resnet16_1_frozen_generator",
        "hyper_resnet16_1_frozen_embeddings",
        *_resnets(),
        *(f"{name}_projection" for name in PROJECTED),
    ]
    return list(dict.fromkeys(names))
