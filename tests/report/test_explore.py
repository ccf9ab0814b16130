"""The page to explore as text: what it embeds, that nothing in it can do harm, how it is made."""

import base64
import dataclasses
import hashlib
import html
import json
import re
import webbrowser

import pandas as pd
import pytest

from benchmarks.cli import exit_codes
from benchmarks.cli.main import main
from benchmarks.records.frame import RUN_KEY
from benchmarks.report import explore, pages
from tests.report.made import hyper, record, results_of, rows, speed, write

PAIRS = [*rows("wide_resnet16_1", (10.0, 11.0, 12.0), 100), *hyper((12.0, 13.0, 17.0))]
SPEEDS = [speed("wide_resnet16_1", 800.0), speed("hyper_resnet16_1", 700.0)]
HARMFUL = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "a | b ` \" ' & \\ $data ${1} \u2028 \u2029 end",
)


@pytest.fixture
def without_library(monkeypatch):
    """For tests of the rest: the bundle takes seconds."""
    monkeypatch.setattr(explore, "start_library", lambda: None)
    monkeypatch.setattr(explore, "_library", lambda: "/* the library */")
    monkeypatch.setattr(pages, "_draw", lambda *arguments: (None, {}))


def embedded(text):
    """The data of a page, as a browser reads them."""
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(data)


def renamed(results, old, new):
    """Results with another name of a model, which no valid record could have."""
    names = ["model", "model_other", "pair"]

    def change(frame):
        columns = [name for name in names if name in frame]
        return frame.assign(**{name: frame[name].replace({old: new}) for name in columns})

    runs, summary = change(results.runs), change(results.summary)
    runs.attrs = results.runs.attrs
    differences = change(results.differences)
    return dataclasses.replace(results, runs=runs, summary=summary, differences=differences)


@pytest.mark.usefixtures("without_library")
def test_the_page_holds_the_frame(tmp_path):
    results = results_of(tmp_path, PAIRS, SPEEDS)
    data = embedded(explore.explore_page(results))
    frame = explore.explore_rows(results)
    shown = pd.DataFrame(data["rows"])
    assert len(shown) == len(frame) == len(results.summary) == 2
    for name in explore.ROW_COLUMNS:
        expected = frame[name].astype(object).where(frame[name].notna(), None).tolist()
        assert shown[name].astype(object).where(shown[name].notna(), None).tolist() == expected
    plain, other = data["rows"]
    assert (plain["mean"], plain["std"], plain["n"]) == (11.0, 1.0, 3)
    assert (plain["difference"], other["difference"]) == (None, 3.0)
    assert other["difference_low"] == pytest.approx(-1.30, abs=0.01) and other["seeds"] == 3
    assert (plain["weight_bytes"], plain["images_per_s"]) == (400, 800.0)
    assert [row["family"] for row in data["rows"]] == ["plain", "hyper"]


@pytest.mark.usefixtures("without_library")
def test_each_row_holds_its_runs(tmp_path):
    failed = record("hyper_resnet16_1", 3, None, "wide_resnet16_1", status="failed", reason="why")
    failed |= {"val_error": None}
    results = results_of(tmp_path, [*PAIRS, failed])
    data = embedded(explore.explore_page(results))
    for row in data["rows"]:
        runs = results.runs[(results.runs[RUN_KEY] == [row[key] for key in RUN_KEY]).all(axis=1)]
        assert [run["seed"] for run in row["runs"]] == sorted(runs.seed)
        assert set(row["runs"][0]) == set(explore.RUN_COLUMNS)
    last = data["rows"][1]["runs"][3]
    assert (last["status"], last["reason"], last["test_error"]) == ("failed", "why", None)
    assert data["rows"][1]["n"] == 3


@pytest.mark.parametrize(
    "kernels, pair, plugin, expected",
    [
        ("stored", None, "", "plain"),
        ("hyper", "resnet20", "", "hyper"),
        ("stage_template", "wide_resnet16_1", "", "stage_template"),
        (None, "wide_resnet40_1", "", "foreign"),
        ("hyper", "wide_resnet16_1", "a" * 64, "plugin"),
        (None, None, "a" * 64, "plugin"),
    ],
)
def test_families(kernels, pair, plugin, expected):
    values = {"pair": pair, "plugin_sha256": plugin, "kernels": kernels}
    row = pd.DataFrame([values], dtype="string")
    assert explore.families(row).tolist() == [expected]


def test_no_two_families_look_the_same():
    names = [*explore.LOOKS, "other"]
    looks = explore.looks(names)
    assert set(looks) == set(names)
    for place in (0, 1):  # on white, on black
        assert len({(look[place], look[2]) for look in looks.values()}) == len(names)
    assert explore.looks(["hyper"])["hyper"] == looks["hyper"]


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("text", HARMFUL)
def test_text_from_records_is_data(text, tmp_path):
    harmful = record(seed=1, reason=text, environment={"device": text})
    results = renamed(results_of(tmp_path, [*hyper((12.0,)), harmful]), "wide_resnet16_1", text)
    page = explore.explore_page(dataclasses.replace(results, dataset=text))
    assert len(re.findall("<script", page)) == len(re.findall("</script>", page)) == 3
    assert "<img" not in page and "<!--" not in page
    assert "\u2028" not in page.split('id="data">')[1].split("<")[0]
    assert f"<title>Results on {html.escape(text)}</title>" in page
    data = embedded(page)
    row = next(row for row in data["rows"] if row["model"] == text)
    run = row["runs"][0]
    assert (data["dataset"], run["reason"], run["device"], row["device"]) == (text,) * 4


@pytest.mark.usefixtures("without_library")
def test_only_its_own_scripts_run_and_nothing_is_fetched(tmp_path):
    page = explore.explore_page(results_of(tmp_path, PAIRS))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", page, flags=re.DOTALL)
    allowed = re.findall(r"'sha256-(.*?)'", policy)
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    assert [base64.b64encode(digest).decode() for digest in digests] == allowed
    assert "unsafe-eval" not in policy
    for outside in ("src=", "href=", "url(", "@import", "fetch(", "innerHTML"):
        assert outside not in page
    assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"] * 2


def test_a_script_is_not_ended_by_its_strings():
    assert explore.in_script('x = "</script><!--"') == r'x = "<\/script><\!--"'


@pytest.mark.usefixtures("without_library")
def test_byte_for_byte(tmp_path):
    texts = [
        explore.explore_page(results_of(tmp_path / name, records, SPEEDS))
        for name, records in (("a", PAIRS), ("b", list(reversed(PAIRS))))
    ]
    assert texts[0] == texts[1]


@pytest.mark.usefixtures("without_library")
def test_what_is_missing_is_null_and_problems_are_told(tmp_path):
    failed = record(status="failed", error=None, reason="no memory", macs_per_image=None)
    failed |= {"val_error": None, "generator_macs": None, "generator_flops": None}
    results = results_of(tmp_path / "failed", [failed, "{}"])
    data = embedded(explore.explore_page(results))
    (row,) = data["rows"]
    assert (row["mean"], row["n"], row["params"], row["flops_per_image"]) == (None, 0, None, None)
    assert row["statuses"] == "1 failed"
    assert any(note.startswith("Left out: record ") for note in data["notes"])
    data = embedded(explore.explore_page(results_of(tmp_path / "none", ["{}"])))
    assert data["rows"] == []


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("dataset, shown", [("cifar10", True), ("cifar10-jpeg", False)])
def test_published_errors_stand_beside_those_of_cifar10_alone(dataset, shown, tmp_path):
    names = ("wide_resnet40_1", None), ("hyper_resnet40_1", "wide_resnet40_1")
    records = [record(model, 0, 10.0, pair, dataset=dataset) for model, pair in names]
    data = embedded(explore.explore_page(results_of(tmp_path, records, dataset=dataset)))
    assert [row["published_error"] for row in data["rows"]] == (
        [6.73, 8.02] if shown else [None] * 2
    )
    gaps = [row["published_difference"] for row in data["rows"]]
    assert gaps == [None, pytest.approx(1.29)]


@pytest.mark.usefixtures("without_library")
def test_marks(tmp_path):
    code = record()["code"]
    records = [
        record(),
        record(seed=1, environment={"device": "Another"}, code=code | {"dirty": True}),
        *hyper((12.0,), environment={"device": "Another"}),
        record("mine", 0, code=code | {"plugin_sha256": "a" * 64}),
        record("mine", 1, code=code | {"plugin_sha256": "b" * 64}),
    ]
    results = results_of(tmp_path, records[:-1])
    data = embedded(explore.explore_page(results))
    marks = {row["model"]: row["marks"] for row in data["rows"]}
    assert marks == {"wide_resnet16_1": "† §", "hyper_resnet16_1": "‖", "mine": ""}
    told = [note[0] for note in data["notes"] if note[0] in "†‡§‖¶"]
    assert told == ["†", "§", "‖"]
    assert {tuple(row["devices"]) for row in data["rows"]} >= {("Another",)}
    assert len(explore.explore_rows(results_of(tmp_path / "two", records[-2:]))) == 2


@pytest.mark.usefixtures("without_library")
def test_the_report_writes_it_if_asked(tmp_path):
    results, folder = write(tmp_path, PAIRS), tmp_path / "reports"
    assert [page.name for page in pages.build_report(results, folder)] == ["README.md"]
    assert not (folder / "made" / "index.html").exists()
    written = pages.build_report(results, folder, html=True)
    assert written == [folder / "made" / "README.md", folder / "made" / "index.html"]
    assert embedded(written[1].read_text())["dataset"] == "made"


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize("found, code", [(True, exit_codes.OK), (False, exit_codes.FAILED)])
def test_it_is_opened_in_the_browser(found, code, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(webbrowser, "open_new_tab", lambda url: asked.append(url) or found)
    results, reports = write(tmp_path, PAIRS), tmp_path / "reports"
    folders = ["--results-dir", str(results), "--reports-dir", str(reports)]
    assert main(["report", "--open", *folders]) == code
    path = reports / "made" / "index.html"
    assert asked == [path.resolve().as_uri()] and path.is_file()
    said = capsys.readouterr()
    assert f"report: {path}\n" in said.out
    assert said.err == ("" if found else f"error: no browser was found to open {path}\n")


def test_what_makes_no_library_is_one_line(monkeypatch):
    monkeypatch.setattr(explore, "SNIPPET", "no script (")
    monkeypatch.setattr(explore, "start_library", explore.start_library.__wrapped__)
    with pytest.raises(ChildProcessError, match="makes no script for the page: ") as error:
        explore._library.__wrapped__()
    assert "\n" not in str(error.value)
