"""The report of a text: the same pages, in bits per character, and nothing of images in them."""

import json
import re

import pytest

from benchmarks.records import store
from benchmarks.records.frame import load_published
from benchmarks.report import columns, explore, pages, paper, plots, readme, studies_page
from benchmarks.report.comparison import comparison, sections
from benchmarks.report.known_data import BY_SHA256, task_of
from benchmarks.report.summary import load_results, paper_rows
from benchmarks.report.weak_points import trials_by_family
from benchmarks.tasks import IMAGES, TEXT
from tests.report.made import (
    PLAIN_PARTS,
    TEXT_DATA,
    hyper,
    record,
    results_of,
    rows,
    speed,
    text_records,
    text_rows,
    text_speed,
    write,
)

RATIO = {"median": 0.71, "low": 0.7, "high": 0.72, "pairs": 15}
OF_PAIR = {"kind": "pair", "ratio": RATIO, "null": RATIO, "noisy": False, "attempts": [{}]}
SPEEDS = [
    text_speed("lstm_312", 1.2e6, optimizer="sgd"),
    text_speed("hyper_lstm_256", 8e5, optimizer="sgd"),
    text_speed("hyper_lstm_256", 0.0, pair=["hyper_lstm_256", "lstm_312"], **OF_PAIR),
]
PERCENT = ("95 %", "±2 %", "within 3 %", "warm-up 5%")
"""What is said in percent of a text too."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The report of the made-up text, with its figures."""
    place = tmp_path_factory.mktemp("text")
    results = write(place, [*text_records(), *rows("wide_resnet16_1", (10.0, 11.0))], SPEEDS)
    pages.build_report(results, place / "reports")
    return place / "reports" / "pydoc"


@pytest.fixture(scope="module")
def text(folder):
    """All of its pages, the front page first."""
    files = sorted(folder.rglob("*.md"), key=lambda file: file.name != "README.md")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("frames"), text_records(), SPEEDS, "pydoc")


def test_nothing_is_of_images(folder, text):
    latex = "".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.tex"))
    text = text.replace("-errors.svg", "")  # a figure's file, whatever the task
    for word in (
        "image",
        "cifar",
        "crop",
        "convolution",
        "channels",
        "kernel",
        "error",
        "points",
        "nan",
    ):
        assert not re.search(rf"\b{word}", text, re.IGNORECASE), word
        assert not re.search(rf"\b{word}", latex, re.IGNORECASE), word
    for said in PERCENT:
        text = text.replace(said, "")
    assert "%" not in text


@pytest.mark.parametrize(
    "said",
    [
        "1.903 ± 0.008",
        "-0.013 [-0.027, +0.002]",
        "Is `ln_hyper_lstm_256` (554,855 parameters, chars) better than its plain pair? "
        "**Undecided**: -0.010 bits [-0.040, +0.020] against `ln_lstm_312` (554,527 parameters).",
        "the best plain network of at most its FLOPs per character",
        "test bits per character",
        "bits above its plain pair",
        "FLOPs/character",
        "Characters/s: training steps on A processor",
        "| 1,200,000",
        "0.710 [0.700, 0.720]",
        "0: 1.901, 1: 1.912, 2: 1.896",
        "Standard deviation over seeds (n - 1) in bits.",
        "Data: 312,871 training, 17,381 validation and 17,383 test characters (split in order or "
        "as given).",
        "batch 128, sequences of 100, dropout keeps 0.9, gradients clipped at 1; ",
        "FLOPs are 2 x MACs of matrix products; look-ups",
        "The help topics of Python's documentation.",
        "15 runs of 5 models",
    ],
)
def test_the_pages_say(text, said):
    assert said in text


def test_figures_are_in_bits(folder):
    figures = {path.stem: path.read_text() for path in (folder / "figures").iterdir()}
    assert set(figures) == {"forest", "chars-errors", "chars-gaps"}
    assert "test bits per character above the plain network" in figures["forest"]
    assert "validation bits per character above the pair" in figures["chars-gaps"]
    assert "<!-- test bits per character -->" in figures["chars-errors"]
    for drawn in figures.values():
        assert "error" not in drawn and "points of" not in drawn


def test_intervals_fit_into_the_figures(results):
    with plots.style():
        group = results.summary
        (axes,) = plots.draw_errors(group, results.runs, "t", TEXT).axes
        low, high = axes.get_xlim()
        assert low <= group.low.min() and group.high.max() <= high < 2.2
        forest = plots.draw_forest(sections(results), results.runs, {}, TEXT)
        limits = forest.axes[0].get_xlim()
    assert limits[1] - limits[0] < 0.2


def test_what_tells_no_sampling_error_has_none(results):
    assert results.task is TEXT
    assert results.summary.sampling.isna().all()
    assert comparison(results).images_half.isna().all()


def test_a_pair_of_one_size_is_a_section_and_the_smaller_plain_network_a_row(results):
    found = [(section.plain, section.rows.model.tolist()) for section in sections(results)]
    assert found == [
        ("ln_lstm_312", ["ln_hyper_lstm_256", "lstm_312"]),
        ("lstm_312", ["ln_lstm_312", "hyper_lstm_256"]),
    ]
    table = comparison(results)
    assert table.model.tolist()[-1] == "lstm_256" and table["size"].nunique() == 2


def test_the_smaller_plain_network_answers_where_the_pair_is_larger(tmp_path):
    larger = PLAIN_PARTS | {"readout": 53_000}
    others = [entry for entry in text_records() if entry["model"] in ("lstm_256", "hyper_lstm_256")]
    records = [*others, *text_rows("lstm_312", (1.901, 1.912, 1.896), larger)]
    results = write(tmp_path, records)
    (path,) = pages.build_report(results, tmp_path / "reports")
    said = path.read_text(encoding="utf-8")
    assert (
        "better than the best plain network of at most its parameters (within 3 %)? **Yes**: -0.062"
        in said
    )


def test_speeds_are_of_the_task(tmp_path):
    entries = [*SPEEDS, speed("lstm_312", 5.0), text_speed("wide_resnet16_1", 7.0)]
    records = [*text_records(), *rows("wide_resnet16_1", (10.0,))]
    results = write(tmp_path, records, entries)
    text, images = (load_results(results, name) for name in ("pydoc", "made"))
    assert set(text.speeds["median"]) == {1.2e6, 8e5, 0.71, 7.0}
    assert images.speeds["median"].tolist() == [5.0]
    assert images.summary.images_per_s.isna().all()


SHA256 = {known.published: sha256 for sha256, known in BY_SHA256.items() if known.published}
PTB = "Penn Treebank characters"


def published_on(folder, sha256, models=("lstm_1000",), dataset="ptb.char"):
    data = TEXT_DATA | {"sha256": sha256}
    records = []
    for model in models:
        made = text_rows(model, (1.35,), PLAIN_PARTS, dataset=dataset, dataset_fingerprint=data)
        records += made
    return results_of(folder, records, (), dataset)


def test_published_numbers_stand_beside_those_of_the_same_text_alone(tmp_path):
    results = published_on(tmp_path / "ptb", SHA256[PTB])
    assert results.comparable and set(results.published.data) == {PTB}
    assert results.paper_rows == [] and results.published_gaps == {}
    (row,) = comparison(results).to_dict("records")
    assert row["published_error"] == 1.312
    assert paper.still_open(results) == [
        "Runs as long as the paper's (recipe `text_paper`, 100 epochs) of `lstm_1000`.",
        "3 seeds of `lstm_1000` (1).",
    ]
    (path,) = pages.build_report(tmp_path / "ptb" / "results", tmp_path / "reports")
    assert "published bits per character" in path.read_text(encoding="utf-8")
    page = (path.parent / "recipes" / "chars.md").read_text(encoding="utf-8")
    assert f"published bits per character ({PTB})" in page and "1.312" in page
    method = (path.parent / "method.md").read_text(encoding="utf-8")
    assert "`lstm_1000`: Ha et al. 2017, Table 3 (own run)" in method
    other = published_on(tmp_path / "other", "0" * 64)
    assert other.published.empty and not other.comparable
    assert paper.still_open(other) == ["3 seeds of `lstm_1000` (1)."]


def test_published_rows_of_a_text_are_in_no_report_of_images(tmp_path):
    records = [entry | {"dataset": "cifar10"} for entry in [record(), *hyper((11.0,))]]
    records.append(record("wide_resnet40_1", dataset="cifar10"))
    results = results_of(tmp_path, records, (), "cifar10")
    assert set(results.published.task) == {"images"}
    page = readme.table(tmp_path / "results", [{"model": name} | COUNT for name in ROWS]).text
    assert "bits" not in page and "lstm" not in page


ROWS = paper_rows(load_published())
COUNT = {"params": 1, "flops_per_image": 2}


@pytest.mark.parametrize(
    "dataset, sha256, note",
    [
        ("mine", "0" * 64, "Character language models on `mine`."),
        ("cifar10", "0" * 64, "Character language models on `cifar10`."),
        ("mine", SHA256[PTB], "The characters of the Penn Treebank"),
    ],
)
def test_what_a_text_is(tmp_path, dataset, sha256, note):
    assert published_on(tmp_path, sha256, dataset=dataset).data.note.startswith(note)


def test_a_folder_of_images_is_no_text(tmp_path):
    results = results_of(tmp_path, [record(dataset="pydoc")], (), "pydoc")
    assert results.task is IMAGES and results.data.note == "Image classification on `pydoc`."


def test_runs_of_another_task_under_the_same_name_are_listed(tmp_path):
    records = [*text_records(), record(dataset="pydoc")]
    results = results_of(tmp_path, records, (), "pydoc")
    assert set(results.runs.task) == {"text"} and len(results.runs) == len(text_records())
    (problem,) = results.runs.attrs["problems"]
    assert "is of the task images, others of its data set are of text" in problem


def trial(entry, name):
    """A trial of a study with the settings of a record."""
    kept = {key: value for key, value in entry.items() if not key.startswith("test_")}
    return kept | {"study": name}


def test_trials_are_in_the_words_of_their_task(tmp_path):
    image = record("wide_resnet16_1", 0, 10.0)
    trials = [trial(entry, "chars") for entry in text_rows("lstm_312", (1.9,), PLAIN_PARTS)]
    for entry in [*trials, trial(image, "rates")]:
        store.save(tmp_path, entry)
    assert trials_by_family(tmp_path) == {
        ("images", "plain", "stored"): 1,
        ("text", "plain", "stored"): 1,
    }
    frame = studies_page.load_runs(tmp_path, studies=True)
    found = studies_page.trials_of(frame, "chars").assign(study="chars")
    told = "- `lstm_312` on `pydoc`, trials of 2 epochs: 1; the lowest validation bits per "
    line = studies_page.chosen(found, frame.attrs["recipes"])
    assert line == f"{told}character is 1.920 (chars, `chars`)."
    headings = [column.heading for column in studies_page.columns(task_of(found))]
    assert "validation bits per character" in headings
    assert not any("sampling" in heading for heading in headings)
    images = [column.heading for column in studies_page.columns(IMAGES)]
    assert "sampling error, points" in images


def test_the_page_to_explore_knows_the_task(results):
    data = json.loads(json.dumps(explore.explore_data(results)))
    task = data["task"]
    assert (task["metric"], task["unit"], task["digits"]) == ("bits per character", "", 3)
    assert (task["flops"], task["speed"]) == ("FLOPs/character", "characters/s")
    notes = " ".join(data["notes"])
    assert "Test bits per character: of the last epoch" in notes
    assert "Bits above the plain pair" in notes and "Training characters/s: timed" in notes
    assert "image" not in notes and "error" not in notes


def test_columns_are_in_the_units_of_the_task():
    row = {"mean": 1.90349, "std": 0.00811, "n": 3}
    assert columns.mean(TEXT).plain(row) == "1.903 ± 0.008"
    assert columns.mean(IMAGES, n="n").plain(row) == "1.90 ± 0.01 % (n = 3)"
    assert columns.above_pair(TEXT).heading == "bits above its plain pair"
    assert columns.flops(TEXT).heading == "FLOPs/character"
