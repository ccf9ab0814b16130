"""The speed section: speeds by device, ratios of pairs, the comparison with other code."""

import re

import pandas as pd

from benchmarks.report.page import Page
from benchmarks.report.summary import Results
from benchmarks.report.tables import Column, code, codes, escape, filled, known
from benchmarks.tasks import Task

RATES = [
    Column("training step", "training_step", ",.0f"),
    Column("training epoch", "training_epoch", ",.0f"),
    Column("inference, generated", "inference_generated", ",.0f"),
    Column("inference, materialized", "inference_materialized", ",.0f"),
    Column("epoch / step", "epoch_to_step", ".3f"),
    Column("materialize once", "materialize", ".3f", " s"),
    Column("compilation", "compilation", ".1f", " s"),
    Column("peak memory", "peak_memory_mib", ",.0f", " MiB"),
]
SHARES = [
    Column("of peak FLOP/s", "share_of_peak_flops", ".1%"),
    Column("of peak bandwidth", "share_of_peak_bandwidth", ".1%"),
]
PINNED = [
    Column("batch", "batch_size", "d"),
    Column("threads", "threads", "d"),
    Column("precision", "precision"),
    Column("compile", "compile"),
]
SETTINGS = ["batch_size", "threads", "precision", "compile"]
RATIO = Column("model / plain pair", "median", ".3f", low="low", high="high")


def speed_page(results: Results) -> Page:
    """What was timed of the models of this report and of the paper's rows, a part a device."""
    page = Page()
    rows = results.paper_rows
    place = {model: index for index, model in enumerate(rows)}
    speeds = results.speeds
    speeds = speeds[speeds.model.isin([*results.summary.model, *rows])]
    speeds = speeds.assign(place=speeds.model.map(place).fillna(len(place)))
    speeds = speeds.sort_values(["place", "model", "batch_size"], kind="stable")
    page.add(f"# {escape(results.dataset)}: speed")
    if speeds.empty:
        page.add("Nothing was timed yet (`python run_bench.py throughput MODEL ...`).")
    texts = results.speeds.attrs["descriptions"]
    for device, timed in speeds.groupby(speeds.device.fillna("unknown")):
        slug = re.sub("[^A-Za-z0-9]+", "-", str(device)).strip("-")
        page.add(f"## {escape(device)}")
        task = results.task
        rate_table(page, timed[timed.kind == "speed"], f"speed-{slug}-rates", task)
        pair_table(page, timed[timed.kind == "pair"], f"speed-{slug}-pairs", task)
        others = timed[timed.kind == "compare"]
        comparison(page, others, f"speed-{slug}-comparison", texts, task)
        commits = timed.commit.dropna().str[:7].unique()
        if len(commits):
            page.add(f"Timed at commit {codes(sorted(commits))}.")
        dirty = timed[timed.dirty.fillna(False)].model.unique()
        if len(dirty):
            page.add(f"Timed with uncommitted changes, or of unknown origin: {codes(dirty)}.")
    return page


def rate_table(page: Page, speeds: pd.DataFrame, name: str, task: Task) -> None:
    """The speed of each model, with quartiles."""
    if speeds.empty:
        return
    rows = wide(speeds)
    kinds = "; generated: kernels computed at every batch; materialized: computed once"
    note = (
        f"{task.speed.capitalize()}, median over windows [quartiles]"
        f"{kinds if 'inference_materialized' in rows else ''}. A training step includes "
        f"{task.step}, an epoch the data and all bookkeeping but evaluation."
    )
    if "epoch_to_step" in rows:
        note += " Epoch / step is of windows of its own, not the quotient of the columns."
    if speeds.optimizer.isna().any():
        note += (
            " Where no optimizer is named, it was SGD for stored kernels and Adam for generated "
            "ones."
        )
    columns = [Column("model", "model", name=True), *PINNED, Column("optimizer", "optimizer")]
    for column in _measured(rows, task):
        if column.value in rows:
            ends = [f"{column.value}_low", f"{column.value}_high"]
            low, high = ends if ends[0] in rows else (None, None)
            values = vars(column) | {"low": low, "high": high}
            columns.append(Column(**values))
    columns.append(Column("windows", "windows", "d"))
    page.add(note)
    page.table(name, rows, filled(rows, columns))


def _measured(rows: pd.DataFrame, task: Task) -> list[Column]:
    """What may have been measured; inference is of one kind where nothing is materialized."""
    energy = Column("energy", "energy_mj", ".2f", f" mJ/{task.item}")
    rates = list(RATES)
    if "inference_materialized" not in rows:
        only = Column("inference", "inference_generated", ",.0f")
        rates = [only if column.value == only.value else column for column in rates]
    return [*rates, energy, *SHARES]


def wide(speeds: pd.DataFrame) -> pd.DataFrame:
    """One row a speed record: a column for each thing that was measured, `_low` and `_high`."""
    head = ["model", *SETTINGS, "optimizer", "path"]
    rows = speeds.drop_duplicates("path")[head].set_index("path")
    for ending, value in (("", "median"), ("_low", "low"), ("_high", "high")):
        values = speeds.pivot(index="path", columns="what", values=value).dropna(axis=1, how="all")
        rows = rows.join(values.add_suffix(ending))
    steps = speeds[speeds.what == "training_step"].set_index("path")
    rows["windows"] = steps.n.reindex(rows.index)
    if "peak_memory" in rows:
        rows["peak_memory_mib"] = rows.pop("peak_memory") / 2**20
    if "energy" in rows:
        rows["energy_mj"] = rows.pop("energy") * 1000
    return rows.reset_index(drop=True)


def pair_table(page: Page, speeds: pd.DataFrame, name: str, task: Task) -> None:
    """Model / plain pair, interleaved, each with the A/A run that came first."""
    verdicts = speeds.noisy.map({True: "noisy, no verdict", False: "valid"})
    several = speeds.what.eq("inference_materialized").any()
    what = speeds.what.str.replace("inference_", "inference, ").str.replace("_", " ")
    what = what if several else what.str.replace("inference, generated", "inference")
    rows = speeds.assign(verdict=verdicts, what=what)
    columns = [
        Column("model", "model", name=True),
        *PINNED,
        Column("what", "what"),
        Column("A/A run (plain / plain)", "aa_median", ".3f", low="aa_low", high="aa_high"),
        Column("A/A runs", "attempts", "d"),
        RATIO,
        Column("result", "verdict"),
    ]
    if len(rows):
        page.add(
            f"{task.speed.capitalize()} of a model over its plain pair's, both in one process, in "
            "interleaved windows (A B B A): median of the ratios [bootstrap 95 % interval], after "
            "an A/A run of the plain pair against itself, which must include 1 within ±2 %."
        )
    page.table(name, rows, columns, ["pair"])


def comparison(
    page: Page, speeds: pd.DataFrame, name: str, texts: dict[str, str], task: Task
) -> None:
    """The ratios to other code, a table a record."""
    columns = [
        Column("A / B", "against"),
        Column("of", "part"),
        Column("ratio", "median", ".3f", low="low", high="high"),
        Column("rounds", "n", "d"),
    ]
    for number, (_, rows) in enumerate(speeds.groupby("path", sort=False), start=1):
        first = rows.iloc[0]
        batch, threads, precision, mode = (known(first[key]) for key in SETTINGS)
        page.add(
            f"{code(first.model)} against other code, in one process, interleaved: ratios of "
            f"{task.speed} [bootstrap 95 % interval]. Batch {batch}, {threads} threads; the "
            f"default of the suite here: {precision}, compile {mode}."
        )
        parts = rows.what.str.split(": ", n=1, expand=True)
        rows = rows.assign(part=parts[0], against=parts[1])
        page.table(f"{name}{number}", rows, columns)
        compared: set[str] = set()
        for names in parts[1]:
            compared.update(names.split(" / "))
        described = sorted(set(texts) & compared)
        page.add("\n".join(f"- {escape(key)}: {escape(texts[key])}" for key in described))
