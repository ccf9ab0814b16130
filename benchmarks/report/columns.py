"""Columns that several tables have, in the words and units of a task."""

from benchmarks.report.tables import Column
from benchmarks.tasks import Task

MODEL = Column("model", "model", name=True, marks="marks")
PARAMETERS = Column("parameters", "params", ",")


def mean(task: Task, n: str | None = None) -> Column:
    """The mean over seeds, with its deviation; `n`: the column of their number."""
    return Column(f"test {task.metric}", "mean", task.number, task.unit, std="std", n=n)


def above_pair(task: Task) -> Column:
    """The distance to the plain pair."""
    return Column(
        f"{task.difference} above its plain pair",
        "difference",
        task.signed,
        low="difference_low",
        high="difference_high",
        marks="across_mark",
    )


def difference(task: Task) -> Column:
    """The paired difference to another row."""
    return Column(
        task.heading,
        "difference",
        task.signed,
        low="difference_low",
        high="difference_high",
    )


def answer(task: Task) -> list[Column]:
    """A row of `verdicts`: model, rival, question, answer, difference."""
    return [
        MODEL,
        Column("against", "model_other", name=True, marks="marks_other"),
        Column("which is", "question"),
        Column("better?", "answer"),
        difference(task),
    ]


def flops(task: Task) -> Column:
    """FLOPs of a forward pass."""
    return Column(task.flops, "flops_per_image", ",")


def published(task: Task, of: str = "") -> Column:
    """What a source says; `of`: on which data."""
    heading = f"published {task.metric}"
    heading += f" ({of})" if of else ""
    return Column(heading, "published_error", task.number, task.unit)
