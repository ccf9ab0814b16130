"""The table of `list` and `cost`."""

from benchmarks.cli.output import print_json, print_table

HEADERS = (
    "model",
    "plain pair",
    "parameters",
    "FLOPs/image",
    "generator FLOPs",
    "published error",
)
FLOPS = HEADERS.index("FLOPs/image")
CONVENTION = (
    "FLOPs = 2 x MACs; 1 MAC is one multiply-add of a convolution or matrix product.\n"
    "A generator's FLOPs are per forward pass, whatever the batch size.\n"
    "Counted for ten classes; a run's record has the counts for its data set's classes."
)


def print_rows(rows: list[dict], as_json: bool) -> None:
    """The rows as a table with notes, or as JSON with MACs and parameters by component."""
    if as_json:
        print_json(rows)
        return
    notes = [f"{row['model']}: {row['note']}" for row in rows if row["note"]]
    cells = [_cells(row) for row in rows]
    noted = iter(range(1, len(notes) + 1))
    for row, texts in zip(rows, cells, strict=True):
        if row["note"]:
            texts[FLOPS] += f" [{next(noted)}]"
    print_table(cells, HEADERS, left=2)
    print(f"\n{CONVENTION}")
    for number, note in enumerate(notes, start=1):
        print(f"[{number}] {note}")


def _cells(row: dict) -> list[str]:
    published = row["published"]
    return [
        row["model"],
        row["pair"] or "-",
        *(_number(row[key]) for key in ("params", "flops_per_image", "generator_flops")),
        f"{published['test_error']:.2f} %" if published else "-",
    ]


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
