// Figures that follow sliders. Once shown, only the browser knows the positions; new data keep a position while its choice
// still exists.

const ALONE = 0.78; // share of the window's height that a single figure takes at least
const states = new WeakMap();
const PACE = 350; // milliseconds per step while playing
const REST = 250; // milliseconds without a move before figures out of sight follow

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function put(spec, path, value) {
  const parts = path.match(/[^.\[\]]+/g);
  const last = parts.pop();
  let target = spec;
  for (const part of parts) target = target[part] ??= {};
  target[last] = value;
}

function drawStale(state, rested = false) {
  state.asked = false;
  if (!state.root.isConnected) return;
  if (!window.Plotly) {
    window.addEventListener(PLOTLY_READY, () => ask(state), { once: true });
    return;
  }
  clearTimeout(state.later);
  let waiting = false;
  for (const figure of state.figures) {
    for (const move of figure.moves) {
      const at = state.at[move.dial] ?? 0;
      if (move.at === at) continue;
      move.at = at;
      figure.stale = true;
      put(figure, move.path, move.values[at]);
    }
    if (!figure.stale) continue;
    const { top, bottom } = figure.root.getBoundingClientRect();
    if (figure.drawn && !rested && (bottom < 0 || top > window.innerHeight)) {
      waiting = true; // out of sight: drawn when the slider rests
      continue;
    }
    figure.stale = false;
    figure.drawn = true;
    draw(figure.root, figure);
    if (!figure.root.listens) listen(state, figure);
  }
  if (waiting) state.later = setTimeout(() => drawStale(state, true), REST);
  readings(state);
  cards(state);
}

function ask(state) {
  if (state.asked) return;
  state.asked = true;
  requestAnimationFrame(() => drawStale(state));
}

function listen(state, figure) {
  figure.root.listens = true;
  const role = (point) => state.spec.points?.[point.data.uid];
  figure.root.on("plotly_click", ({ points }) => {
    const dial = role(points[0])?.dial;
    if (dial) { go(state, dial, points[0].pointNumber); settle(state); }
  });
  figure.root.on("plotly_hover", ({ points }) => {
    if (role(points[0])?.card) { state.pointed = points[0].pointNumber; cards(state); }
  });
}

function readings(state) {
  const spec = state.spec.readings;
  if (!spec) return;
  const cells = spec.cells[state.at[spec.dial] ?? 0];
  const rows = state.root.querySelectorAll(".readings tbody tr");
  cells.forEach((row, line) => row.forEach((text, column) => { rows[line].children[column + 1].textContent = text; }));
}

function card(spec, index, caption, pointed) {
  const made = element("figure", { class: "card" + (pointed ? " pointed" : "") });
  if (spec.sheet) {
    const { source, columns, rows, width, height } = spec.sheet;
    const size = spec.sheet.shown;
    const image = element("div", { role: "img", "aria-label": caption });
    Object.assign(image.style, {
      width: size * width / Math.max(width, height) + "px", height: size * height / Math.max(width, height) + "px",
      backgroundImage: `url(${source})`, backgroundSize: `${100 * columns}% ${100 * rows}%`,
      backgroundPosition: `${columns > 1 ? 100 * (index % columns) / (columns - 1) : 0}% ` +
        `${rows > 1 ? 100 * Math.floor(index / columns) / (rows - 1) : 0}%`,
    });
    made.append(image);
  } else {
    made.append(element("blockquote", {}, spec.texts[index]));
  }
  made.append(element("figcaption", {}, caption));
  return made;
}

function cards(state) {
  const spec = state.spec.cards;
  if (!spec) return;
  const shown = spec.sets[state.at[spec.dial] ?? 0].map(([one, caption]) => card(spec, one, caption, false));
  if (state.pointed !== null) shown.push(card(spec, state.pointed, "pointed at: " + spec.names[state.pointed], true));
  state.root.querySelector(".cards").replaceChildren(...shown);
}

function go(state, dial, position) {
  const choices = state.spec.dials[dial].choices;
  state.at[dial] = Math.max(0, Math.min(choices.length - 1, position));
  const { input, output } = state.widgets[dial];
  input.value = state.at[dial];
  output.textContent = choices[state.at[dial]];
  input.style.setProperty("--fill", (100 * state.at[dial]) / Math.max(1, choices.length - 1) + "%");
  input.setAttribute("aria-valuetext", choices[state.at[dial]]);
  ask(state);
}

function settle(state) {
  const text = JSON.stringify(state.at);
  if (text === state.settled) return;
  state.settled = text;
  state.trigger("settled", { ...state.at });
}

function halt(state) {
  if (!state.playing) return;
  clearInterval(state.playing.timer);
  state.playing.button.textContent = "▶ Play";
  state.playing = null;
  settle(state);
}

function play(state, dial, button) {
  if (state.playing) return halt(state);
  const last = state.spec.dials[dial].choices.length - 1;
  if (state.at[dial] >= last) go(state, dial, 0);
  button.textContent = "❚❚ Pause";
  const timer = setInterval(() => {
    go(state, dial, state.at[dial] + 1);
    if (state.at[dial] >= last) halt(state);
  }, PACE);
  state.playing = { timer, button };
}

function buildDial(state, name, dial) {
  const row = element("div");
  const box = element("div", { class: "fda-slider" });
  const label = element("label");
  const output = element("output");
  label.append(element("span", {}, dial.label), output);
  const input = element("input", { type: "range", min: 0, step: 1, max: dial.choices.length - 1,
    "aria-label": dial.label + ": " + dial.hint });
  box.append(label, input, element("small", {}, dial.hint));
  input.addEventListener("input", () => { halt(state); go(state, name, Number(input.value)); });
  input.addEventListener("change", () => settle(state));
  state.widgets[name] = { input, output };
  if (dial.plays && dial.choices.length > 1) {
    const button = element("button", { type: "button", "aria-label": "Play or pause along " + dial.label }, "▶ Play");
    button.addEventListener("click", () => play(state, name, button));
    row.append(button);
  }
  row.append(box);
  return row;
}

function buildTable({ columns, rows }) {
  const table = element("table");
  const head = element("thead");
  const titles = element("tr");
  titles.append(...["", ...columns].map((text) => element("th", { scope: "col" }, text)));
  head.append(titles);
  const body = element("tbody");
  for (const name of rows) {
    const row = element("tr");
    row.append(element("th", { scope: "row" }, name), ...columns.map(() => element("td")));
    body.append(row);
  }
  table.append(head, body);
  return table;
}

// Sets the heights of figures, again in a window of another size.
function fit(state) {
  const share = state.figures.length === 1 ? ALONE : 0;
  for (const figure of state.figures) {
    figure.layout.height = filled(figure.own, share);
    figure.root.style.height = figure.layout.height + "px"; // a drawn figure follows its element
  }
}

// Figures keep their element, by name, so that they update in place.
function buildFigures(state) {
  const grid = state.root.querySelector(".figures");
  const old = new Map(state.figures.map((figure) => [figure.name, figure.root]));
  state.figures = state.spec.figures.map(({ name, alt, figure, moves }) => {
    const root = old.get(name) ?? element("div", { class: "fda-figure", role: "figure" });
    old.delete(name);
    root.setAttribute("aria-label", alt);
    const own = figure.layout.height;
    const filename = "fda-" + name.toLowerCase().replace(/\W+/g, "-");
    const config = { ...state.spec.config, toImageButtonOptions: { format: "png", scale: 2, filename } };
    prepare(figure);
    return { name, root, own, moves, ...figure, config, drawn: false, stale: true };
  });
  fit(state);
  for (const root of old.values()) {
    purge(root);
    root.remove();
  }
  for (const { root } of state.figures) {
    if (root.parentElement !== grid) grid.append(root);
    state.resize.observe(root);
  }
}

function build(state) {
  const { root, spec } = state;
  state.widgets = {};
  const dials = root.querySelector(".dials");
  dials.replaceChildren(...Object.entries(spec.dials).map(([name, dial]) => buildDial(state, name, dial)));
  dials.hidden = !dials.children.length;
  root.querySelector(".readings").replaceChildren(...(spec.readings ? [buildTable(spec.readings)] : []));
  root.querySelector(".cards").hidden = !spec.cards;
  buildFigures(state);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-scrubber");
  let state = states.get(root);
  if (!state) {
    state = { root, shown: null, spec: null, at: {}, figures: [], widgets: {}, asked: false, later: 0, playing: null,
      pointed: null, resize: resizeObserver() };
    states.set(root, state);
    state.refit = () => fit(state);
    window.addEventListener("resize", state.refit);
  }
  state.trigger = setTriggerValue;
  if (data.spec !== state.shown) {
    const before = state.spec;
    halt(state);
    state.shown = data.spec;
    state.spec = JSON.parse(data.spec);
    state.pointed = null;
    build(state);
    for (const [name, dial] of Object.entries(state.spec.dials)) {
      const kept = before?.dials[name]?.choices[state.at[name]];
      const last = before && state.at[name] === before.dials[name]?.choices.length - 1;
      const position = dial.choices.indexOf(kept);
      go(state, name, last ? dial.choices.length - 1 : position >= 0 ? position : data.at[name] ?? 0);
    }
    state.settled = JSON.stringify(state.at);
    ask(state);
  }
  return () => {
    if (state.playing) clearInterval(state.playing.timer);
    clearTimeout(state.later);
    window.removeEventListener("resize", state.refit);
    state.resize.disconnect();
    for (const figure of state.figures) purge(figure.root);
    states.delete(root);
  };
}
