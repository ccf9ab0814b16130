// The scatter plot, drawn by Vega-Lite as SVG, so that its points can have the focus.

const SYMBOLS = Object.fromEntries(
  Object.entries(data.looks).map(([family, [, , shape]]) => [family, shape]));
const LOG_FROM = 3;
const NARROW = 600; // pixels; the legend is then below
let view = null;
let drawing = 0;

function colour(family) {
  const [light, dark] = data.looks[family];
  return document.documentElement.dataset.theme === "dark" ? dark : light;
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The rows that no other row beats: at least as good on both axes and better on one.
function paretoFront(rows, x, y) {
  const cost = (row, axis) => (QUANTITIES[axis].better === "low" ? row[axis] : -row[axis]);
  const beats = (one, other) =>
    cost(one, x) <= cost(other, x) && cost(one, y) <= cost(other, y)
    && (cost(one, x) < cost(other, x) || cost(one, y) < cost(other, y));
  return rows.filter((row) => !rows.some((other) => beats(other, row)));
}

// A logarithmic axis where the largest value is several times the smallest, with round ticks.
function axisOf(name, rows) {
  const { label, log } = QUANTITIES[name];
  const known = rows.map((row) => row[name]);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const linear = { zero: false, nice: false, padding: 24 };
  if (!log) return { scale: linear, axis: { title: label } };
  const axis = { title: label, format: "~s" };
  if (!(low > 0 && high / low >= LOG_FROM)) return { scale: linear, axis };
  const domain = [low / 1.25, high * 1.25];
  const steps = high / low < 20 ? [1, 1.5, 2, 3, 5, 7] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.log10(high) + 1; power += 1) {
    ticks.push(...steps.map((step) => step * 10 ** power));
  }
  const values = ticks.filter((tick) => tick >= domain[0] && tick <= domain[1]);
  axis.title += " (log scale)";
  return { scale: { type: "log", domain, nice: false }, axis: { ...axis, values } };
}

function nameOf(axis) {
  return QUANTITIES[axis].name ?? QUANTITIES[axis].label;
}

function describe(row, state) {
  const parts = [state.y, state.x].map((axis) =>
    `${nameOf(axis)} ${QUANTITIES[axis].format(row[axis])}`);
  return [`${row.model}, ${row.label}`, ...parts].join("; ");
}

function specification(rows, front, state, width) {
  const families = [...new Set(rows.map((row) => row.family))].sort();
  const [x, y] = [axisOf(state.x, rows), axisOf(state.y, rows)];
  const place = {
    x: { field: "x", type: "quantitative", ...x },
    y: { field: "y", type: "quantitative", ...y },
  };
  const look = (range) => ({
    field: "family", type: "nominal", scale: { domain: families, range }, title: "family",
  });
  const mixed = new Set(rows.map((row) => row.label)).size > 1;
  const values = rows.map((row) => ({
    id: row.id, x: row[state.x], y: row[state.y], family: row.family,
    name: mixed ? `${row.model} \u00b7 ${row.label}` : row.model,
    description: describe(row, state), front: front.includes(row),
  }));
  values.sort((one, other) => one.front - other.front); // the front is drawn on top
  const interpolate = QUANTITIES[state.x].better === "low" ? "step-after" : "step-before";
  return {
    data: { name: "rows", values },
    width, height: 420, autosize: { type: "fit", contains: "padding" }, background: null,
    layer: [
      {
        name: "front",
        transform: [{ filter: "datum.front" }],
        mark: { type: "line", interpolate, strokeDash: [5, 4], strokeWidth: 1.5, aria: false,
          color: css("--soft") },
        encoding: { ...place, order: { field: "x", type: "quantitative" } },
      },
      {
        name: "points",
        mark: { type: "point", filled: true, size: 150, strokeWidth: 1, opacity: 1 },
        encoding: {
          ...place,
          color: look(families.map(colour)),
          shape: look(families.map((family) => SYMBOLS[family])),
          stroke: { condition: { test: "datum.front", value: css("--ink") },
            value: css("--paper") },
          description: { field: "description", type: "nominal" },
          key: { field: "id", type: "nominal" },
        },
      },
    ],
    config: themeOfPlot(width < NARROW),
  };
}

function themeOfPlot(narrow) {
  const [ink, soft, grid, line] = ["--ink", "--soft", "--grid", "--line"].map(css);
  const font = getComputedStyle(document.body).fontFamily;
  return {
    font, view: { stroke: null },
    axis: { labelColor: soft, titleColor: ink, gridColor: grid, domainColor: line,
      tickColor: line, labelFontSize: 12, titleFontSize: 13, titleFontWeight: 600,
      tickCount: 8 },
    legend: { labelColor: ink, titleColor: soft, labelFontSize: 12, symbolSize: 110,
      symbolStrokeWidth: 0, symbolOpacity: 1,
      ...(narrow ? { orient: "bottom", columns: 3 } : {}) },
  };
}

// Names beside the points, where they cover nothing: Vega's label transform.
function withLabels(vega) {
  vega.marks.push({
    type: "text", name: "names", interactive: false, aria: false,
    from: { data: "points_marks" },
    encode: { enter: {
      text: { field: "datum.name" }, fill: { value: css("--soft") }, fontSize: { value: 11 },
    } },
    transform: [{
      type: "label", size: { signal: "[width, height]" }, avoidMarks: ["points_marks", "front_marks"],
      anchor: ["right", "left", "top", "bottom"], offset: [5],
    }],
  });
  return vega;
}

async function drawPlot(rows, state) {
  const turn = drawing += 1;
  const drawn = rows.filter((row) => row[state.x] !== null && row[state.y] !== null);
  const front = paretoFront(drawn, state.x, state.y);
  document.getElementById("plot-note").textContent = plotNote(rows, drawn, front, state);
  hideTip();
  const place = document.getElementById("plot");
  if (drawn.length === 0) {
    if (view) view.finalize();
    view = null;
    place.replaceChildren(element("p", { class: "empty" }, "Nothing to draw for these axes."));
    return;
  }
  const spec = specification(drawn, front, state, place.clientWidth);
  const target = element("div");
  const result = await window.vegaEmbed(target, spec, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, patch: withLabels,
    tooltip: false, hover: false, defaultStyle: false,
  });
  if (turn !== drawing) {
    result.finalize();
    return;
  }
  if (view) view.finalize();
  view = result;
  place.replaceChildren(target);
  makeReachable(target, state);
}

function plotNote(rows, drawn, front, state) {
  const texts = [];
  if (drawn.length > 1) {
    const good = (axis) => `${nameOf(axis)} `
      + (QUANTITIES[axis].better === "low" ? "down" : "up");
    texts.push(`Dashed and outlined: the Pareto front of the ${drawn.length} points shown, ${front.length} on `
      + `it (good is ${good(state.y)}, ${good(state.x)}).`);
  }
  const recipes = new Set(drawn.map((row) => row.label)).size;
  if (recipes > 1) {
    texts.push(`${recipes} recipes are mixed: longer training lowers ${TASK.metrics}. Choose one recipe `
      + "to compare like with like.");
  }
  if (drawn.length < rows.length) {
    texts.push(`Not drawn, for lack of a measurement: ${rows.length - drawn.length} of `
      + `${rows.length} rows.`);
  }
  return texts.join(" ");
}

// Points take the focus one at a time: Tab enters the plot, arrow keys move in it.
function makeReachable(target, state) {
  const svg = target.querySelector("svg");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", "Plot; arrow keys move between points");
  const points = [...svg.querySelectorAll(".mark-symbol.role-mark path")];
  points.sort((one, other) => datum(one).x - datum(other).x || datum(one).y - datum(other).y);
  points.forEach((point, index) => {
    const row = data.rows[datum(point).id];
    point.dataset.row = String(row.id);
    point.setAttribute("role", "button");
    point.setAttribute("tabindex", index === 0 ? "0" : "-1");
    point.addEventListener("pointerenter", () => showTip(point, row, state));
    point.addEventListener("pointerleave", hideTip);
    point.addEventListener("focus", () => showTip(point, row, state));
    point.addEventListener("blur", hideTip);
    point.addEventListener("click", () => goToRow(row));
    point.addEventListener("keydown", (event) => movePoint(event, points, index, row));
  });
}

function datum(point) {
  return point.__data__.datum;
}

function movePoint(event, points, index, row) {
  const last = points.length - 1;
  const next = {
    ArrowRight: Math.min(index + 1, last), ArrowDown: Math.min(index + 1, last),
    ArrowLeft: Math.max(index - 1, 0), ArrowUp: Math.max(index - 1, 0),
    Home: 0, End: last,
  }[event.key];
  if (next !== undefined) {
    points[index].setAttribute("tabindex", "-1");
    points[next].setAttribute("tabindex", "0");
    points[next].focus();
  } else if (event.key === "Enter" || event.key === " ") {
    goToRow(row);
  } else if (event.key === "Escape") {
    hideTip();
  } else {
    return;
  }
  event.preventDefault();
}

function showTip(point, row, state) {
  const tip = document.getElementById("tip");
  const lines = [row.label, `test ${TASK.metric} ${errorText(row)} (n = ${row.n})`];
  if (row.difference !== null) lines.push(`${differenceText(row)} ${TASK.difference} above ${row.pair}`);
  for (const axis of [state.y, state.x]) {
    if (axis === "mean" || axis === "difference") continue;
    lines.push(`${QUANTITIES[axis].label} ${QUANTITIES[axis].format(row[axis])}`);
  }
  tip.replaceChildren(element("b", {}, row.model),
    ...lines.map((line) => element("span", {}, line)));
  tip.hidden = false;
  const area = document.getElementById("plot-area").getBoundingClientRect();
  const box = point.getBoundingClientRect();
  const right = box.right - area.left + 8;
  const fits = right + tip.offsetWidth <= area.width;
  tip.style.left = `${Math.max(0, fits ? right : box.left - area.left - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.max(0, box.top - area.top - tip.offsetHeight / 2)}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}

// The look of a family beside its name in the table and in the filter.
function swatch(family) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["viewBox", "-1 -1 2 2"], ["class", "swatch"],
    ["aria-hidden", "true"], ["data-family", family]]) svg.setAttribute(name, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", SYMBOL_PATHS[SYMBOLS[family]] ?? SYMBOLS[family]);
  path.setAttribute("fill", colour(family));
  svg.append(path);
  return svg;
}

const SYMBOL_PATHS = {
  circle: "M-.8,0a.8,.8,0,1,1,1.6,0a.8,.8,0,1,1,-1.6,0Z",
  square: "M-.75,-.75H.75V.75H-.75Z",
  diamond: "M0,-1L.8,0L0,1L-.8,0Z",
  cross: "M-.9,-.3H-.3V-.9H.3V-.3H.9V.3H.3V.9H-.3V.3H-.9Z",
  "triangle-up": "M0,-.9L.9,.75H-.9Z",
  "triangle-down": "M0,.9L.9,-.75H-.9Z",
  "triangle-right": "M.9,0L-.75,.9V-.9Z",
  "triangle-left": "M-.9,0L.75,.9V-.9Z",
};
