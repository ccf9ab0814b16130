"""The page to explore: one HTML file with a table and a plot, which works without a network.

What it shows is embedded as JSON, and its scripts put text from records on the page as text only;
a content security policy lets nothing run but these scripts.
"""

import base64
import hashlib
import html
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from benchmarks.records.frame import RUN_KEY
from benchmarks.report import marks
from benchmarks.report.looks import COLOURS, LOOKS
from benchmarks.report.summary import GROUP, Results, against_pair, device_hours, family
from benchmarks.system.files import write_atomically

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What the bundle of libraries gives to the page's scripts."""
SCRIPTS = ("state.js", "table.js", "plot.js", "main.js")
BYTES_PER_WEIGHT = 4
ROW_COLUMNS = [
    *RUN_KEY,
    "label",
    "family",
    "pair",
    "params",
    "weight_bytes",
    "flops_per_image",
    "images_per_s",
    "train_seconds",
    "n",
    "epochs",
    "mean",
    "std",
    "difference",
    "difference_low",
    "difference_high",
    "seeds",
    "published_error",
    "published_difference",
    "device",
    "statuses",
    "marks",
]
"""The columns of `explore_rows` but for lists: a contract with the page's scripts."""
RUN_COLUMNS = [
    "seed",
    "status",
    "reason",
    "test_error",
    "train_seconds",
    "train_images_per_s",
    "precision",
    "device",
    "torch",
]
"""What the page says of each run."""

_SHAPES = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "triangle-left",
    "triangle-right",
    "cross",
)
_ON_DARK = {"#000000": "#f0f0f0", "#0072b2": "#3b9ee5"}
"""Colours that are too dark for a dark page."""

NOTES = (
    "A row is a model trained with one recipe; open it to see its runs. Click a heading to sort.",
    "Test {metric}: of the last epoch, mean ± standard deviation over seeds. {Differences} above "
    "the plain pair: the difference in test {metric} over the seeds that both have, with its 95 % "
    "t-interval.",
    "Parameters: those that are trained. Weights: 4 bytes for each of them (fp32). "
    "FLOPs are 2 x MACs of a forward pass. Training time: of a row the median epoch times the "
    "epochs, of its fastest seed; of a run its own, as long as others shared the device; both "
    "without evaluation.",
)
TASK_WORDS = ("metric", "metrics", "unit", "digits", "difference", "axis", "speed", "flops")
"""What the page's scripts know of the task."""


def families(rows: pd.DataFrame) -> pd.Series:
    """What kind of model each row is: plugin, plain (no pair), or its kernel source."""
    return family(rows).where(rows.plugin_sha256 == "", "plugin")


def explore_rows(results: Results) -> pd.DataFrame:
    """The rows of the page, in the order of `summary`: `ROW_COLUMNS`, and `devices` as a list.

    `difference` is that of the test metric to the plain pair, over `seeds` that both have (the
    row itself has `n`); `published_difference` is the same
    of the published errors; `weight_bytes` are those of the trained parameters in fp32;
    `train_seconds` is that of `summary`.
    """
    summary = results.summary
    compared = _compared(results)
    rows = summary.drop(columns="device")
    rows = rows.merge(compared, on=RUN_KEY, how="left", validate="one_to_one")
    devices = results.runs.groupby(RUN_KEY).device.agg(_distinct).rename("devices").reset_index()
    rows = rows.merge(devices, on=RUN_KEY, how="left")
    rows["device"] = rows.devices.str.join(", ")
    rows["family"] = families(rows)
    rows["weight_bytes"] = rows.params * BYTES_PER_WEIGHT
    errors = results.published.drop_duplicates("registry_name").set_index("registry_name")
    published = rows.model.map(errors.test_error)
    rows["published_difference"] = published - rows.pair.map(errors.test_error)
    rows["published_error"] = published if results.comparable else pd.NA
    rows["marks"] = marks.signs(rows, "".join(marks.MARKS))
    return rows[[*ROW_COLUMNS, "devices"]]


def _compared(results: Results) -> pd.DataFrame:
    """The difference to the plain pair by `RUN_KEY`."""
    columns = [*RUN_KEY, "difference", "difference_low", "difference_high", "seeds", "across"]
    return against_pair(results.summary, results.differences)[columns]


def _distinct(values: pd.Series) -> list[str]:
    return sorted(values.dropna().unique())


def explore_data(results: Results) -> dict[str, Any]:
    """What the page knows, as JSON has it: `rows` with their `runs`, `looks`, texts."""
    rows = explore_rows(results)
    by_row = defaultdict(list)
    for run in _entries(results.runs.sort_values("seed")[[*RUN_KEY, *RUN_COLUMNS]]):
        key = tuple(run.pop(column) for column in RUN_KEY)
        by_row[key].append(run)
    entries = _entries(rows)
    for entry in entries:
        entry["runs"] = by_row[tuple(entry[column] for column in RUN_KEY)]
    return {
        "dataset": results.dataset,
        "task": {word: getattr(results.task, word) for word in TASK_WORDS},
        "summary": _summary_text(results),
        "notes": _notes(results, rows),
        "looks": looks(rows.family),
        "rows": entries,
    }


def _entries(frame: pd.DataFrame) -> list[dict]:
    """The rows of a frame as JSON has them; what is missing is None."""
    plain = frame.astype(object)
    return plain.where(frame.notna(), None).to_dict("records")


def looks(names: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Of each family its colour on white, its colour on black, and its shape."""
    chosen = {}
    known = LOOKS | {"plugin": LOOKS["foreign"]}
    unknown = sorted(set(names) - set(known))
    for name in sorted(set(names) & set(known)):
        colour, _, shape = known[name]
        chosen[name] = (colour, _ON_DARK.get(colour, colour), shape)
    for place, name in enumerate(unknown):
        colour, shape = COLOURS[place % len(COLOURS)], _SHAPES[place % len(_SHAPES)]
        chosen[name] = (colour, _ON_DARK.get(colour, colour), shape)
    return chosen


def _summary_text(results: Results) -> str:
    runs = results.runs
    ended = runs[runs.status == "ok"]
    hours = device_hours(ended)
    devices = ", ".join(_distinct(ended.device)) or "no device"
    return f"{len(ended)} of {len(runs)} runs ended well, {hours:,.1f} h of training on {devices}"


def _notes(results: Results, rows: pd.DataFrame) -> list[str]:
    task = results.task
    words = {"metric": task.metric, "Differences": task.difference.capitalize()}
    notes = [note.format_map(words) for note in NOTES]
    if len(results.compared):
        first = results.compared.iloc[0]
        notes.append(
            f"Training {task.speed}: timed by the command throughput on {first.device}, "
            f"{first.threads} threads, batch {first.batch_size}, {first.precision}, "
            f"compile {first.compile}."
        )
    if rows.published_difference.notna().any():
        notes.append(
            f"As published: the same difference in the published {task.metrics}, on "
            f"{results.data.published}."
        )
    told = [sign for sign in marks.MARKS if rows.marks.str.contains(sign, regex=False).any()]
    notes += [f"{sign} {marks.MARKS[sign][1]}." for sign in told]
    if results.summary.groupby(GROUP[:1]).data_sha256.nunique().max() > 1:
        notes.append("The data differ between runs: recipes name the fingerprint of their data.")
    problems = [*results.runs.attrs["problems"], *results.speeds.attrs["problems"]]
    return notes + [f"Left out: {problem}." for problem in problems]


def explore_page(results: Results) -> str:
    """The page of a data set as HTML.

    Raises:
        ChildProcessError: if its libraries cannot be had.
    """
    parts = {name: _part(name) for name in ("page.html", "page.css", *SCRIPTS)}
    script = in_script("\n".join(parts[name] for name in SCRIPTS))
    library = in_script(_library())
    text = json.dumps(explore_data(results), allow_nan=False, separators=(",", ":"))
    return Template(parts["page.html"]).substitute(
        title=html.escape(results.dataset),
        policy=_policy(library, script),
        style=parts["page.css"],
        data=in_json(text),
        library=library,
        script=script,
    )


def write_explorer(results: Results, folder: Path) -> Path:
    """Write index.html into `folder`; gives its path."""
    path = folder / "index.html"
    write_atomically(path, explore_page(results))
    return path


def _part(name: str) -> str:
    return (files("benchmarks.report") / "html" / name).read_text(encoding="utf-8")


@cache
def start_library() -> subprocess.Popen[str]:
    """Begin to make Vega, Vega-Lite and Vega-Embed as one script, once, in another process.

    It takes seconds, in which others may draw; no thread waits, so that they may fork.
    """
    code = f"import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle({SNIPPET!r}))"
    command = [sys.executable, "-X", "utf8", "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8")


@cache
def _library() -> str:
    made = start_library()
    script, errors = made.communicate()
    if made.returncode != 0:
        reason = errors.strip().splitlines()[-1:] or [f"exit code {made.returncode}"]
        raise ChildProcessError(f"vl-convert-python makes no script for the page: {reason[0]}")
    return script


def _policy(*scripts: str) -> str:
    """Only these scripts run, and nothing is fetched."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def in_json(text: str) -> str:
    """JSON for a `<script>` element: nothing in it ends the element."""
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def in_script(text: str) -> str:
    """JavaScript for a `<script>` element: a string in it does not end the element."""
    return text.replace("</script", r"<\/script").replace("<!--", r"<\!--")
