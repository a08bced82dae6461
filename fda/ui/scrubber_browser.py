"""The browser's half of `scrubber.py`: its style, its markup and its script."""

from fda.ui.slider import CSS as SLIDER_CSS

CSS = (
    SLIDER_CSS
    + """
.fda-scrubber .dials { display: flex; flex-wrap: wrap; gap: 0.25rem 1.5rem; position: sticky; top: 3.4rem; z-index: 9;
  background: var(--st-background-color); padding: 0.35rem 0 0.25rem; border-bottom: 1px solid var(--st-border-color); }
.fda-scrubber .dials > div { flex: 1 1 15rem; display: flex; gap: 0.6rem; align-items: center; min-width: 0; }
.fda-scrubber .fda-slider { flex: 1; min-width: 0; }
.fda-scrubber button { border: 1px solid var(--st-border-color); border-radius: 0.4rem; background: transparent;
  color: inherit; font: inherit; font-size: 0.85rem; padding: 0.2rem 0.6rem; cursor: pointer; white-space: nowrap; }
.fda-scrubber button:hover { border-color: var(--st-primary-color); }
.fda-scrubber button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.fda-scrubber > [hidden] { display: none; }
.fda-scrubber .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem;
  margin-top: 0.5rem; }
.fda-scrubber .figures > div { min-width: 0; }
.fda-scrubber .readings { overflow-x: auto; }
.fda-scrubber table { border-collapse: collapse; font-size: 0.85rem; margin-top: 0.5rem; font-variant-numeric: tabular-nums;
  color: var(--st-text-color); }
.fda-scrubber th, .fda-scrubber td { padding: 0.15rem 1rem 0.15rem 0; text-align: left; white-space: nowrap; border: 0;
  font-weight: 400; }
.fda-scrubber thead th { opacity: 0.75; border-bottom: 1px solid var(--st-border-color); }
.fda-scrubber tbody th { font-weight: 600; }
.fda-scrubber .cards { display: flex; flex-wrap: wrap; gap: 0.75rem; margin-top: 0.5rem; min-height: 7.5rem; }
.fda-scrubber .card { margin: 0; max-width: 15rem; font-size: 0.8rem; line-height: 1.3; color: var(--st-text-color); }
.fda-scrubber .card > div { border-radius: 0.3rem; image-rendering: pixelated; background-repeat: no-repeat; }
.fda-scrubber .card blockquote { margin: 0; padding: 0.4rem 0.6rem; border-left: 3px solid var(--st-primary-color); }
.fda-scrubber .card.pointed { border-left: 2px dashed var(--st-primary-color); padding-left: 0.75rem; }
"""
)

HTML = """<div class="fda-scrubber" style="color: var(--st-text-color); font-family: var(--st-font)">
<div class="dials"></div><div class="readings"></div><div class="cards" aria-live="polite"></div><div class="figures"></div>
</div>
"""

# A position is the browser's own once the figures stand; data that come later keep it where its choice is still there.
JS = r"""
const states = new WeakMap();
const PACE = 350;  // milliseconds a step while playing
const REST = 250;  // without a move before figures out of sight follow

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function put(spec, path, value) {
  const parts = path.match(/[^.\[\]]+/g);
  const last = parts.pop();
  let place = spec;
  for (const part of parts) place = place[part] ??= {};
  place[last] = value;
}

function draw(state, rested = false) {
  state.asked = false;
  if (!state.root.isConnected) return;
  if (!window.Plotly) {
    window.addEventListener(READY, () => ask(state), { once: true });
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
      waiting = true;  // out of sight: when the slider rests
      continue;
    }
    figure.stale = false;
    figure.drawn = true;
    figure.config.modeBarButtonsToAdd = [svgButton()];
    window.Plotly.react(figure.root, figure.data, figure.layout, figure.config);
    if (!figure.root.listens) listen(state, figure);
  }
  if (waiting) state.later = setTimeout(() => draw(state, true), REST);
  readings(state);
  cards(state);
}

function ask(state) {
  if (state.asked) return;
  state.asked = true;
  requestAnimationFrame(() => draw(state));
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
  const told = state.spec.readings;
  if (!told) return;
  const cells = told.cells[state.at[told.dial] ?? 0];
  const rows = state.root.querySelectorAll(".readings tbody tr");
  cells.forEach((row, line) => row.forEach((text, column) => { rows[line].children[column + 1].textContent = text; }));
}

function card(spec, place, caption, pointed) {
  const made = element("figure", { class: "card" + (pointed ? " pointed" : "") });
  if (spec.sheet) {
    const { source, columns, rows, width, height } = spec.sheet;
    const size = spec.sheet.shown;
    const image = element("div", { role: "img", "aria-label": caption });
    Object.assign(image.style, {
      width: size * width / Math.max(width, height) + "px", height: size * height / Math.max(width, height) + "px",
      backgroundImage: `url(${source})`, backgroundSize: `${100 * columns}% ${100 * rows}%`,
      backgroundPosition: `${columns > 1 ? 100 * (place % columns) / (columns - 1) : 0}% ` +
        `${rows > 1 ? 100 * Math.floor(place / columns) / (rows - 1) : 0}%`,
    });
    made.append(image);
  } else {
    made.append(element("blockquote", {}, spec.texts[place]));
  }
  made.append(element("figcaption", {}, caption));
  return made;
}

function cards(state) {
  const spec = state.spec.cards;
  if (!spec) return;
  const place = state.root.querySelector(".cards");
  const shown = spec.sets[state.at[spec.dial] ?? 0].map(([one, caption]) => card(spec, one, caption, false));
  if (state.pointed !== null) shown.push(card(spec, state.pointed, "pointed at: " + spec.names[state.pointed], true));
  place.replaceChildren(...shown);
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

function build(state) {
  const { root, spec } = state;
  const dials = root.querySelector(".dials");
  state.widgets = {};
  dials.replaceChildren(...Object.entries(spec.dials).map(([name, dial]) => {
    const row = element("div");
    const box = element("div", { class: "fda-slider" });
    const label = element("label");
    const output = element("output");
    label.append(element("span", {}, dial.label), output);
    const input = element("input", { type: "range", min: 0, step: 1, max: dial.choices.length - 1,
      "aria-label": dial.label + ": " + dial.told });
    box.append(label, input, element("small", {}, dial.told));
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
  }));
  const told = root.querySelector(".readings");
  told.replaceChildren();
  if (spec.readings) {
    const table = element("table");
    const head = element("tr");
    head.append(...["", ...spec.readings.columns].map((text) => element("th", { scope: "col" }, text)));
    const body = element("tbody");
    for (const name of spec.readings.rows) {
      const row = element("tr");
      row.append(element("th", { scope: "row" }, name), ...spec.readings.columns.map(() => element("td")));
      body.append(row);
    }
    const top = element("thead");
    top.append(head);
    table.append(top, body);
    told.append(table);
  }
  const grid = root.querySelector(".figures");
  const old = new Map(state.figures.map((figure) => [figure.name, figure]));
  state.figures = spec.figures.map(({ name, alt, figure, moves }) => {
    const made = { name, moves, ...figure, drawn: false, stale: true };
    made.root = old.get(name)?.root ?? element("div", { class: "fda-figure", role: "figure" });
    old.delete(name);
    made.root.setAttribute("aria-label", alt);
    made.root.style.height = figure.layout.height + "px";
    made.config = { ...spec.config,
      toImageButtonOptions: { format: "png", scale: 2, filename: "fda-" + name.toLowerCase().replace(/\W+/g, "-") } };
    for (const trace of made.data) trace.uid = trace.uid?.replace(/[^\w-]/g, (letter) => "_" + letter.charCodeAt(0));
    if (window.matchMedia("(pointer: coarse)").matches) made.layout.dragmode = false;
    return made;
  });
  for (const gone of old.values()) {
    if (window.Plotly && gone.root._fullLayout) window.Plotly.purge(gone.root);
    gone.root.remove();
  }
  for (const figure of state.figures) {
    if (figure.root.parentElement !== grid) grid.append(figure.root);
    state.observer.observe(figure.root);
  }
  dials.hidden = !dials.children.length;
  root.querySelector(".cards").hidden = !spec.cards;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-scrubber");
  let state = states.get(root);
  if (!state) {
    state = { root, shown: null, spec: null, at: {}, figures: [], widgets: {}, asked: false, later: 0, playing: null,
      pointed: null };
    state.observer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        if (target._fullLayout && window.Plotly && target.offsetWidth) window.Plotly.Plots.resize(target);
      }
    });
    states.set(root, state);
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
      const place = dial.choices.indexOf(kept);
      go(state, name, last ? dial.choices.length - 1 : place >= 0 ? place : data.at[name] ?? 0);
    }
    state.settled = JSON.stringify(state.at);
    ask(state);
  }
  return () => {
    if (state.playing) clearInterval(state.playing.timer);
    clearTimeout(state.later);
    state.observer.disconnect();
    for (const { root: one } of state.figures) if (window.Plotly && one._fullLayout) window.Plotly.purge(one);
    states.delete(root);
  };
}
"""
