"""Data sets that a report knows: the suite's own by name, others by their fingerprint."""

from dataclasses import dataclass

import pandas as pd

from benchmarks.tasks import IMAGES, TASKS, TEXT, Task


@dataclass(frozen=True)
class KnownData:
    """What a data set is, in a sentence, and how far published numbers apply.

    - `published`: the data that they are of (a value of the column `data` of `load_published`), or
      "" if there are none
    - `form`: "itself" (numbers may stand beside published ones), "other" (the same items in another
      form: gaps between models compare, numbers do not) or ""
    """

    note: str
    published: str = ""
    form: str = ""


CIFAR10 = KnownData("CIFAR-10 itself.", "CIFAR-10", "itself")
BY_NAME = {
    (IMAGES.name, "digits"): KnownData(
        "The handwritten digits that scikit-learn bundles, up-sampled to 32x32: a demonstration "
        "that everything works, not a measure of the models."
    ),
    (IMAGES.name, "cifar10"): CIFAR10,
    (IMAGES.name, "svhn"): KnownData(
        "Street View House Numbers, cropped digits: trained on `train` alone, without `extra`."
    ),
    (TEXT.name, "pydoc"): KnownData(
        "The help topics of Python's documentation. They differ between versions of Python: runs "
        "on different texts are not compared."
    ),
}
"""By task and name; no folder and no file of the task may have these names."""
BY_SHA256 = {
    "d1e93a3b84583096034bcdccd1a89811fd547d0e6d3d5f09761f910c3aa6ab6a": KnownData(
        "CIFAR-10 itself, lossless: all training images, and 9,980 of the 10,000 test images (20 "
        "are left out).",
        CIFAR10.published,
        "itself",
    ),
    "f10d4c9e536a564f17fa5e8d68ba087d1235e60cd1f21700e11ff43f0647bbb0": KnownData(
        "CIFAR-10 re-encoded as JPEG, quality 75: errors run higher than on CIFAR-10 and compare "
        "only with each other.",
        CIFAR10.published,
        "other",
    ),
    "622b0df3e072dc4980096908620b7abbf4088ca1fb3daab2de0bd06adf451fb5": KnownData(
        "The characters of the Penn Treebank, in the usual three files.",
        "Penn Treebank characters",
        "itself",
    ),
    "70a470ee28818736d971a7387a5afaa3603720d6adfd47bb0a4a34cc372c48ee": KnownData(
        "Tiny Shakespeare: 1,115,394 characters of his plays, the last 10 % of them for validation "
        "and test."
    ),
}
"""By the fingerprint of their files (docs: `sha256sum`), or of a text's three parts."""


def task_of(runs: pd.DataFrame) -> Task:
    """The task of the runs of a data set: that of most of them; images, if there are none."""
    counts = runs.task.value_counts()
    return TASKS[counts.index[0]] if len(counts) else IMAGES


def known_data(dataset: str, runs: pd.DataFrame) -> KnownData:
    """What the runs of a data set are of; one note for unknown data, or of several kinds."""
    task = task_of(runs)
    if (task.name, dataset) in BY_NAME:
        return BY_NAME[task.name, dataset]
    kinds = runs.data_sha256.unique()
    if len(kinds) == 1 and kinds[0] in BY_SHA256:
        return BY_SHA256[kinds[0]]
    return KnownData(f"{task.title} on `{dataset}`.")
