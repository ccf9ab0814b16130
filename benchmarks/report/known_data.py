"""Data sets that a report knows: the suite's own by name, folders by their fingerprint."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class KnownData:
    """What a data set is, in a sentence, and how far published errors of CIFAR-10 apply.

    `cifar10`: "itself" (errors may stand beside published ones), "other" (its images in another
    form: gaps between models compare, errors do not) or "" (other images).
    """

    note: str
    cifar10: str = ""


CIFAR10 = KnownData("CIFAR-10 itself.", "itself")
BY_NAME = {
    "digits": KnownData(
        "The handwritten digits that scikit-learn bundles, up-sampled to 32x32: a demonstration "
        "that everything works, not a measure of the models."
    ),
    "cifar10": CIFAR10,
    "svhn": KnownData(
        "Street View House Numbers, cropped digits: trained on `train` alone, without `extra`."
    ),
}
"""No folder may have these names."""
BY_SHA256 = {
    "d1e93a3b84583096034bcdccd1a89811fd547d0e6d3d5f09761f910c3aa6ab6a": KnownData(
        "CIFAR-10 itself, lossless: all training images, and 9,980 of the 10,000 test images (20 "
        "are left out).",
        "itself",
    ),
    "f10d4c9e536a564f17fa5e8d68ba087d1235e60cd1f21700e11ff43f0647bbb0": KnownData(
        "CIFAR-10 re-encoded as JPEG, quality 75: errors run higher than on CIFAR-10 and compare "
        "only with each other.",
        "other",
    ),
}
"""By the fingerprint of their files (docs: `sha256sum`)."""


def known_data(dataset: str, runs: pd.DataFrame) -> KnownData:
    """What the runs of a data set are of; one note for unknown data, or of several kinds."""
    if dataset in BY_NAME:
        return BY_NAME[dataset]
    kinds = runs.data_sha256.unique()
    if len(kinds) == 1 and kinds[0] in BY_SHA256:
        return BY_SHA256[kinds[0]]
    return KnownData(f"Image classification on `{dataset}`.")
