"""The speed section of a report: images/s a device, ratios of pairs, and the comparison with other code."""

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records import store
from benchmarks.records.fields import at, number
from benchmarks.report.summary import PAPER_ORDER
from benchmarks.report.tables import BLANK, Interval, Name, Number, Part, Table, code, escape

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
    for kind in store.SPEED_KINDS:
        found, unreadable = store.load_throughput(results_dir, kind)
        problems.extend(unreadable)
        kinds.append([r for r in found if isinstance(r.get("model"), str)])
    return Measured(*kinds)


def condition_text(condition: tuple[str, ...]) -> str:
    device, batch_size, threads, precision, compile_mode, torch, deterministic = map(
        escape, condition
    )
    text = f"measured on {device}, {threads} threads, batch {batch_size}, {precision}, compile {compile_mode}, torch {torch}"
    return f"{text}, {deterministic}" if deterministic else text


def speed_section(measured: Measured, models: list[str]) -> list[Part]:
    """What was timed of the models of this page and of the paper's rows, a part a device."""
    wanted = {*models, *PAPER_ORDER}
    parts = []
    for device in sorted({str(r.get("device")) for kind in vars(measured).values() for r in kind}):
        drawn, name = [], f"speed-{re.sub('[^A-Za-z0-9]+', '-', device).strip('-')}"
        for draw, found in (
            (rate_table, measured.speeds),
            (pair_ratios, measured.pairs),
            (comparison, measured.comparisons),
        ):
            chosen = [r for r in found if r["model"] in wanted and str(r.get("device")) == device]
            drawn += draw(sorted(chosen, key=_order), name) if chosen else []
        if drawn:
            parts += [f"### {escape(device)}", *drawn]
    if not parts:
        return ["## Speed\n\nNothing was timed yet (`python run_bench.py throughput MODEL ...`)."]
    return ["## Speed", *parts]


def _order(record: dict) -> tuple:
    model = record["model"]
    return (
        PAPER_ORDER.index(model) if model in PAPER_ORDER else len(PAPER_ORDER),
        model,
        number(record.get("batch_size")) or 0,
    )


def _pinned(record: dict) -> list:
    """Batch size, threads, precision and compile mode, as cells."""
    counts = Number(record.get("batch_size")), Number(at(record, "environment", "threads"))
    return [*counts, *(at(record, "environment", key) for key in ("precision", "compile"))]


PINNED = ["batch", "threads", "precision", "compile"]


def rate_table(found: list[dict], name: str) -> list[Part]:
    """Images/s of each model."""
    rows = [
        [
            Name(r["model"]),
            *_pinned(r),
            r.get("optimizer") or BLANK,
            *(rate_cell(at(r, "measurements", kind)) for kind in RATES),
            interval_cell(r.get("epoch_to_step")),
            Number(r.get("materialize_s"), ".3f", " s"),
            Number(r.get("compile_s"), ".1f", " s"),
            _memory(r),
            _energy(r),
            _share(r, "flops"),
            _share(r, "bandwidth"),
            Number(at(r, "measurements", "training_step", "windows")),
        ]
        for r in found
    ]
    headers = [
        "model",
        *PINNED,
        "optimizer",
        "training step",
        "training epoch",
        "inference, generated",
        "inference, materialized",
        "epoch / step",
        "materialize once",
        "compilation",
        "peak memory",
        "energy",
        "of peak FLOP/s",
        "of peak bandwidth",
        "windows",
    ]
    note = (
        "Images/s, median over windows [quartiles]; generated: kernels computed at every batch; materialized: computed once. "
        "A training step includes augmentation and the optimizer, an epoch the data and all bookkeeping but evaluation."
    )
    if not all(r.get("optimizer") for r in found):
        note += " Where no optimizer is named, it was SGD for stored kernels and Adam for generated ones."
    return [note, Table(f"{name}-rates", headers, rows).without_blank_columns(first=6)]


def pair_ratios(found: list[dict], name: str) -> list[Part]:
    """Model / plain pair, in turns, each with the null run that came first."""
    rows = []
    for r in found:
        kinds = {
            "training step": r,
            **{f"inference, {k}": v for k, v in _sorted(r.get("inference"))},
        }
        for kind, ratio in kinds.items():
            attempts = at(ratio, "attempts")
            tried = Number(len(attempts) if isinstance(attempts, list) else None)
            verdict = "valid" if at(ratio, "noisy") is False else "noisy, no verdict"
            rows.append(
                [
                    Name(r["model"]),
                    *_pinned(r),
                    kind,
                    interval_cell(at(ratio, "null")),
                    tried,
                    interval_cell(at(ratio, "ratio")),
                    verdict,
                ]
            )
    headers = [
        "model",
        *PINNED,
        "what",
        "null (plain / plain)",
        "null runs",
        "model / plain pair",
        "result",
    ]
    note = (
        "Images/s of a model over its plain pair's, both in one process, in windows that alternate (A B B A): median of the "
        "ratios [bootstrap 95 % interval], after a null run of the plain pair against itself, which must include 1 within "
        "±2 %."
    )
    return [note, Table(f"{name}-pairs", headers, rows)]


def comparison(found: list[dict], name: str) -> list[Part]:
    """The ratios to other code, a table a model."""
    parts = []
    for number_, r in enumerate(found, start=1):
        rows = [
            [text, kind, interval_cell(ratio), Number(at(ratio, "pairs"))]
            for kind in ("step", "epoch")
            for text, ratio in _sorted(at(r, kind, "ratios"))
        ]
        batch, threads, precision, mode = map(escape, _pinned(r))
        parts.append(
            f"{code(r['model'])} against other code, in one process, in turns: ratios of images/s [bootstrap 95 % "
            f"interval]. Batch {batch}, {threads} threads; the suite's default here: "
            f"{precision}, compile {mode}."
        )
        parts += (
            [Table(f"{name}-comparison{number_}", ["A / B", "of", "ratio", "rounds"], rows)]
            if rows
            else []
        )
        parts.append(
            "\n".join(
                f"- {escape(key)}: {escape(text)}" for key, text in _sorted(r.get("descriptions"))
            )
        )
    return parts


def _sorted(values: object) -> list[tuple]:
    return sorted(values.items()) if isinstance(values, dict) else []


def rate_cell(measurement: object) -> Interval:
    return Interval(
        at(measurement, "median"), ",.0f", "", at(measurement, "q1"), at(measurement, "q3")
    )


def interval_cell(ratio: object) -> Interval:
    return Interval(at(ratio, "median"), ".3f", "", at(ratio, "low"), at(ratio, "high"))


def _memory(record: dict) -> Number:
    size = number(record.get("peak_memory_bytes"))
    return Number(size and size / 2**20, ",.0f", " MiB")


def _energy(record: dict) -> Number:
    joules = number(at(record, "measurements", "training_step", "joules_per_image"))
    return Number(joules and joules * 1000, ".2f", " mJ/image")


def _share(record: dict, of: str) -> Number:
    return Number(at(record, "bounds", f"share_of_peak_{of}"), ".1%")
