"""Figures: the numbers that are drawn, and labels that can be read."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from benchmarks.records.frame import RUN_KEY
from benchmarks.report import gap_plots, plots
from benchmarks.report.comparison import sections
from benchmarks.report.summary import OTHER
from benchmarks.tasks import IMAGES
from tests.conftest import ROOT
from tests.report.made import hyper, record, results_of, rows

PAPERS = {"hyper_resnet16_1": 1.5}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    short = {"name": "epochs1", "hash": "c" * 16, "steps": 351}
    records = [
        *rows("wide_resnet16_1", (10.0, 11.0, 12.0), 100),
        *hyper((12.0, 13.0, 17.0)),
        *rows("narrow_resnet16_11", (11.0, 12.0), 79),
        *rows("wide_resnet16_1", (20.0, 21.0), 100, recipe=short),
        *hyper((25.0, 27.0), recipe=short),
    ]
    return results_of(tmp_path_factory.mktemp("made"), records)


@pytest.fixture(autouse=True)
def _styled():
    with plots.style():
        yield


def drawn(axes):
    """The points of lines with a marker of their own, by (x, y), rounded."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", "|", None)]
    return [tuple(line.get_xydata()[0].round(6)) for line in lines]


def test_a_forest_has_a_row_a_model_and_recipe_with_its_seeds(results):
    (section,) = sections(results)
    assert (section.plain, section.params, section.plain_params) == ("wide_resnet16_1", 80, 100)
    found = section.rows[["model", "label", "longest", "seeds"]].to_numpy().tolist()
    assert found == [
        ["narrow_resnet16_11", "quick8", True, 2],
        ["hyper_resnet16_1", "quick8", True, 3],
        ["hyper_resnet16_1", "epochs1", False, 2],
    ]
    (axes,) = plots.draw_forest([section], results.runs, PAPERS, IMAGES).axes
    assert drawn(axes) == [(1.0, 0), (3.0, 1), (5.5, 2), (1.5, 1)]
    ticks = [sorted(line.get_xdata()) for line in axes.lines if line.get_marker() == "|"]
    assert ticks == [[1.0, 1.0], [2.0, 2.0, 5.0], [5.0, 6.0]]
    strong = [line for line in axes.lines if line.get_alpha() == 1]
    (interval,) = [line for line in strong if line.get_marker() == "None"]  # of three seeds only
    assert interval.get_xdata() == pytest.approx([-1.30, 7.30], abs=0.01)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels[0] == "narrow_resnet16_11  quick8  n = 2"


def test_what_lies_far_out_is_an_arrow_at_the_edge(tmp_path):
    records = [*rows("wide_resnet16_1", (10.0,), 100), *hyper((11.0,))]
    for number in range(4):
        name = f"source{number}_resnet16_1"
        records += rows(name, (11.5 + number / 10,), pair="wide_resnet16_1")
    records += rows("lost_resnet16_1", (90.0,), pair="wide_resnet16_1")
    results = results_of(tmp_path, records)
    (axes,) = plots.draw_forest(sections(results), results.runs, {}, IMAGES).axes
    assert axes.get_xlim()[1] < 5  # whose seeds do not stretch the axis either
    assert [text.get_text().strip() for text in axes.texts] == ["+80.0 →"]


def test_a_family_has_one_look_everywhere(results, tmp_path):
    colour, marker = plots.look("hyper")
    (axes,) = plots.draw_errors(results.summary, results.runs, "t", IMAGES).axes
    assert (colour, marker) in [(line.get_color(), line.get_marker()) for line in axes.lines]
    assert plots.look("unheard_of") == plots.look("unheard_of") != plots.look("plain")


def test_errors_are_sorted(results):
    group = results.summary[results.summary.label == "quick8"]
    (axes,) = plots.draw_errors(group, results.runs, "t", IMAGES).axes
    assert drawn(axes) == [(11.0, 0), (11.5, 1), (14.0, 2)]
    assert axes.yaxis_inverted()


def test_gaps_are_of_the_epochs_and_seeds_that_both_have(tmp_path):
    records = [*rows("wide_resnet16_1", (10.0, 10.0), 100), *hyper((12.0, 13.0, 50.0))]
    records[0]["history"][0] = records[0]["history"][0] | {"val_error": 40.0}
    results = results_of(tmp_path, records)
    gaps = gap_plots.gaps_by_epoch(results.epochs, results.summary, results.differences)
    assert gaps[["model", "epoch", "gap", "n"]].to_numpy().tolist() == [
        ["hyper_resnet16_1", 1, 5.0, 2],
        ["hyper_resnet16_1", 2, 2.5, 2],
    ]
    (axes,) = gap_plots.draw_gaps(gaps, PAPERS, "t", IMAGES).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["hyper_resnet16_1", "its gap in the paper: +1.50"]


def test_at_most_four_curves(tmp_path):
    records = rows("wide_resnet16_1", (10.0,), 100)
    for number in range(6):
        name = f"source{number}_resnet16_1"
        records += rows(name, (20.0 - number,), pair="wide_resnet16_1")
    results = results_of(tmp_path, records)
    gaps = gap_plots.gaps_by_epoch(results.epochs, results.summary, results.differences)
    (axes,) = gap_plots.draw_gaps(gaps, {}, "t", IMAGES).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    best = [f"source{number}_resnet16_1" for number in (5, 4, 3, 2)]
    assert labels == [*best, "2 more are left out"]


def test_a_front_needs_five_sizes(tmp_path):
    counts = (25, 50, 100, 200, 400)
    records = [
        record(f"net{count}", error=20.0 - number, params_by_component={"stem": count})
        for number, count in enumerate(counts)
    ]
    summary = results_of(tmp_path, records).summary
    assert plots.many_sizes(summary) and not plots.many_sizes(summary.iloc[1:])


ONE_BUDGET = ([83_000, 83_001, 83_002, 83_003, 173_000], [32, 32.1, 32.2, 32.3, 23])
NEAR = ([83_000 * (1 + i / 50) for i in range(12)], [7 + i / 100 for i in range(12)])


@pytest.mark.parametrize("points", [ONE_BUDGET, NEAR], ids=["of one budget", "crowded"])
def test_labels_are_inside_and_apart(points):
    names = [f"some_resnet40_{number}" for number in range(len(points[0]))]
    frame = pd.DataFrame({"model": names, "params": points[0], "mean": points[1]})
    frame = frame.assign(low=None, high=None, n=1, pair=None, kernels=None, plugin_sha256="")
    frame["recipe_hash"] = frame["dataset"] = frame["data_sha256"] = frame["recipe"] = "x"
    columns = ["mean", "std", "low", "high", "n", "across", *RUN_KEY, *OTHER]
    figure = plots.draw_front(frame, pd.DataFrame(columns=columns, dtype="object"), "t", IMAGES)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    inside = axes.get_window_extent()
    boxes = [label.get_window_extent() for label in axes.texts]
    assert len(boxes) == len(names)
    for number, box in enumerate(boxes):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_labels_of_a_forest_do_not_overlap(results):
    figure = plots.draw_forest(sections(results), results.runs, PAPERS, IMAGES)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert all(text.get_fontsize() >= 9 for text in axes.get_yticklabels())
    edge = figure.bbox
    assert all(edge.x0 <= box.x0 for box in boxes)


def test_the_users_settings_change_no_figure(results, tmp_path):
    import matplotlib

    def bytes_of(folder):
        with plots.style():
            figure = plots.draw_errors(results.summary, results.runs, "t", IMAGES)
            return plots.save(figure, folder, "f").read_bytes()

    before = bytes_of(tmp_path / "a")
    with matplotlib.rc_context():
        matplotlib.rcParams.update({"font.size": 30, "axes.facecolor": "red", "figure.dpi": 30})
        assert bytes_of(tmp_path / "b") == before
        assert matplotlib.rcParams["font.size"] == 30


DRAW = """
import hashlib, sys
from pathlib import Path
from benchmarks.report import plots
with plots.style():
    figure, panels = plots.new_figure(4.0, [3, 5, 2])
    for axes in panels:
        axes.plot([1, 2, 3], [-1, 5, 2], label="x")
        axes.set_title("title")
        axes.legend()
    path = plots.save(figure, Path(sys.argv[1]), "f")
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""
SETTINGS = """
font.size: 30
font.family: serif
text.usetex: True
axes.facecolor: red
axes.unicode_minus: False
savefig.bbox: tight
savefig.dpi: 33
svg.fonttype: none
svg.hashsalt: other
backend: nonexistent
"""


@pytest.mark.slow
def test_no_file_or_variable_of_the_user_changes_a_figure(tmp_path):
    (tmp_path / "matplotlibrc").write_text(SETTINGS, encoding="utf-8")
    rc = {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    drawn = set()
    for variables in ({}, rc, {"MPLBACKEND": "nonexistent"}, {"PYTHONHASHSEED": "2"}):
        done = subprocess.run(
            [sys.executable, "-c", DRAW, str(tmp_path)],
            cwd=tmp_path if variables else ROOT,  # a matplotlibrc in the folder counts too
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        drawn.add(done.stdout)
    assert len(drawn) == 1


@pytest.mark.parametrize("worst, cut", [(11.9, False), (60.0, True)])
def test_what_ends_outside_the_forest_ends_in_an_arrow(tmp_path, worst, cut):
    plain = [record("wide_resnet16_1", seed, 10.0) for seed in range(3)]
    results = results_of(tmp_path, [*plain, *hyper((10.4, 11.0, worst))])
    found = sections(results)
    axes = plots.draw_forest(found, results.runs, {}, IMAGES).axes[0]
    (row,) = found[0].rows.to_dict("records")
    (low, high), tips = axes.get_xlim(), [line.get_marker() for line in axes.get_lines()]
    assert ("<" in tips) == (row["difference_low"] < low)
    assert (">" in tips) == (row["difference_high"] > high) == cut
    assert low < 0.4 and high > min(worst - 10.0, 20.0)


def test_curves_of_one_family_differ():
    epochs = pd.DataFrame({"epoch": [1, 2] * 3, "gap": 1.0, "n": 1, "family": "hyper"})
    names = ["hyper_resnet16_1", "hyper_resnet40_1", "hyper_resnet40_2"]
    gaps = epochs.assign(model=np.repeat(names, 2), label="r")
    (axes,) = gap_plots.draw_gaps(gaps, {}, "t", IMAGES).axes
    curves = [line for line in axes.get_lines() if line.get_label() in names]
    assert len({line.get_color() for line in curves}) == len(curves) == 3


def test_gaps_of_long_training_are_of_its_last_third():
    gaps = pd.DataFrame({"epoch": range(1, 31), "gap": 1.0, "n": 1, "family": "hyper"})
    gaps.loc[gaps.epoch < 20, "gap"] = 60.0
    gaps = gaps.assign(model="hyper_resnet16_1", label="r")
    (axes,) = gap_plots.draw_gaps(gaps, {}, "t", IMAGES).axes
    (curve,) = [line for line in axes.get_lines() if line.get_label() == "hyper_resnet16_1"]
    assert list(curve.get_xdata()) == list(range(21, 31)) and axes.get_ylim()[1] < 5


def test_long_names_leave_room_for_the_figure(tmp_path):
    name = "mine_" + "x" * 110 + "_end"
    plain = rows("wide_resnet16_1_" + "y" * 60, (10.0, 10.2, 10.1), 100)
    pair = plain[0]["model"]
    records = [*plain, *rows(name, (11.0, 11.3, 11.1), 80, pair=pair)]
    results = results_of(tmp_path, records)
    with plots.style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = [
            plots.draw_forest(sections(results), results.runs, {}, IMAGES),
            plots.draw_errors(results.summary, results.runs, "errors", IMAGES),
        ]
        for figure in figures:
            figure.draw_without_rendering()
            width = figure.bbox.width
            for axes in figure.axes:
                assert axes.get_position().width > 0.4
                for text in [axes.title, *axes.get_yticklabels()]:
                    box = text.get_window_extent()
                    assert box.x0 >= 0 and box.x1 <= width, text


def test_every_seed_is_inside_the_axes_of_errors(tmp_path):
    """Also where the seeds of one row lie further apart than the means."""
    records = [record(seed=seed, error=error) for seed, error in enumerate((5.0, 10.0, 19.0))]
    records += [record("narrow_resnet16_2", seed, 11.4) for seed in range(3)]
    results = results_of(tmp_path, records)
    figure = plots.draw_errors(results.summary, results.runs, "errors", IMAGES)
    low, high = figure.axes[0].get_xlim()
    assert low < 5.0 and high > 19.0


def test_rows_that_a_forest_leaves_out_are_counted(tmp_path):
    records = []
    for number in range(9):
        plain = f"wide_resnet{10 + 6 * number}_1"
        records += rows(plain, (10.0,), 100 * 4**number)
        for name in range(4):
            records += rows(f"m{number}{name}", (11.0,), 100 * 4**number, pair=plain)
    results = results_of(tmp_path, records)
    found = sections(results)
    rows_of = sum(len(section.rows) for section in found)
    figure = plots.draw_forest(found, results.runs, {}, IMAGES)
    shown = sum(len(axes.get_yticklabels()) for axes in figure.axes)
    assert rows_of == 36 and shown == 32
    assert figure.axes[-1].get_xlabel().endswith("(4 rows left out)")
