"""The report: a pure function of records, honest about blanks, harmless whatever a record says."""

import copy
import json
import math
import shutil
import subprocess

import pytest

from benchmarks.records import store
from benchmarks.report import pages, plots, recipe_tables
from benchmarks.report.speed_tables import Measured, load_measured
from benchmarks.report.summary import (
    Row,
    Speeds,
    choose_speeds,
    paired_difference,
    sampling_error,
    summarize,
)
from tests.conftest import ROOT

BLOCK = {"optimizer": "sgd", "learning_rate": 0.1, "l2": 5e-4, "schedule": "cosine", "warmup": 0.05}


def record(
    model="wide_resnet16_1",
    seed=0,
    error=10.0,
    pair=None,
    recipe="quick8",
    recipe_hash="a" * 16,
    **changes,
):
    parts = {"stem": 10, "kernels": 90} if pair is None else {"stem": 10, "generator": 30}
    return {
        "schema_version": 1,
        "model": model,
        "pair": pair,
        "dataset": "made",
        "seed": seed,
        "status": "ok",
        "reason": None,
        "dataset_fingerprint": {"split_seed": 0, "train": 45000, "validation": 5000, "test": 10000},
        "recipe": {
            "name": recipe,
            "hash": recipe_hash,
            "epochs": 2,
            "steps": 702,
            "block": "stored",
            "batch_size": 128,
            "crop_padding": 4,
            "stored": BLOCK,
            "generated": BLOCK,
        },
        "test_error": error,
        "val_error": error,
        "params": sum(parts.values()),
        "params_by_component": parts,
        "macs_per_image": 1000,
        "generator_macs": 0,
        "train_images_per_s": 5.0,
        "history": [{"epoch": 1, "val_error": 50.0}, {"epoch": 2, "val_error": error}],
        "environment": {"device": "A processor", "precision": "bf16", "fallbacks": []},
        "code": {"commit": "c" * 40, "dirty": False},
    } | changes


def hyper(seed=0, error=12.0, **changes):
    return record("hyper_resnet16_1", seed, error, pair="wide_resnet16_1", **changes)


PAIRS = [record(seed=s, error=e) for s, e in enumerate((10.0, 11.0, 12.0))]
PAIRS += [hyper(seed=s, error=e) for s, e in enumerate((12.0, 13.0, 17.0))]


def speed(model, median, device="A processor", batch_size=128):
    return {
        "kind": "speed",
        "model": model,
        "device": device,
        "batch_size": batch_size,
        "environment": {"threads": 2, "precision": "bf16", "compile": "default", "torch": "2.14.0"},
        "measurements": {
            "training_step": {"median": median, "q1": median, "q3": median, "windows": 3}
        },
    }


BARE = {"low": None, "high": None, "front": False}


def dressed(found):
    return {point["model"]: ("#1b6ca8", "-", "o") for point in found}


def write(folder, found, throughput=()):
    """A results folder with these records as they are, valid or not; gives the page's text."""
    results = folder / "results"
    results.mkdir(parents=True)
    shutil.copy(ROOT / "results" / "published.csv", results)
    for number, entry in enumerate(found):
        path = results / "runs" / "made" / f"m{number}" / "r-seed0.json"
        path.parent.mkdir(parents=True)
        path.write_text(entry if isinstance(entry, str) else json.dumps(entry))
    for entry in throughput:
        store.save_throughput(results, entry)
    return pages.write_report(results, folder / "reports", "made").read_text()


def test_statistics_by_hand():
    (group,) = summarize(PAIRS)
    plain, generated = group.rows
    assert (plain.mean, plain.estimate.deviation) == (11.0, 1.0)
    assert generated.mean == 14.0
    difference = paired_difference(generated, plain)
    assert (difference.mean, difference.n) == (3.0, 3) and difference.deviation == pytest.approx(
        math.sqrt(3)
    )
    assert sampling_error(7.0, 10_000) == pytest.approx(0.2551, abs=1e-4)


def test_pairs_use_shared_seeds_only():
    plain = [record(seed=0, error=10.0), record(seed=1, error=20.0)]
    (group,) = summarize([*plain, hyper(seed=0, error=13.0), hyper(seed=2, error=50.0)])
    difference = paired_difference(group.rows[1], group.rows[0])
    assert (difference.mean, difference.low, difference.n) == (3.0, None, 1)


def test_two_hashes_are_never_pooled(tmp_path):
    groups = summarize([record(error=10.0), record(seed=1, error=30.0, recipe_hash="b" * 16)])
    assert [g.rows[0].mean for g in groups] == [10.0, 30.0]
    text = write(tmp_path, [record(error=10.0), record(seed=1, error=30.0, recipe_hash="b" * 16)])
    assert text.count("## Recipe `quick8`") == 2 and "20.00 %" not in text


def test_the_page_says_what_the_records_say(tmp_path):
    text = write(
        tmp_path, PAIRS, [speed("wide_resnet16_1", 800.0), speed("hyper_resnet16_1", 700.0)]
    )
    assert "11.00 ± 1.00 %" in text and "14.00 ± 2.65 %" in text
    assert "+3.00 [-1.30, +7.30]" in text and "11.00 % [8.52, 13.48]" in text
    assert (
        "**Undecided**: +3.00 points in test error [-1.30, +7.30] over 3 seeds against `wide_resnet16_1`"
        in text
    )
    assert "0: 12.00 %, 1: 13.00 %, 2: 17.00 %" in text
    assert "0.400" in text and "0.875" not in text  # images/s of two runs make no ratio
    assert (
        "measured on A processor, 2 threads, batch 128, bf16, compile default, torch 2.14.0" in text
    )


def test_byte_for_byte(tmp_path):
    for name, found in (("a", PAIRS), ("b", list(reversed(PAIRS)))):
        speeds = [speed("wide_resnet16_1", 800.0), speed("hyper_resnet16_1", 700.0)]
        write(tmp_path / name, sorted(found, key=lambda r: (r["model"], r["seed"])), speeds)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a" / "reports").rglob("*.*"))
    assert {p.suffix for p in files} == {".md", ".svg", ".png", ".tex", ".csv"} and len(files) == 20
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_one_point_is_not_drawn(tmp_path):
    text = write(tmp_path, PAIRS, [speed("wide_resnet16_1", 800.0)])
    assert (
        "Not drawn, for want of measurements: error against throughput." in text
        and "error-macs.svg" in text
    )


def test_plotted_numbers():
    (group,) = summarize(PAIRS)
    speeds = choose_speeds(
        [speed("wide_resnet16_1", 800.0)], ["wide_resnet16_1", "hyper_resnet16_1"]
    )
    assert [
        (p["model"], p["x"], p["error"]) for p in plots.points(group, speeds, "parameters")
    ] == [("wide_resnet16_1", 100, 11.0), ("hyper_resnet16_1", 40, 14.0)]
    assert [(p["model"], p["x"]) for p in plots.points(group, speeds, "throughput")] == [
        ("wide_resnet16_1", 800.0)
    ]
    assert plots.curves(group)["hyper_resnet16_1"][2] == [(1, 50.0), (2, 17.0)]


def test_a_model_has_one_colour_in_every_figure():
    (group,) = summarize(PAIRS)
    shown, speeds = (
        plots.looks(group),
        choose_speeds([speed("hyper_resnet16_1", 700.0)], ["hyper_resnet16_1"]),
    )
    found = plots.points(group, speeds, "throughput")
    assert [p["model"] for p in found] == ["hyper_resnet16_1"]
    (marker, *_) = plots.draw_points(found, shown, [], "throughput", "t").axes[0].lines
    curves = plots.draw_curves(plots.curves(group), shown, "t").axes[0].lines
    (line,) = (line for line in curves if line.get_label() == "hyper_resnet16_1")
    assert (
        marker.get_color()
        == line.get_color()
        == shown["hyper_resnet16_1"][0]
        != shown["wide_resnet16_1"][0]
    )


def test_the_condition_that_measured_most_is_chosen():
    found = [
        speed("a", 1.0, "Y"),
        speed("b", 2.0, "Y"),
        speed("a", 9.0, "X"),
        speed("b", 7.0, "Y", batch_size=1024),
    ]
    chosen = choose_speeds(found, ["a", "b"])
    assert chosen.condition == ("Y", "128", "2", "bf16", "default", "2.14.0", "")
    repeated = [
        entry | {"environment": entry["environment"] | {"deterministic": True}}
        for entry in found[:1]
    ]
    assert choose_speeds(repeated, ["a"]).condition[-1] == "deterministic"
    assert choose_speeds([*repeated, found[0]], ["a"]).condition == chosen.condition
    assert (chosen.training(Row("a", None)), chosen.training(Row("b", None))) == (1.0, 2.0)
    assert choose_speeds([], ["a"]) == Speeds(None, {})


def test_a_speed_is_of_the_optimizer_that_the_row_was_trained_with():
    scaled, plain = hyper(), record()
    scaled["recipe"] = scaled["recipe"] | {
        "block": "scaled",
        "scaled": BLOCK | {"backbone": {"optimizer": "sgd"}},
    }
    rows = {row.model: row for row in summarize([scaled, plain])[0].rows}
    assert rows["hyper_resnet16_1"].optimizers == "scaled sgd, backbone sgd"
    unsaid = [speed(name, 5.0) for name in rows]
    assert [choose_speeds(unsaid, [*rows]).training(row) for row in rows.values()] == [5.0, None]
    said = [found | {"optimizer": rows[found["model"]].optimizers} for found in unsaid]
    assert [choose_speeds(said, [*rows]).training(row) for row in rows.values()] == [5.0, 5.0]
    both = [*unsaid, speed("hyper_resnet16_1", 4.0) | {"optimizer": "scaled sgd, backbone sgd"}]
    assert [choose_speeds(both, [*rows]).training(row) for row in rows.values()] == [5.0, 4.0]


def test_a_pairs_speed_ratio_is_that_of_its_pair_record(tmp_path):
    head = {
        key: value for key, value in speed("hyper_resnet16_1", 5.0).items() if key != "measurements"
    }
    found = head | {
        "kind": "pair",
        "pair": ["hyper_resnet16_1", "wide_resnet16_1"],
        "noisy": False,
        "ratio": {"median": 0.98, "low": 0.97, "high": 0.99},
    }
    group, models = summarize(PAIRS)[0], ["wide_resnet16_1", "hyper_resnet16_1"]
    rates, ratio = [speed(name, 5.0) for name in models], "0.980 [0.970, 0.990]"
    for change, shown in (
        ({}, ratio),
        ({"noisy": True}, "–"),
        ({"device": "another"}, "–"),
        ({"optimizer": "adam"}, "–"),
    ):
        speeds = choose_speeds(rates, models, [found | change])
        ((*_, cell),) = recipe_tables.pair_section(group, speeds)[-1].rows
        assert str(cell) == shown
    assert (
        choose_speeds([], models, [found]).ratio(group.row(models[1]), group.row(models[0]))
        == found["ratio"]
    )


def test_seeds_of_different_precision_are_marked():
    found = [record(), record(seed=1, environment={"device": "A processor", "precision": "fp32"})]
    for chosen, marked in ((found, True), (found[:1], False)):
        (group,) = summarize(chosen)
        table = recipe_tables.main_table(group, Speeds(None, {}), {}, []).markdown()
        assert (
            ("`wide_resnet16_1` §" in table)
            == ("§ its seeds differ" in recipe_tables.legend(group, Speeds(None, {})))
            == marked
        )


def test_pairs_and_comparisons_are_tables(tmp_path):
    ratio = {"median": 0.98, "low": 0.97, "high": 0.99, "pairs": 15}
    pair = {
        "null": ratio | {"median": 1.0},
        "ratio": ratio,
        "noisy": True,
        "attempts": [{}, {}, {}],
    }
    head = {"model": "hyper_resnet16_1", "device": "A processor", "batch_size": 128}
    compared = {"ratios": {"suite plain / nn.Conv2d": ratio}}
    entries = [
        head | {"kind": "pair", **pair, "inference": {"generated": pair | {"noisy": False}}},
        head
        | {
            "kind": "compare",
            "step": compared,
            "epoch": compared,
            "descriptions": {"nn.Conv2d": "by hand"},
        },
        head | {"kind": "compare", "batch_size": 64, "step": [], "epoch": None, "descriptions": []},
    ]
    text = write(tmp_path, PAIRS, entries)
    training, inference = [line for line in text.splitlines() if "1.000 [0.970, 0.990]" in line]
    assert (
        "training step" in training and "noisy" in training and "0.980 [0.970, 0.990]" in training
    )
    assert "inference, generated" in inference and "valid" in inference
    assert text.count("suite plain / nn.Conv2d") == 2 and "- nn.Conv2d: by hand" in text


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"status": "diverged", "test_error": None, "reason": "loss is not finite"}, "1 diverged"),
        (
            {"status": "failed", "test_error": None, "reason": "no memory | <b>"},
            "no memory &#124; &lt;b&gt;",
        ),
        ({"test_error": float("nan")}, "no run ended well"),
        ({"code": {"dirty": True}}, "† made from a tree"),
        ({"history": None}, "Not drawn"),
        ({"environment": None}, "Device: unknown"),
        ({"params": None}, "–"),
        ({"recipe": {}}, "## Recipe `None`"),
        ({"model": "<script>alert(1)</script>"}, "&lt;script&gt;"),
        ({"model": "a|b"}, "a&#124;b"),
        ({"test_error": 120.0}, "the test error is no percentage"),
        ({"model": "a$\\bad$"}, "a$\\bad$"),
        ({"recipe": {"name": "a$\\bad$", "hash": "c"}}, "a$\\bad$"),
        ({"seed": [1]}, "&#91;1]: 10.00 %"),
        ({"params": 10**400}, "–"),
        ({"params": -5}, "Not drawn"),
        ({"environment": {"fallbacks": 3}}, "Device: unknown"),
    ],
)
def test_odd_records_render(tmp_path, changes, expected):
    text = write(tmp_path, [record(**{k: v for k, v in changes.items() if k == "model"}) | changes])
    assert expected in text and "<script>" not in text and "nan" not in text


@pytest.mark.parametrize("key", [*store.schema(3)["required"], "test_error"])
def test_a_missing_key_is_no_fault(tmp_path, key):
    incomplete = copy.deepcopy(record())
    incomplete.pop(key, None)
    assert "# made" in write(tmp_path, [incomplete, hyper()])


def test_torn_records_are_listed(tmp_path):
    text = write(tmp_path, [record(), '{"torn'])
    assert "m1/r-seed0.json" in text and str(tmp_path) not in text


@pytest.mark.parametrize("content", ['{"torn', "[]", '{"model": ["a"]}'])
def test_speeds_that_cannot_be_read(tmp_path, content):
    place = tmp_path / "results" / "throughput" / "x" / "m.json"
    place.parent.mkdir(parents=True)
    place.write_text(content)
    problems = []
    assert load_measured(tmp_path / "results", problems) == Measured([], [], [])
    assert all(str(tmp_path) not in problem for problem in problems) and len(problems) == (
        content[0] == "[" or "torn" in content
    )


def test_rows_of_the_paper_without_a_record_have_published_numbers_only():
    (group,) = summarize(PAIRS)
    published = {"hyper_resnet40_1": {"test_error": 8.02, "params": 97000}}
    text = recipe_tables.main_table(
        group, Speeds(None, {}), published, ["hyper_resnet40_1"]
    ).markdown()
    (line,) = [line for line in text.splitlines() if "hyper_resnet40_1" in line]
    assert "8.02 %" in line and "97,000" in line and "not yet measured" in line


def test_rules_of_parts_are_said():
    rule = {"optimizer": "adam", "learning_rate": 0.006}
    block = BLOCK | {"embeddings": rule | {"learning_rate": 0.5}, "backbone": rule}
    found = record(recipe="quick8")
    found["recipe"] = found["recipe"] | {"stored": block}
    assert (
        "stored kernels: sgd 0.1, embeddings adam 0.5, backbone adam 0.006 (cosine"
        in pages.recipe_text(found["recipe"])
    )
    (group,) = summarize([found])
    scaled = record(recipe="quick8")
    scaled["recipe"] = scaled["recipe"] | {"scaled": BLOCK, "block": "scaled"}
    assert (
        recipe_tables.optimizer_text(summarize([scaled])[0].rows[0]) == "scaled sgd 0.1, L2 0.0005"
    )
    assert (
        recipe_tables.optimizer_text(group.rows[0])
        == "sgd 0.1, embeddings adam 0.5, backbone adam 0.006, L2 0.0005"
    )


def test_mean_curve_by_hand():
    assert plots.mean_curve([[(1, 50.0), (2, 10.0)], [(1, 40.0), (2, 20.0), (3, 9.0)]]) == [
        (1, 45.0),
        (2, 15.0),
    ]
    assert plots.mean_curve([[(1, 5.0)], [(2, 6.0)]]) == []


def test_figures_without_records_go(tmp_path):
    for name in ("old.svg", "old.png", "kept.svg", "notes.txt"):
        (tmp_path / name).touch()
    pages.remove_stale(tmp_path, (".svg", ".png"), {"kept"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept.svg", "notes.txt"]


def test_two_fingerprints_are_told():
    prints = ({"sha256": name, "train": 1, "validation": 1, "test": 1} for name in "ab")
    text = pages.method_section([record(dataset_fingerprint=p) for p in prints], {})
    assert "The data differ between runs" in text
    assert "The data differ" not in pages.method_section([record(), record(seed=1)], {})


def test_a_data_set_of_torn_records_alone_is_listed(tmp_path):
    path = tmp_path / "runs" / "made" / "m" / "r-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"torn')
    page = pages.write_report(tmp_path, tmp_path / "reports", "made").read_text()
    assert "Runs that did not end well" in page and "r-seed0.json" in page


def test_no_records(tmp_path):
    with pytest.raises(ValueError, match="no records of data set 'made'"):
        pages.write_report(tmp_path, tmp_path, "made")


def test_labels_of_a_cluster_are_inside_and_apart():
    """Points on top of each other, as sources of one budget are."""
    found = [
        {
            "model": f"template_resnet16_{n}",
            "pair": "plain",
            "x": 83000 + n,
            "error": 32 + n / 9,
            **BARE,
        }
        for n in range(4)
    ]
    found.append({"model": "plain", "pair": None, "x": 173000, "error": 23, **BARE, "front": True})
    figure = plots.draw_points(found, dressed(found), [], "parameters", "t")
    (axes,) = figure.axes
    renderer, frame = figure.canvas.get_renderer(), axes.get_window_extent()
    boxes = [plots._text_box(label, renderer) for label in axes.texts]
    assert len(boxes) == 5
    for i, box in enumerate(boxes):
        assert (
            frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        )
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_labels_do_not_overlap():
    found = [
        {
            "model": f"some_resnet40_{i}",
            "pair": None,
            "x": 1e5 * (1 + i / 50),
            "error": 7 + i / 100,
            **BARE,
            "front": not i,
        }
        for i in range(12)
    ]
    figure = plots.draw_points(found, dressed(found), [], "parameters", "crowded")
    figure.canvas.draw()
    boxes = [plots._text_box(label, figure.canvas.get_renderer()) for label in figure.axes[0].texts]
    assert len(boxes) == 12
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_leaders_keep_off_other_markers():
    from matplotlib.transforms import Bbox

    assert plots._crosses((0, 0), (10, 10), [Bbox([[4, 4], [6, 6]])])
    assert not plots._crosses((0, 0), (10, 0), [Bbox([[4, 4], [6, 6]])])


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """`results/` as git has it: what was measured here since then does not count."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    target = tmp_path_factory.mktemp("committed")
    for name in listed.stdout.split("\0")[:-1]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target / name)
    return target / "results"


def test_committed_reports_are_what_the_records_give(committed, tmp_path):
    names = [path.name for path in (committed / "runs").iterdir()]
    assert names
    for name in names:
        pages.write_report(committed, tmp_path, name)
        assert (tmp_path / name / "README.md").read_text() == (
            ROOT / "reports" / name / "README.md"
        ).read_text()


def test_committed_records_are_valid(committed):
    found = list((committed / "runs").rglob("*.json"))
    assert found
    for path in found:
        store.validate(store.load(path))
