// The controls, and the order of things: state -> fragment, table and plot.

let state = readFragment(window.location.hash);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function byId(id) {
  return document.getElementById(id);
}

function show() {
  const chosen = state.theme === "system" ? (dark.matches ? "dark" : "light") : state.theme;
  const changed = document.documentElement.dataset.theme !== chosen;
  document.documentElement.dataset.theme = chosen;
  if (changed) makeChoices();
  fillControls();
  const rows = shownRows(state);
  const runs = rows.reduce((sum, row) => sum + row.runs.length, 0);
  byId("count").textContent = `${rows.length} of ${data.rows.length} rows, ${runs} runs`;
  markOrder(state);
  fillTable(rows);
  drawPlot(rows, state);
}

// After a change by the user: the fragment follows.
function change(changes) {
  Object.assign(state, changes);
  const fragment = fragmentOf(state);
  const { pathname, search } = window.location;
  window.history.replaceState(null, "", fragment ? `#${fragment}` : pathname + search);
  show();
}

function makeChoices() {
  for (const filter of Object.keys(CHOICES)) {
    const labels = OPTIONS[filter].map((value) => choice(filter, value));
    byId(filter).replaceChildren(...labels);
    byId(filter).closest("fieldset").hidden = labels.length < 2;
  }
}

function choice(filter, value) {
  const box = element("input", { type: "checkbox", name: filter, value });
  box.addEventListener("change", () => {
    const chosen = new Set(state[filter]);
    if (box.checked) chosen.add(value);
    else chosen.delete(value);
    change({ [filter]: chosen });
  });
  const count = data.rows.filter((row) => valuesOf(row, filter).includes(value)).length;
  const look = filter === "family" ? [swatch(value), " "] : [];
  return element("label", {}, box, " ", ...look, value, " ", element("small", {}, String(count)));
}

function fillControls() {
  for (const box of document.querySelectorAll("#filters input[type=checkbox]")) {
    box.checked = state[box.name].has(box.value);
  }
  for (const id of ["x", "y", "theme"]) byId(id).value = state[id];
  const texts = { model: state.model, min: state.min ?? "", max: state.max ?? "" };
  for (const [id, text] of Object.entries(texts)) {
    if (document.activeElement !== byId(id)) byId(id).value = text;
  }
}

function listen() {
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("model").addEventListener("input", () => change({ model: byId("model").value }));
  for (const end of ["min", "max"]) {
    byId(end).addEventListener("input", () => change({ [end]: limit(byId(end).value) }));
  }
  for (const [axis, other] of [["x", "y"], ["y", "x"]]) {
    byId(axis).addEventListener("change", () => {
      const name = byId(axis).value;
      const swapped = name === state[other] ? { [other]: state[axis] } : {};
      change({ [axis]: name, ...swapped });
    });
  }
  byId("theme").addEventListener("change", () => change({ theme: byId("theme").value }));
  byId("reset").addEventListener("click", () => {
    for (const id of ["model", "min", "max"]) byId(id).value = "";
    change({ ...initialState(), theme: state.theme });
  });
  byId("copy").addEventListener("click", copyLink);
  window.addEventListener("hashchange", () => {
    state = readFragment(window.location.hash);
    show();
  });
  dark.addEventListener("change", show);
  let waiting = 0;
  window.addEventListener("resize", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(() => drawPlot(shownRows(state), state), 150);
  });
}

async function copyLink() {
  const said = byId("copy").textContent;
  try {
    await navigator.clipboard.writeText(window.location.href);
    byId("copy").textContent = "Copied";
  } catch {
    byId("copy").textContent = "Not allowed here: copy the address bar";
  }
  window.setTimeout(() => { byId("copy").textContent = said; }, 2000);
}

function sortBy(key) {
  const again = state.sort === key;
  change({ sort: key, descending: again ? !state.descending : HIGH_FIRST.has(key) });
}

for (const axis of ["x", "y"]) {
  byId(axis).append(...AXES.map((name) =>
    element("option", { value: name }, QUANTITIES[name].label)));
}
byId("summary").textContent = data.summary;
byId("notes").append(...data.notes.map((note) => element("p", {}, note)));
makeHeadings(sortBy);
listen();
show();
