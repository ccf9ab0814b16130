// What is shown: filters, order, axes and theme. The URL's fragment holds it.

const data = JSON.parse(document.getElementById("data").textContent);
data.rows.forEach((row, index) => { row.id = index; });
const TASK = data.task; // its words and units

const QUANTITIES = {
  mean: {
    name: `test ${TASK.metric}`, label: `test ${TASK.axis}`, better: "low",
    format: (value) => inUnit(value),
  },
  difference: {
    label: `${TASK.difference} above the plain pair`, better: "low",
    format: (value) => signed(value),
  },
  params: { label: "parameters", better: "low", log: true, format: (value) => whole(value) },
  flops_per_image: { label: TASK.flops, better: "low", log: true, format: (value) => si(value) },
  images_per_s: {
    label: `training ${TASK.speed}`, better: "high", log: true, format: (value) => whole(value),
  },
  weight_bytes: {
    label: "bytes of the weights", better: "low", log: true, format: (value) => si(value, "B"),
  },
};
const AXES = Object.keys(QUANTITIES).filter((name) =>
  data.rows.some((row) => row[name] !== null));
const CHOICES = { recipe: "label", family: "family", device: "devices" };
const THEMES = ["system", "light", "dark"];

// The values of a row that a filter looks at: a run of one row may be on several devices.
function valuesOf(row, filter) {
  return [row[CHOICES[filter]]].flat().filter((value) => value !== null);
}

const OPTIONS = Object.fromEntries(Object.keys(CHOICES).map((filter) => {
  const values = data.rows.flatMap((row) => valuesOf(row, filter));
  return [filter, [...new Set(values)].sort()];
}));

function initialState() {
  return {
    recipe: new Set(), family: new Set(), device: new Set(), // nothing chosen: everything is shown
    model: "", min: null, max: null,
    sort: "mean", descending: false,
    x: "params", y: "mean",
    theme: "system",
  };
}

function limit(text) {
  const value = Number(text);
  return text !== null && text.trim() !== "" && Number.isFinite(value) && value >= 0 ? value : null;
}

// What a fragment says; unknown keys and values are passed over.
function readFragment(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = initialState();
  for (const filter of Object.keys(CHOICES)) {
    const known = given.getAll(filter).filter((value) => OPTIONS[filter].includes(value));
    state[filter] = new Set(known);
  }
  state.model = given.get("model") ?? "";
  state.min = limit(given.get("min"));
  state.max = limit(given.get("max"));
  const sort = given.get("sort") ?? "";
  const key = sort.replace(/^-/, "");
  if (COLUMNS.some((column) => column.key === key)) {
    state.sort = key;
    state.descending = sort.startsWith("-");
  }
  const axes = [given.get("x") ?? state.x, given.get("y") ?? state.y];
  if (axes.every((axis) => AXES.includes(axis)) && axes[0] !== axes[1]) {
    [state.x, state.y] = axes;
  }
  if (THEMES.includes(given.get("theme"))) state.theme = given.get("theme");
  return state;
}

// The fragment of a state: only what differs from the initial one.
function fragmentOf(state) {
  const fresh = initialState();
  const parts = new URLSearchParams();
  for (const filter of Object.keys(CHOICES)) {
    for (const value of state[filter]) parts.append(filter, value);
  }
  if (state.model) parts.set("model", state.model);
  for (const end of ["min", "max"]) {
    if (state[end] !== null) parts.set(end, String(state[end]));
  }
  const sort = (state.descending ? "-" : "") + state.sort;
  if (sort !== fresh.sort) parts.set("sort", sort);
  for (const key of ["x", "y", "theme"]) {
    if (state[key] !== fresh[key]) parts.set(key, state[key]);
  }
  return parts.toString();
}

// The rows that the filters leave, in the order of the table; unknown values come last.
function shownRows(state) {
  const part = state.model.trim().toLowerCase();
  const rows = data.rows.filter((row) =>
    Object.keys(CHOICES).every((filter) =>
      state[filter].size === 0
      || valuesOf(row, filter).some((value) => state[filter].has(value)))
    && row.model.toLowerCase().includes(part)
    && (state.min === null || (row.params !== null && row.params >= state.min))
    && (state.max === null || (row.params !== null && row.params <= state.max)));
  return rows.sort((one, other) => compare(one[state.sort], other[state.sort], state.descending));
}

function compare(one, other, descending) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "string" ? one.localeCompare(other, "en") : one - other;
  return descending ? -order : order;
}

// Numbers as text; a missing one is a dash.

const DASH = "\u2013";

function fixed(value, digits) {
  return value === null ? DASH : value.toFixed(digits).replace("-", "\u2212");
}

function signed(value) {
  if (value === null) return DASH;
  return (value >= 0 ? "+" : "") + fixed(value, TASK.digits);
}

// A value of the task's metric.
function inUnit(value) {
  return value === null ? DASH : fixed(value, TASK.digits) + TASK.unit;
}

function whole(value) {
  return value === null ? DASH : Math.round(value).toLocaleString("en");
}

// A number of things, of which there may be a part.
function part(value) {
  return value === null || value >= 10 ? whole(value) : String(Number(value.toPrecision(2)));
}

function si(value, unit = "") {
  if (value === null) return DASH;
  const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  const text = String(Number((value / 1000 ** power).toPrecision(3)));
  return `${text} ${["", "k", "M", "G", "T"][power]}${unit}`.trim();
}

function duration(seconds) {
  if (seconds === null) return DASH;
  if (seconds < 100) return `${fixed(seconds, 0)} s`;
  return seconds < 6000 ? `${fixed(seconds / 60, 0)} min` : `${fixed(seconds / 3600, 1)} h`;
}
