"""The speed section of a report: images/s a device, ratios of pairs, and the comparison with other code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import records
from benchmarks.markdown import BLANK, code, escape, show, table
from benchmarks.summary import PAPER_ORDER, at, number

RATES = ("training_step", "training_epoch", "inference_generated", "inference_materialized")


@dataclass(frozen=True)
class Measured:
    """The speed records by kind."""

    speeds: list[dict]
    pairs: list[dict]
    comparisons: list[dict]


def load_measured(results_dir: Path, problems: list[str]) -> Measured:
    """All speed records; a file that cannot be read is one more of the page's problems."""
    kinds = []
    for kind in records.SPEED_KINDS:
        found, unreadable = records.load_throughput(results_dir, kind)
        problems.extend(unreadable)
        kinds.append([r for r in found if isinstance(r.get("model"), str)])
    return Measured(*kinds)


def condition_text(condition: tuple[str, ...]) -> str:
    device, batch_size, precision, compile_mode, torch = map(escape, condition)
    return f"measured on {device}, batch {batch_size}, {precision}, compile {compile_mode}, torch {torch}"


def speed_section(measured: Measured, models: list[str]) -> str:
    """What was timed of the models of this page and of the paper's rows, a part a device."""
    wanted = {*models, *PAPER_ORDER}
    parts = []
    for device in sorted({str(r.get("device")) for kind in vars(measured).values() for r in kind}):
        tables = []
        for draw, found in ((rate_table, measured.speeds), (pair_ratios, measured.pairs), (comparison, measured.comparisons)):
            chosen = [r for r in found if r["model"] in wanted and str(r.get("device")) == device]
            tables += _drawn(draw, sorted(chosen, key=_order))
        if tables:
            parts += [f"### {escape(device)}", *tables]
    if not parts:
        return "## Speed\n\nNothing was timed yet (`python run_bench.py throughput MODEL ...`)."
    return "\n\n".join(["## Speed", *parts])


def _drawn(draw: Callable[[list[dict]], str], found: list[dict]) -> list[str]:
    return [draw(found)] if found else []


def _order(record: dict) -> tuple:
    model = record["model"]
    return PAPER_ORDER.index(model) if model in PAPER_ORDER else len(PAPER_ORDER), model, number(record.get("batch_size")) or 0


def _pinned(record: dict) -> list[str]:
    """Batch size, precision and compile mode, as cells."""
    settings = (escape(at(record, "environment", key)) for key in ("precision", "compile"))
    return [show(record.get("batch_size")), *settings]


PINNED = ["batch", "precision", "compile"]


def rate_table(found: list[dict]) -> str:
    """Images/s of each model."""
    rows = [
        [code(r["model"]), *_pinned(r), *(rate_text(at(r, "measurements", kind)) for kind in RATES),
         interval_text(r.get("epoch_to_step")), show(r.get("materialize_s"), ".3f", " s"), show(r.get("compile_s"), ".1f", " s"),
         _memory(r), _energy(r), _share(r, "flops"), _share(r, "bandwidth"),
         show(at(r, "measurements", "training_step", "windows"))]
        for r in found
    ]  # fmt: skip
    headers = ["model", *PINNED, "training step", "training epoch", "inference, generated", "inference, materialised",
               "epoch / step", "materialise once", "compilation", "peak memory", "energy", "of peak FLOP/s",
               "of peak bandwidth", "windows"]  # fmt: skip
    blank = [i for i in range(4, len(headers)) if all(row[i] == BLANK for row in rows)]
    kept = [i for i in range(len(headers)) if i not in blank]
    note = (
        "Images/s, median over windows [quartiles]; generated: kernels computed at every batch; materialised: computed once. "
        "A training step includes augmentation and the optimizer, an epoch the data and all bookkeeping but evaluation."
    )
    return f"{note}\n\n{table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])}"


def pair_ratios(found: list[dict]) -> str:
    """Model / plain pair, in turns, each with the null run that came first."""
    rows = []
    for r in found:
        kinds = {"training step": r, **{f"inference, {k}": v for k, v in _sorted(r.get("inference"))}}
        for kind, ratio in kinds.items():
            attempts = at(ratio, "attempts")
            tried = str(len(attempts)) if isinstance(attempts, list) else BLANK
            verdict = "valid" if at(ratio, "noisy") is False else "noisy, no verdict"
            rows.append([code(r["model"]), *_pinned(r), kind, interval_text(at(ratio, "null")), tried,
                         interval_text(at(ratio, "ratio")), verdict])  # fmt: skip
    headers = ["model", *PINNED, "what", "null (plain / plain)", "null runs", "model / plain pair", "result"]
    note = ("Images/s of a model over its plain pair's, both in one process, in windows that alternate (A B B A): median of the "
            "ratios [bootstrap 95 % interval], after a null run of the plain pair against itself, which must include 1 within "
            "±2 %.")  # fmt: skip
    return f"{note}\n\n{table(headers, rows)}"


def comparison(found: list[dict]) -> str:
    """The ratios to other code, a table a model."""
    parts = []
    for r in found:
        rows = [[escape(name), kind, interval_text(ratio), show(at(ratio, "pairs"))]
                for kind in ("step", "epoch") for name, ratio in _sorted(at(r, kind, "ratios"))]  # fmt: skip
        pinned = dict(zip(PINNED, _pinned(r), strict=True))
        note = (f"{code(r['model'])} against other code, in one process, in turns: ratios of images/s [bootstrap 95 % interval]. "
                f"Batch {pinned['batch']}, {show(at(r, 'environment', 'threads'))} threads; the suite's default here: "
                f"{pinned['precision']}, compile {pinned['compile']}.")  # fmt: skip
        legend = "\n".join(f"- {escape(name)}: {escape(text)}" for name, text in _sorted(r.get("descriptions")))
        parts.append(f"{note}\n\n{table(['faster / slower', 'of', 'ratio', 'rounds'], rows)}\n\n{legend}")
    return "\n\n".join(parts)


def _sorted(values: object) -> list[tuple]:
    return sorted(values.items()) if isinstance(values, dict) else []


def rate_text(measurement: object) -> str:
    median, q1, q3 = (at(measurement, key) for key in ("median", "q1", "q3"))
    if number(median) is None or number(q1) is None:
        return show(median)
    return f"{show(median)} [{show(q1)}, {show(q3)}]"


def interval_text(ratio: object) -> str:
    median, low, high = (at(ratio, key) for key in ("median", "low", "high"))
    return BLANK if number(median) is None else f"{show(median, '.3f')} [{show(low, '.3f')}, {show(high, '.3f')}]"


def _memory(record: dict) -> str:
    size = number(record.get("peak_memory_bytes"))
    return show(size and size / 2**20, ",.0f", " MiB")


def _energy(record: dict) -> str:
    joules = number(at(record, "measurements", "training_step", "joules_per_image"))
    return show(joules and joules * 1000, ".2f", " mJ/image")


def _share(record: dict, of: str) -> str:
    return show(at(record, "bounds", f"share_of_peak_{of}"), ".1%")
