"""Figures: the numbers that are drawn, and labels that can be read."""

import pandas as pd
import pytest

from benchmarks.report import plots
from tests.report.made import hyper, record, results_of, rows, speed


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    records = [*rows("wide_resnet16_1", (10.0, 11.0, 12.0), 100), *hyper((12.0, 13.0, 17.0))]
    speeds = [speed("hyper_resnet16_1", 700.0, optimizer="sgd")]
    return results_of(tmp_path_factory.mktemp("made"), records, speeds)


def made(xs, errors, front=()):
    """Points as `plots.points` gives them."""
    names = [f"some_resnet40_{number}" for number in range(len(xs))]
    frame = pd.DataFrame({"model": names, "x": xs, "mean": errors})
    return plots.looks(frame.assign(pair=None, low=None, high=None, front=frame.index.isin(front)))


NONE = pd.DataFrame({"model": [], "x": [], "test_error": []}).astype({"model": "string"})


def test_plotted_numbers(results):
    found = plots.points(plots.looks(results.summary), results.differences, "params")
    assert found.model.tolist() == ["wide_resnet16_1", "hyper_resnet16_1"]
    assert found.x.tolist() == [100, 80] and found["mean"].tolist() == [11.0, 14.0]
    found = plots.points(plots.looks(results.summary), results.differences, "images_per_s")
    assert found.model.tolist() == ["hyper_resnet16_1"] and found.x.tolist() == [700]


def test_a_model_has_one_colour_in_every_figure(results):
    looks = plots.looks(results.summary)
    found = plots.points(looks, results.differences, "images_per_s")
    (marker, *_) = plots.draw_points(found, NONE, "images_per_s", "t").axes[0].lines
    curves = plots.draw_curves(results.epochs, looks, "t").axes[0].lines
    (line,) = [line for line in curves if line.get_label() == "hyper_resnet16_1"]
    plain, colour = looks.colour
    assert marker.get_color() == line.get_color() == colour != plain


def test_mean_curve_is_of_the_epochs_that_every_seed_has(tmp_path):
    first, second = record(), record(seed=1, error=20.0)
    first["history"] = [*first["history"], first["history"][1] | {"epoch": 3}]
    results = results_of(tmp_path, [first, second])
    axes = plots.draw_curves(results.epochs, plots.looks(results.summary), "t").axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "wide_resnet16_1"]
    assert line.get_xydata().tolist() == [[1, 50.0], [2, 15.0]]


ONE_BUDGET = made([83_000, 83_001, 83_002, 83_003, 173_000], [32, 32.1, 32.2, 32.3, 23], [4])
NEAR = made([1e5 * (1 + i / 50) for i in range(12)], [7 + i / 100 for i in range(12)], [0])
CLUSTERS = {"of one budget": ONE_BUDGET, "crowded": NEAR}


@pytest.mark.parametrize("name", CLUSTERS)
def test_labels_are_inside_and_apart(name):
    figure = plots.draw_points(CLUSTERS[name], NONE, "params", "t")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    frame = axes.get_window_extent()
    boxes = [label.get_window_extent() for label in axes.texts]
    assert len(boxes) == len(CLUSTERS[name])
    for number, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:number])
