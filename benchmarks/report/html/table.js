// The ranked table: a row a model and recipe, and below it, once opened, its runs.

const COLUMNS = [
  { key: "family", title: "family" },
  { key: "model", title: "model", name: true },
  { key: "label", title: "recipe" },
  { key: "mean", title: `test ${TASK.metric}`, number: errorText },
  { key: "n", title: "seeds", number: (row) => whole(row.n) },
  { key: "difference", title: QUANTITIES.difference.label, number: differenceText },
  { key: "published_difference", title: "\u2026 as published", number: (row) =>
    signed(row.published_difference) },
  { key: "params", title: "parameters", number: (row) => whole(row.params) },
  { key: "weight_bytes", title: "weights", number: (row) => si(row.weight_bytes, "B") },
  { key: "flops_per_image", title: TASK.flops, number: (row) => si(row.flops_per_image) },
  { key: "images_per_s", title: QUANTITIES.images_per_s.label, number: (row) => whole(row.images_per_s) },
  { key: "train_seconds", title: "training time", number: (row) => duration(row.train_seconds) },
  { key: "epochs", title: "epochs", number: (row) => part(row.epochs) },
  { key: "published_error", title: `published ${TASK.metric}`, number: (row) =>
    inUnit(row.published_error) },
  { key: "pair", title: "pair" },
  { key: "device", title: "device", wide: true },
];
const HIGH_FIRST = new Set(["images_per_s", "n", "epochs"]);
const RUN_HEADINGS = [
  "seed", `test ${TASK.metric}`, "training time", TASK.speed, "precision", "device", "torch",
  "status",
];

function errorText(row) {
  if (row.mean === null) return row.statuses;
  if (row.std === null) return inUnit(row.mean);
  return `${fixed(row.mean, TASK.digits)} \u00b1 ${inUnit(row.std)}`;
}

function differenceText(row) {
  let text = signed(row.difference);
  if (row.difference_low !== null) {
    text += ` [${signed(row.difference_low)}, ${signed(row.difference_high)}]`;
  }
  return row.difference !== null && row.seeds !== row.n ? `${text} (n = ${row.seeds})` : text;
}

// An element. Text is always text: nothing from a record is read as HTML.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A column without any value is left out.
const SHOWN_COLUMNS = COLUMNS.filter((column) =>
  data.rows.some((row) => row[column.key] !== null && row[column.key] !== ""));
const opened = new Set();

function makeHeadings(onSort) {
  const headings = SHOWN_COLUMNS.map((column) => {
    const button = element("button", { type: "button" }, column.title);
    button.addEventListener("click", () => onSort(column.key));
    const kind = column.number ? "number" : "text";
    return element("th", { scope: "col", class: kind, "data-key": column.key }, button);
  });
  const rank = element("th", { scope: "col", class: "rank number" }, "#");
  document.querySelector("#table thead tr").replaceChildren(rank, ...headings);
}

function markOrder(state) {
  for (const heading of document.querySelectorAll("#table thead th[data-key]")) {
    const order = state.descending ? "descending" : "ascending";
    heading.setAttribute("aria-sort", heading.dataset.key === state.sort ? order : "none");
  }
}

function fillTable(rows) {
  const body = document.querySelector("#table tbody");
  const parts = rows.flatMap((row, place) => {
    const line = tableRow(row, place + 1);
    return opened.has(row.id) ? [line, seedsRow(row)] : [line];
  });
  if (rows.length === 0) {
    const span = String(SHOWN_COLUMNS.length + 1);
    const text = "No row fits these filters; Reset shows all.";
    parts.push(element("tr", {}, element("td", { colspan: span, class: "empty" }, text)));
  }
  body.replaceChildren(...parts);
}

function tableRow(row, rank) {
  const cells = SHOWN_COLUMNS.map((column) => cell(row, column));
  const state = opened.has(row.id) ? "row open" : "row";
  const line = element("tr", { class: state, id: `row-${row.id}` },
    element("td", { class: "number" }, String(rank)), ...cells);
  line.addEventListener("click", (event) => {
    const selecting = String(window.getSelection()) !== "";
    if (!selecting || event.target.closest("button")) toggle(row);
  });
  return line;
}

function cell(row, column) {
  if (column.name) {
    const open = String(opened.has(row.id));
    const button = element("button", { type: "button", "aria-expanded": open }, row.model);
    return element("th", { scope: "row" }, button, row.marks ? ` ${row.marks}` : "");
  }
  if (column.number) return element("td", { class: "number" }, column.number(row));
  const text = row[column.key] ?? DASH;
  if (column.key === "family") return element("td", {}, swatch(row.family), ` ${text}`);
  return element("td", column.wide ? { class: "wide", title: text } : {}, text);
}

// The runs of a row, seed by seed.
function seedsRow(row) {
  const lines = row.runs.map((run) => {
    const cells = [
      inUnit(run.test_error), duration(run.train_seconds), whole(run.train_images_per_s),
      run.precision ?? DASH, run.device ?? DASH, run.torch ?? DASH,
    ].map((text) => element("td", {}, text));
    const status = run.reason ? `${run.status}: ${run.reason}` : run.status;
    cells.push(element("td", { class: "reason" }, status));
    return element("tr", {}, element("th", { scope: "row" }, String(run.seed)), ...cells);
  });
  const headings = RUN_HEADINGS.map((title) => element("th", { scope: "col" }, title));
  const table = element("table", { "aria-label": `Runs of ${row.model}, ${row.label}` },
    element("thead", {}, element("tr", {}, ...headings)), element("tbody", {}, ...lines));
  const span = String(SHOWN_COLUMNS.length + 1);
  return element("tr", { class: "seeds" }, element("td", { colspan: span }, table));
}

function toggle(row) {
  const line = document.getElementById(`row-${row.id}`);
  const open = !opened.has(row.id);
  if (open) {
    opened.add(row.id);
    line.after(seedsRow(row));
  } else {
    opened.delete(row.id);
    line.nextElementSibling.remove();
  }
  line.classList.toggle("open", open);
  line.querySelector("th button").setAttribute("aria-expanded", String(open));
}

// From a point of the plot to its row, opened.
function goToRow(row) {
  if (!opened.has(row.id)) toggle(row);
  const button = document.querySelector(`#row-${row.id} th button`);
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "center", inline: "nearest" });
}
