"""The page to explore in a real browser: Debian's chromium, driven by Playwright."""

import dataclasses
import os
import shutil
from urllib.parse import urlencode

import pytest

from benchmarks.report import explore
from tests.report.made import hyper, record, results_of, rows, speed, text_records, text_speed
from tests.report.test_explore import HARMFUL, renamed

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium"),
]

LONG = {"name": "quick15", "hash": "c" * 16, "epochs": 15}
GPU = {"device": "A GPU", "precision": "bf16"}
PAIR = "wide_resnet16_1"
FAILED = record("hyper_resnet16_1", 3, None, PAIR, status="failed", reason=HARMFUL[0])
RECORDS = [
    *rows(PAIR, (10.0, 11.0, 12.0), 170_000, macs=26_000_000),
    *hyper((12.0, 13.0, 17.0), params=83_000, macs=26_000_000),
    FAILED | {"val_error": None},
    *rows("template_resnet16_1", (11.5, 12.5), 83_400, PAIR, 26_000_000, environment=GPU),
    *rows("separable_resnet16_1", (20.0,), 25_000, PAIR, 4_000_000),
    *rows("wide_resnet40_1", (8.0,), 563_000, macs=80_000_000, recipe=LONG, environment=GPU),
    *rows(PAIR, (9.0, 9.5), 170_000, macs=26_000_000, recipe=LONG),
]
SPEEDS = [speed(PAIR, 800.0), speed("hyper_resnet16_1", 700.0), speed("wide_resnet40_1", 300.0)]
MODELS = "#table tbody tr.row th button"
POINTS = "#plot path[data-row]"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp("made"), RECORDS, SPEEDS)


@pytest.fixture(scope="module")
def frame(results):
    return explore.explore_rows(results)


@pytest.fixture(scope="module")
def address(results, tmp_path_factory):
    return explore.write_explorer(results, tmp_path_factory.mktemp("page")).as_uri()


@pytest.fixture(scope="module")
def browser():
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # root has none
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens an address once its plot is drawn; at the end no page may have had an error."""
    context = browser.new_context(viewport={"width": 1360, "height": 1000}, offline=True)
    context.set_default_timeout(60_000)
    errors = []

    def opened(address, points=True):
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"dialog {dialog.message}"))
        page.goto(address)
        if points:
            page.wait_for_selector(POINTS)
        return page

    yield opened
    context.close()
    assert errors == []


def models(page):
    return page.locator(MODELS).all_inner_texts()


def cells(page, key):
    """The texts of a column."""
    keys = page.locator("#table thead th").evaluate_all("all => all.map((th) => th.dataset.key)")
    place = keys.index(key) + 1
    return page.locator(f"#table tbody tr.row > :nth-child({place})").all_inner_texts()


def wait_for_points(page, count):
    page.wait_for_function(
        "([points, count]) => document.querySelectorAll(points).length === count",
        arg=[POINTS, count],
    )


def fragment(page):
    return page.evaluate("window.location.hash")


def test_the_first_view_is_the_frame_ranked_by_error(open_page, address, frame):
    page = open_page(address)
    ranked = frame.sort_values("mean")
    assert models(page) == ranked.model.tolist()
    ranks = page.locator("#table tbody tr.row td:first-child").all_inner_texts()
    assert ranks == [str(place) for place in range(1, len(frame) + 1)]
    assert cells(page, "mean")[:2] == ["8.00 %", "9.25 ± 0.35 %"]
    wait_for_points(page, len(frame))
    assert page.locator("#count").inner_text() == f"{len(frame)} of {len(frame)} rows, 13 runs"
    assert fragment(page) == ""


@pytest.mark.parametrize(
    "key, number, first_descending",
    [("params", True, False), ("n", True, True), ("family", False, False)],
)
def test_a_heading_sorts_up_and_down(key, number, first_descending, open_page, address, frame):
    page = open_page(address)
    heading = page.locator(f"#table thead th[data-key={key}]")
    for descending in (first_descending, not first_descending):
        heading.get_by_role("button").click()
        order = "descending" if descending else "ascending"
        assert heading.get_attribute("aria-sort") == order
        assert page.locator("#table thead th[aria-sort=none]").count() > 5
        shown = [text.strip().replace(",", "") for text in cells(page, key)]
        shown = [int(text) for text in shown] if number else shown
        assert shown == sorted(frame[key].tolist(), reverse=descending)
        assert fragment(page) == f"#sort={'-' if descending else ''}{key}"


def test_a_text_is_in_its_own_words_and_units(open_page, tmp_path):
    results = results_of(tmp_path, text_records(), [text_speed("lstm_312", 1.2e6)], "pydoc")
    page = open_page(explore.write_explorer(results, tmp_path).as_uri())
    headings = page.locator("#table thead th").all_inner_texts()
    headings = [heading.strip() for heading in headings]
    told = ["test bits per character", "bits above the plain pair", "FLOPs/character"]
    for heading in (*told, "training characters/s"):
        assert heading in headings
    assert cells(page, "mean")[0] == "1.857 ± 0.012"
    assert cells(page, "difference")[0] == "−0.010 [−0.040, +0.020]"
    page.locator(POINTS).first.hover()
    tip = page.locator("#tip").inner_text()
    assert "test bits per character 1.857 ± 0.012 (n = 3)" in tip
    assert "−0.010 [−0.040, +0.020] bits above ln_lstm_312" in tip
    page.locator(MODELS).first.click()
    assert "1.851" in page.locator("#table tr.seeds").inner_text()
    assert page.locator("#y option:checked").inner_text() == "test bits per character"
    for word in ("image", "error", "points above", "%"):
        assert word not in page.inner_text("body").replace("95\u00a0%", ""), word


def test_what_is_unknown_is_sorted_last(open_page, address):
    page = open_page(address)
    for order in ("", "-"):
        page.goto(f"{address}#sort={order}difference")
        page.wait_for_function(
            "() => document.querySelector('th[aria-sort$=ending]').dataset.key[0]==='d'"
        )
        unknown = [text == "–" for text in cells(page, "difference")]
        assert unknown == sorted(unknown) and any(unknown)


def test_filters_narrow_table_and_plot(open_page, address, frame):
    page = open_page(address)
    page.get_by_role("checkbox", name="quick8").check()
    rows = frame[frame.label == "quick8"]
    assert sorted(models(page)) == sorted(rows.model)
    wait_for_points(page, len(rows))
    page.get_by_role("checkbox", name="hyper").check()
    page.get_by_role("checkbox", name="template").check()
    rows = rows[rows.family.isin(["hyper", "template"])]
    assert sorted(models(page)) == sorted(rows.model)
    page.locator("#min").fill("83100")
    assert models(page) == ["template_resnet16_1"]
    page.locator("#min").fill("")
    page.locator("#max").fill("83100")
    assert models(page) == ["hyper_resnet16_1"]
    page.get_by_role("checkbox", name="A GPU").check()
    assert models(page) == []
    assert "No row fits" in page.locator("#table tbody").inner_text()
    page.wait_for_function("() => !document.querySelector('#plot svg')")
    page.get_by_role("button", name="Reset").click()
    assert len(models(page)) == len(frame)
    wait_for_points(page, len(frame))
    page.get_by_role("searchbox").fill("WIDE")
    assert set(models(page)) == {PAIR, "wide_resnet40_1"}


def size_of_front(frame, x, sign=1):
    """How many rows no other row beats; `sign` is -1 where more is better."""
    known = frame[frame[x].notna() & frame["mean"].notna()]
    points = list(zip(sign * known[x].astype(float), known["mean"], strict=True))
    beaten = [any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]
    return len(points), beaten.count(False)


def expect_front(page, size):
    """The page says that the front has this size: (points, of them on it)."""
    wait_for_points(page, size[0])
    said = f"front of the {size[0]} points shown, {size[1]} on it"
    assert said in page.locator("#plot-note").inner_text()
    ink = page.locator(f"{POINTS}[stroke='#1b1f24']")
    assert ink.count() == size[1]


def test_axes_and_the_front(open_page, address, frame):
    page = open_page(address)
    expect_front(page, size_of_front(frame, "params"))
    page.get_by_label("Horizontal axis").select_option("images_per_s")
    size = size_of_front(frame, "images_per_s", -1)
    expect_front(page, size)
    said = page.locator("#plot-note").inner_text()
    assert "training images/s up" in said
    assert f"{len(frame) - size[0]} of {len(frame)} rows" in said
    page.get_by_role("checkbox", name="quick8").check()
    expect_front(page, size_of_front(frame[frame.label == "quick8"], "images_per_s", -1))
    page.get_by_label("Horizontal axis").select_option("mean")  # the other axis gives way
    assert page.get_by_label("Vertical axis").input_value() == "images_per_s"
    assert page.get_by_label("Horizontal axis").input_value() == "mean"
    assert fragment(page) == "#recipe=quick8&x=mean&y=images_per_s"
    page.goto(f"{address}#y=difference")
    wait_for_points(page, int(frame.difference.notna().sum()))


def test_points_lie_where_the_values_say(open_page, address, frame):
    page = open_page(address)
    wait_for_points(page, len(frame))
    place = "all => all.map((p) => { const box = p.getBoundingClientRect(); "
    place += "return [p.getAttribute('aria-label').split(',')[0], box.x + box.width / 2, "
    place += "box.y + box.height / 2]; })"
    found = page.locator(POINTS).evaluate_all(place)
    left_to_right = [name for name, _, _ in sorted(found, key=lambda point: point[1])]
    # equal parameters may stand in either order
    assert left_to_right == frame.sort_values("params").model.tolist()
    heights = sorted(found, key=lambda point: -point[2])
    assert [name for name, _, _ in heights] == frame.sort_values("mean").model.tolist()


def test_a_link_brings_back_the_view(open_page, address, frame):
    query = {
        "recipe": "quick8",
        "family": "plain",
        "sort": "-params",
        "y": "difference",
        "x": "weight_bytes",
        "theme": "dark",
        "min": "1000",
    }
    link = f"{address}#{urlencode(query)}"
    page = open_page(link, points=False)
    assert models(page) == [PAIR]
    assert (
        page.get_by_role("checkbox", name="quick8").is_checked()
        and page.locator("#min").input_value() == "1000"
    )
    assert page.get_by_label("Vertical axis").input_value() == "difference"
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.evaluate("window.location.hash = 'family=hyper&sort=model'")
    page.wait_for_function("() => !document.querySelector('#recipe input').checked")
    assert models(page) == ["hyper_resnet16_1"]
    page.go_back()
    page.wait_for_function("() => document.querySelector('#min').value === '1000'")
    assert models(page) == [PAIR]


@pytest.mark.parametrize(
    "broken",
    [
        "%",
        "%E0%A4%A",
        "sort=__proto__&x=constructor&y=toString",
        "recipe=nothing&family=%00",
        "min=-1&max=abc",
        "min=Infinity",
        "x=params&y=params",
        "theme=%3Cscript%3E",
        "&&&==#?",
        "sort=-",
        "a" * 5000,
    ],
)
def test_a_malformed_fragment_does_no_harm(broken, open_page, address, frame):
    page = open_page(f"{address}#{broken}")
    assert len(models(page)) == len(frame)
    wait_for_points(page, len(frame))


def test_seeds_open_by_click_and_keyboard(open_page, address, results):
    page = open_page(address)
    button = page.locator(MODELS, has_text="hyper_resnet16_1")
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    table = page.get_by_role("table", name="Runs of hyper_resnet16_1, quick8")
    lines = table.locator("tbody tr").all_inner_texts()
    assert [line.split("\t")[:2] for line in lines] == [
        ["0", "12.00 %"],
        ["1", "13.00 %"],
        ["2", "17.00 %"],
        ["3", "–"],
    ]
    run = results.runs[results.runs.model == "hyper_resnet16_1"].iloc[0]
    assert run.device in lines[0] and run.precision in lines[0]
    assert lines[3].endswith(f"failed: {HARMFUL[0]}")
    page.locator("#table thead th[data-key=params] button").click()
    assert table.is_visible()  # it stays open when the order changes
    page.keyboard.press("Tab")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "false" and not table.is_visible()
    page.keyboard.press("Space")
    assert table.is_visible()


FOCUSED = "(document.activeElement.id || document.activeElement.name || "
FOCUSED += "document.activeElement.closest('th')?.dataset.key || document.activeElement.tagName)"


def test_everything_is_reached_with_the_keyboard(open_page, address):
    page = open_page(address)
    visited = []
    for _ in range(60):
        page.keyboard.press("Tab")
        visited.append(page.evaluate(FOCUSED))
        outlined = page.evaluate(
            "(({outlineStyle, stroke}) => outlineStyle !== 'none' || stroke !== 'none')"
            "(getComputedStyle(document.activeElement))"
        )
        assert outlined, visited[-1]
        if visited[-1] == "path":
            break
    expected = ["theme", "copy", "reset", "model", "min", "max", "recipe", "family", "device"]
    assert list(dict.fromkeys(visited)) == [*expected, "y", "x", "path"]
    tip = page.locator("#tip")
    assert tip.locator("b").inner_text() == "separable_resnet16_1"  # the fewest parameters
    page.keyboard.press("ArrowRight")
    assert tip.locator("b").inner_text() == "hyper_resnet16_1"
    assert "14.00 ± 2.65 % (n = 3)" in tip.inner_text() and "83,000" in tip.inner_text()
    page.keyboard.press("End")
    assert tip.locator("b").inner_text() == "wide_resnet40_1"
    page.keyboard.press("Enter")
    assert not tip.is_visible()
    focused = page.evaluate("document.activeElement.textContent")
    assert focused == "wide_resnet40_1"
    assert page.get_by_role("table", name="Runs of wide_resnet40_1, quick15").is_visible()
    page.locator("#scroll").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == "family"
    page.keyboard.press("Enter")
    assert fragment(page) == "#sort=family"


def test_names_on_hover(open_page, address):
    page = open_page(f"{address}#family=separable")
    page.locator(POINTS).first.hover()
    assert page.locator("#tip b").inner_text() == "separable_resnet16_1"
    page.mouse.move(5, 5)
    assert not page.locator("#tip").is_visible()


def test_light_and_dark(open_page, address):
    page = open_page(address)
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('#plot .role-axis-title text').getAttribute('fill')"
    light = page.evaluate(paper), page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"() => {ink} !== {light[1]!r}")
    dark = page.evaluate(paper), page.evaluate(ink)
    assert light == ("rgb(255, 255, 255)", "#1b1f24") and dark == ("rgb(20, 23, 28)", "#e6e9ed")
    page.get_by_label("Theme").select_option("light")
    page.wait_for_function(f"() => {ink} === {light[1]!r}")
    assert (page.evaluate(paper), fragment(page)) == (light[0], "#theme=light")


@pytest.mark.parametrize("text", HARMFUL)
def test_text_from_records_stays_text(text, open_page, results, tmp_path):
    changed = renamed(results, PAIR, text)
    changed.runs["device"] = changed.runs.device.replace({"A GPU": text})
    path = explore.write_explorer(dataclasses.replace(changed, dataset=text), tmp_path)
    page = open_page(path.as_uri())
    assert page.title() == f"Results on {text}"
    assert page.locator(MODELS).all_text_contents().count(text) == 2
    page.locator(MODELS).nth(1).click()
    labels = page.locator(POINTS).evaluate_all(
        "all => all.map((p) => p.getAttribute('aria-label'))"
    )
    assert sum(label.startswith(text) for label in labels) == 2
    for box in page.locator("#device input").all():
        if box.get_attribute("value") == text:
            box.check()
    assert page.locator("img, script").count() == 3
    page.goto(path.as_uri() + fragment(page))
    assert page.locator("#device input:checked").get_attribute("value") == text


def test_many_records_stay_small(open_page, tmp_path):
    records = [
        record(
            f"hyper_resnet16_{model}",
            seed,
            10 + model / 10,
            recipe={"name": f"quick{recipe}"} | {"hash": f"{recipe:016x}"},
        )
        for recipe, model, seed in [(n // 50, n % 50 // 5, n % 5) for n in range(500)]
    ]
    path = explore.write_explorer(results_of(tmp_path, records), tmp_path)
    assert path.stat().st_size < 3 * 2**20
    page = open_page(path.as_uri())
    assert len(models(page)) == 100
    wait_for_points(page, 100)
