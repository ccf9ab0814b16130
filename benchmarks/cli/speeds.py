"""The tables of `throughput` and `compare`."""

from pathlib import Path

from benchmarks.cli.output import print_json, print_table
from benchmarks.tasks import TASKS


def print_profiles(profiles: dict[str, list[dict]], as_json: bool) -> None:
    """By model, the operators that take 0.5 % of a training step or more; all of them as JSON."""
    if as_json:
        print_json(profiles)
        return
    for name, rows in profiles.items():
        cells = [
            (row["operator"][:70], f"{row['calls_per_step']:.1f}", f"{row['share']:.1%}")
            for row in rows
            if row["share"] >= 0.005
        ]
        print_table(cells, (name, "calls a step", "share"))


def print_pair(record: dict, path: Path, as_json: bool) -> None:
    """The ratios of a pair, each with that of its A/A run."""
    if as_json:
        print_json(record)
        return
    kinds = {"training": record}
    inference = record["inference"]
    named = "inference, {}" if len(inference) > 1 else "inference"  # of text there is one kind
    kinds |= {named.format(kind): ratio for kind, ratio in inference.items()}
    rows = []
    for kind, ratio in kinds.items():
        noisy = "noisy" if ratio["noisy"] else ""
        intervals = (_interval(ratio["null"]), _interval(ratio["ratio"]))
        rows.append((kind, *intervals, noisy, len(ratio["attempts"])))
    headers = (" / ".join(record["pair"]), "A/A run [95 %]", "ratio [95 %]", "", "attempts")
    print_table(rows, headers)
    print(f"-> {path}")


def print_comparison(record: dict, path: Path, as_json: bool) -> None:
    """The rates of all that was compared, and their ratios, of steps and of epochs."""
    if as_json:
        print_json(record)
        return
    for kind in ("step", "epoch"):
        if kind not in record:
            continue
        rates, ratios = record[kind]["rates"], record[kind]["ratios"]
        rows = [(name, f"{rate['median']:,.0f}") for name, rate in rates.items()]
        print_table(rows, (kind, TASKS[record["task"]].speed))
        rows = [(name, _interval(ratio)) for name, ratio in ratios.items()]
        print_table(rows, (kind, "ratio [95 %]"))
    print(f"-> {path}")


def _interval(ratio: dict) -> str:
    return f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
