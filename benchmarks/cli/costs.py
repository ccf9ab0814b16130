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
CONVENTION = (
    "FLOPs = 2 x MACs; 1 MAC is one multiply-add of a convolution or matrix product.\n"
    "A generator's FLOPs are per forward pass, whatever the batch size.\n"
    "Counted for ten classes; a run's record has the counts for its data set's classes."
)


def print_rows(rows: list[dict], as_json: bool) -> None:
    """The rows as a table, or as JSON with MACs and parameters by component."""
    if as_json:
        print_json(rows)
        return
    print_table([_cells(row) for row in rows], HEADERS, left=2)
    print(f"\n{CONVENTION}")


def _cells(row: dict) -> list[str]:
    published = row["published"]
    return [
        row["model"],
        row["pair"] or "-",
        f"{row['params']:,}",
        f"{row['flops_per_image']:,}",
        f"{row['generator_flops']:,}",
        f"{published['test_error']:.2f} %" if published else "-",
    ]
