"""The tables of `list` and `cost`, at most 100 columns wide."""

from benchmarks.cli.output import print_json, print_table
from models import ledger

WIDTH = 100
FEW = 6
"""Up to so many models are shown with their components, a column each."""

HEADERS = ("model", "parameters", "FLOPs/image", "generator\nFLOPs", "published\nerror")
CONVENTION = (
    "FLOPs = 2 x MACs; 1 MAC is one multiply-add of a convolution or matrix product.\n"
    "A generator's FLOPs are per forward pass, whatever the batch size.\n"
    "Counted for ten classes; a run's record has the counts for its data set's classes."
)
NUMBERS = {
    "FLOPs/image": "flops_per_image",
    "generator FLOPs": "generator_flops",
}


def print_models(rows: list[dict], as_json: bool) -> None:
    """A row a model below its plain pair; as JSON with MACs and parameters by component."""
    if as_json:
        print_json(rows)
        return
    notes = Notes()
    by_name = {row["model"]: row for row in rows}
    cells = []
    for plain, members in _pairs(rows).items():
        if plain in by_name:
            cells.append(_cells(by_name[plain], notes, ""))
        else:
            cells.append([f"({plain})", "", "", "", ""])
        cells += [_cells(row, notes, "  ") for row in members]
    print_table(cells, HEADERS)
    print("\nA model is listed below its plain pair: the same backbone with stored kernels.")
    print(CONVENTION)
    notes.show()


def print_costs(rows: list[dict], as_json: bool) -> None:
    """Few models with their parameters by component, a column a model; more as `print_models`."""
    if as_json or len(rows) > FEW:
        print_models(rows, as_json)
        return
    notes = Notes()
    left = _labels(rows)
    block: list[list[str]] = []
    for column in [_column(row, left, notes) for row in rows]:
        if block and _width([left, *block, column]) > WIDTH:
            _print_block([left, *block])
            block = []
        block.append(column)
    _print_block([left, *block])
    print(CONVENTION)
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
            print(f"[{number}] {text}")


def _pairs(rows: list[dict]) -> dict[str, list[dict]]:
    """The models by the plain pair below which they are listed, in the rows' order."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        members = groups.setdefault(row["pair"] or row["model"], [])
        if row["pair"]:
            members.append(row)
    return groups


def _cells(row: dict, notes: Notes, indent: str) -> list[str]:
    return [
        indent + row["model"],
        _number(row["params"]) + notes.mark(row),
        *(_number(row[key]) for key in NUMBERS.values()),
        _published(row),
    ]


def _labels(rows: list[dict]) -> list[str]:
    """The left column of the table of components: those that any of the models has."""
    known = [row["params_by_component"] for row in rows if row["params_by_component"]]
    names = [name for name in ledger.COMPONENTS if any(parts[name] for parts in known)]
    components = [f"  {name.replace('_', ' ')}" for name in names]
    labels = ["", "plain pair", "parameters", *components]
    if any(row["frozen_params"] for row in rows):
        labels.append("frozen, not counted")
    return [*labels, *NUMBERS, "published error"]


def _column(row: dict, labels: list[str], notes: Notes) -> list[str]:
    parts = row["params_by_component"] or {}
    cells = {
        "": row["model"],
        "plain pair": row["pair"] or "-",
        "parameters": _number(row["params"]) + notes.mark(row),
        "frozen, not counted": _number(row["frozen_params"]),
        "published error": _published(row),
    }
    cells |= {label: _number(row[key]) for label, key in NUMBERS.items()}
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
    return f"{row['published']['test_error']:.2f} %" if row["published"] else "-"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
