"""The tasks: what a model reads, what is measured of it, and the units of what is shown.

Everything that differs in words and units between images and text is a row here. What differs in
arithmetic is in `benchmarks.training.learning`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task, in the words of tables and messages.

    - `name`: in records, in the column `task`, and in the registry; `title`: what is done
    - `item`, `items`: what speed and FLOPs are of; record keys and columns with `image` in their
      name are of the task's items
    - `outputs`: what a model tells apart
    - `bundled`: the data set that needs no download, on which things are tried
    - `metric`: what the keys and columns `test_error` and `val_error` hold; lower is better;
      `metrics`: several of it; `which`: how a question for it begins
    - `unit`: behind a value of it; `digits`: its decimals; `difference`: the unit of a difference;
      `heading`: that of a column of differences; `gap`: a difference of it in the split that
      stands for `{}`
    - `pair`: what the plain pair of a model is
    - `room`: the difference that a figure leaves room for, at least
    - `share`: whether it is the percentage of items with a wrong answer, so that the number of
      items tells its sampling error
    - `layouts`: whether batches and kernels have a memory format that tells
    - `step`: what a training step includes besides the network
    - `stored`, `generated`: what the blocks of a recipe are of
    - `generator`: where the FLOPs of a generator count
    - `counted`: what FLOPs are of besides products; `uncounted`: what they leave out
    """

    name: str
    title: str
    item: str
    items: str
    outputs: str
    bundled: str
    metric: str
    metrics: str
    which: str
    unit: str
    digits: int
    difference: str
    heading: str
    pair: str
    gap: str
    room: float
    share: bool
    layouts: bool
    stored: str
    generated: str
    generator: str
    step: str
    counted: str
    uncounted: str

    @property
    def speed(self) -> str:
        """The unit of speed."""
        return f"{self.items}/s"

    @property
    def flops(self) -> str:
        """What FLOPs are of, as a heading."""
        return f"FLOPs/{self.item}"

    @property
    def number(self) -> str:
        """The format of a value of the metric."""
        return f".{self.digits}f"

    @property
    def signed(self) -> str:
        """The format of a difference."""
        return f"+{self.number}"

    @property
    def axis(self) -> str:
        """The metric with its unit, for the axis of a plot."""
        return f"{self.metric} ({self.unit.strip()})" if self.unit else self.metric

    def shown(self, value: float) -> str:
        """A value of the metric with its unit."""
        return f"{value:{self.number}}{self.unit}"


IMAGES = Task(
    name="images",
    title="Image classification",
    item="image",
    items="images",
    outputs="classes",
    bundled="digits",
    metric="error",
    metrics="errors",
    which="Which error",
    unit=" %",
    digits=2,
    difference="points",
    heading="error difference, points",
    pair="the same backbone with stored kernels",
    gap="points of {} error",
    room=1.0,
    share=True,
    layouts=True,
    stored="stored kernels",
    generated="generated kernels",
    generator="those of a generator are per forward pass, whatever the batch size",
    step="augmentation and the optimizer",
    counted="convolutions and ",
    uncounted="batch norm, biases, pooling, padding and additions",
)
TEXT = Task(
    name="text",
    title="Character language models",
    item="character",
    items="characters",
    outputs="symbols",
    bundled="pydoc",
    metric="bits per character",
    metrics="bits per character",
    which="How many bits per character",
    unit="",
    digits=3,
    difference="bits",
    heading="difference, bits per character",
    pair="the LSTM of about as many parameters",
    gap="{} bits per character",
    room=0.02,
    share=False,
    layouts=False,
    stored="LSTM",
    generated="HyperLSTM",
    generator="those of a hyper cell, which computes at every character, are among them",
    step="clipping and the optimizer",
    counted="",
    uncounted="look-ups of one-hot inputs, layer norm, biases, gates and additions",
)
TASKS = {task.name: task for task in (IMAGES, TEXT)}
