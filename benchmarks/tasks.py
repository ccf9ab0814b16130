"""The tasks: what a model reads, what is measured of it, and the units of what is shown.

Everything that differs in words and units between images and text is a row here. What differs in
arithmetic is in `benchmarks.training.learning`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A task, in the words of tables and messages.

    - `name`: in records, in the column `task`, and in the registry
    - `item`, `items`: what speed and FLOPs are of; record keys and columns with `image` in their
      name are of the task's items
    - `outputs`: what a model tells apart
    - `metric`: what the keys and columns `test_error` and `val_error` hold; lower is better
    - `unit`: behind a value of it; `digits`: its decimals; `difference`: the unit of a difference
    - `pair`: what the plain pair of a model is
    - `share`: whether it is the percentage of items with a wrong answer, so that the number of
      items tells its sampling error
    """

    name: str
    item: str
    items: str
    outputs: str
    metric: str
    unit: str
    digits: int
    difference: str
    pair: str
    share: bool

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
    def axis(self) -> str:
        """The metric with its unit, for the axis of a plot."""
        return f"{self.metric} ({self.unit.strip()})" if self.unit else self.metric

    def shown(self, value: float) -> str:
        """A value of the metric with its unit."""
        return f"{value:{self.number}}{self.unit}"


IMAGES = Task(
    name="images",
    item="image",
    items="images",
    outputs="classes",
    metric="error",
    unit=" %",
    digits=2,
    difference="points",
    pair="the same backbone with stored kernels",
    share=True,
)
TEXT = Task(
    name="text",
    item="character",
    items="characters",
    outputs="symbols",
    metric="bits per character",
    unit="",
    digits=3,
    difference="bits",
    pair="the LSTM of as many parameters",
    share=False,
)
TASKS = {task.name: task for task in (IMAGES, TEXT)}
