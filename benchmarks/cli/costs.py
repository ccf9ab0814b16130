"""The tables of `list` and `cost`, at most 100 columns wide."""

import textwrap
from itertools import chain

from benchmarks.cli.output import print_json, print_table
from benchmarks.tasks import TASKS, Task
from models import registry

WIDTH = 100
FEW = 6
"""Up to so many models are shown with their components, a column each."""

FLOPS = "FLOPs = 2 x MACs; 1 MAC is one multiply-add of a convolution or matrix product."
GENERATOR = "A generator's FLOPs are per forward pass, whatever the batch size."


def print_models(rows: list[dict], as_json: bool) -> None:
    """A row a model below its plain pair, a table a task; as JSON with MACs and parameters."""
    if as_json:
        print_json(rows)
        return
    for number, (task, of_task) in enumerate(_tasks(rows).items()):
        if number:
            print()
        _print_models(task, of_task)


def _tasks(rows: list[dict]) -> dict[Task, list[dict]]:
    """The rows by task, in their order."""
    groups: dict[Task, list[dict]] = {}
    for row in rows:
        groups.setdefault(TASKS[row["task"]], []).append(row)
    return groups


def _numbers(task: Task, rows: list[dict]) -> dict[str, str]:
    """The headings of FLOPs and their keys; of generators only where one has some."""
    numbers = {task.flops: "flops_per_image"}
    if any(row["generator_flops"] for row in rows):
        numbers["generator FLOPs"] = "generator_flops"
    return numbers


def _convention(task: Task, rows: list[dict]) -> str:
    """How FLOPs are counted."""
    classes = registry.USUAL_CLASSES[task.name]
    lines = [
        FLOPS,
        f"Counted for {classes} {task.outputs}; a run's record has the counts for its data set's.",
    ]
    if "generator FLOPs" in _numbers(task, rows):
        lines.insert(1, GENERATOR)
    return "\n".join(lines)


def _print_models(task: Task, rows: list[dict]) -> None:
    notes, numbers = Notes(), _numbers(task, rows)
    headers = ["model", "parameters", *numbers, f"published {task.metric}"]
    by_name = {row["model"]: row for row in rows}
    cells = []
    for plain, members in _pairs(rows).items():
        if plain in by_name:
            cells.append(_cells(by_name[plain], notes, "", numbers))
        else:
            cells.append([f"({plain})", *[""] * (len(headers) - 1)])
        cells += [_cells(row, notes, "  ", numbers) for row in members]
    print_table(cells, [_two_lines(header) for header in headers])
    print(f"\nA model is listed below its plain pair: {task.pair}.")
    print(_convention(task, rows))
    notes.show()


def _two_lines(header: str) -> str:
    """A heading of two words below each other."""
    first, _, rest = header.partition(" ")
    return f"{first}\n{rest}" if rest else header


def print_costs(rows: list[dict], as_json: bool) -> None:
    """Few models with their parameters by component, a column a model; more as `print_models`."""
    if as_json or len(rows) > FEW:
        print_models(rows, as_json)
        return
    for number, (task, of_task) in enumerate(_tasks(rows).items()):
        if number:
            print()
        _print_components(task, of_task)


def _print_components(task: Task, rows: list[dict]) -> None:
    notes = Notes()
    numbers = _numbers(task, rows)
    left = _labels(task, rows, numbers)
    block: list[list[str]] = []
    for column in [_column(task, row, left, notes, numbers) for row in rows]:
        if block and _width([left, *block, column]) > WIDTH:
            _print_block([left, *block])
            block = []
        block.append(column)
    _print_block([left, *block])
    print(_convention(task, rows))
    notes.show()


class Notes:
    """Footnotes, numbered as they are met."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, row: dict) -> str:
        """What stands behind a number: that it is wrong, or the footnote's number; or nothing."""
        text = f"the count is wrong: {row['wrong']}" if row["wrong"] else row["note"]
        if not text:
            return ""
        self.texts.append(f"{row['model']}: {text}")
        return f" {'WRONG ' if row['wrong'] else ''}[{len(self.texts)}]"

    def show(self) -> None:
        """Print them."""
        for number, text in enumerate(self.texts, start=1):
            print(textwrap.fill(f"[{number}] {text}", WIDTH, break_long_words=False))


def _pairs(rows: list[dict]) -> dict[str, list[dict]]:
    """The models by the plain pair below which they are listed, in the rows' order."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        members = groups.setdefault(row["pair"] or row["model"], [])
        if row["pair"]:
            members.append(row)
    return groups


def _cells(row: dict, notes: Notes, indent: str, numbers: dict[str, str]) -> list[str]:
    return [
        indent + row["model"],
        _number(row["params"]) + notes.mark(row),
        *(_number(row[key]) for key in numbers.values()),
        _published(row),
    ]


def _labels(task: Task, rows: list[dict], numbers: dict[str, str]) -> list[str]:
    """The left column of the table of components: those that any of the models has."""
    known = [row["params_by_component"] for row in rows if row["params_by_component"]]
    every = dict.fromkeys(chain.from_iterable(known))
    names = [name for name in every if any(parts.get(name) for parts in known)]
    components = [f"  {name.replace('_', ' ')}" for name in names]
    labels = ["", "plain pair", "parameters", *components]
    if any(row["frozen_params"] for row in rows):
        labels.append("frozen, not counted")
    return [*labels, *numbers, f"published {task.metric}"]


def _column(
    task: Task, row: dict, labels: list[str], notes: Notes, numbers: dict[str, str]
) -> list[str]:
    parts = row["params_by_component"] or {}
    cells = {
        "": row["model"],
        "plain pair": row["pair"] or "-",
        "parameters": _number(row["params"]) + notes.mark(row),
        "frozen, not counted": _number(row["frozen_params"]),
        f"published {task.metric}": _published(row),
    }
    cells |= {label: _number(row[key]) for label, key in numbers.items()}
    for label in labels:
        if label.startswith("  "):
            cells[label] = _number(parts.get(label.strip().replace(" ", "_")))
    return [cells[label] for label in labels]


def _width(columns: list[list[str]]) -> int:
    """As tabulate lays them out: two blanks between columns, and two more beside a heading."""
    widths = [max(len(head) + 2, *map(len, cells)) for head, *cells in columns]
    return sum(widths) + 2 * (len(widths) - 1)


def _print_block(columns: list[list[str]]) -> None:
    header, *rows = zip(*columns, strict=True)
    print_table(rows, header)
    print()


def _published(row: dict) -> str:
    if not row["published"]:
        return "-"
    return TASKS[row["task"]].shown(row["published"]["test_error"])


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
