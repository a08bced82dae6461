// Plays a recording: loss curves, paths through the landscape and scores follow one time, which runs or is dragged. All is SVG,
// but for the landscape's colours on a canvas. A recording may come from a stranger: its texts are only ever set as text.

const states = new WeakMap();
const SVG = "http://www.w3.org/2000/svg";
const DASHES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3" };
const MARGIN = { left: 38, right: 8, top: 6, bottom: 22 }; // pixels around the loss curves
const ROWS = { least: 22, most: 38 }; // pixels: height of a row of scores
const LONGEST_FRAME = 100; // milliseconds: a hidden tab does not run ahead
let count = 0; // for unique ids

const clamp = (value) => Math.max(0, Math.min(1, value));

function svg(parent, tag, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

function html(parent, tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}

// The entry of a list at a fractional index.
function between(values, at) {
  const low = Math.min(values.length - 1, Math.floor(at));
  const high = Math.min(values.length - 1, low + 1);
  return values[low] + (at - low) * (values[high] - values[low]);
}

// loss curves ------------------------------------------------------------------------------------------------------

function buildLoss(state) {
  const { steps, tasks } = state.scene;
  const section = state.root.querySelector(".loss");
  const drawing = section.querySelector(".drawing svg");
  const drawn = tasks.filter((task) => task.mean);
  if (!drawn.length) return () => {};
  const legend = section.querySelector(".legend");
  legend.replaceChildren();
  for (const task of drawn) {
    const line = svg(html(legend, "span"), "svg", { viewBox: "0 0 27 10", "aria-hidden": "true" });
    svg(line, "line", { x1: 0, x2: 27, y1: 5, y2: 5, stroke: task.colour, "stroke-width": 2.5, "stroke-dasharray": DASHES[task.dash] });
    line.parentElement.append(task.name);
  }
  const last = drawn.map((task) => `${task.name} ${task.mean.at(-1)}`).join(", ");
  drawing.setAttribute("aria-label", `Mean angle loss of each task over ${steps.at(-1)} steps, at the end: ${last}`);

  const width = drawing.clientWidth, height = drawing.clientHeight;
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  const positive = drawn.flatMap((task) => [...task.low, ...task.high]).filter((value) => value > 0);
  const low = Math.log10(Math.min(...positive, 1)), high = Math.log10(Math.max(...positive, 1e-9));
  const y = (loss) => bottom - ((Math.log10(Math.max(loss, 10 ** low)) - low) / (high - low || 1)) * (bottom - MARGIN.top);
  const x = (index) => MARGIN.left + ((steps[index] - steps[0]) / (steps.at(-1) - steps[0])) * (right - MARGIN.left);

  drawing.replaceChildren();
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const digit of [1, 2, 5]) {
      const tick = digit * 10 ** power, at = y(tick);
      if (Math.log10(tick) < low || Math.log10(tick) > high) continue;
      svg(drawing, "line", { x1: MARGIN.left, x2: right, y1: at, y2: at, stroke: state.scene.colours.grid });
      svg(drawing, "text", { x: MARGIN.left - 5, y: at + 4, "text-anchor": "end" }, String(Number(tick.toPrecision(1))));
    }
  }
  for (const [index, anchor] of [[0, "start"], [steps.length - 1, "end"]]) {
    const name = anchor === "end" ? `step ${steps[index]}` : String(steps[index]);
    svg(drawing, "text", { x: x(index), y: height - 6, "text-anchor": anchor }, name);
  }
  const id = `fda-recording-${(count += 1)}`;
  const window = svg(svg(drawing, "clipPath", { id }), "rect", { x: 0, y: 0, height });
  const group = svg(drawing, "g", { "clip-path": `url(#${id})` });
  const points = (values) => values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  for (const task of drawn) {
    const band = [...points(task.low), ...points(task.high).reverse()].join(" ");
    svg(group, "polygon", { points: band, fill: task.colour, opacity: 0.13 });
  }
  const tips = drawn.map((task) => {
    svg(group, "polyline", { points: points(task.mean).join(" "), fill: "none", stroke: task.colour, "stroke-width": 2.2,
      "stroke-dasharray": DASHES[task.dash] });
    return svg(drawing, "circle", { r: 4, fill: task.colour });
  });
  return (share) => {
    const at = share * (steps.length - 1), now = between(steps.map((_, index) => x(index)), at);
    window.setAttribute("width", now);
    tips.forEach((tip, index) => {
      tip.setAttribute("cx", now);
      tip.setAttribute("cy", y(between(drawn[index].mean, at)));
    });
  };
}

// landscape --------------------------------------------------------------------------------------------------------

// Filled contours: the heights of the grid, interpolated at each pixel, in bands of colour.
function paint(canvas, { heights, colours, a, b }) {
  const width = (canvas.width = canvas.clientWidth), height = (canvas.height = canvas.clientHeight);
  if (!width || !height) return;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const bands = colours.map((colour) => colour.match(/\d+/g).map(Number));
  const across = Array.from({ length: width }, (_, x) => (x / (width - 1 || 1)) * (a.length - 1));
  for (let row = 0; row < height; row += 1) {
    const up = (1 - row / (height - 1 || 1)) * (b.length - 1), below = Math.min(b.length - 2, Math.floor(up));
    const low = heights[below], high = heights[below + 1], part = up - below;
    for (let x = 0; x < width; x += 1) {
      const left = Math.min(a.length - 2, Math.floor(across[x])), share = across[x] - left;
      const under = low[left] + share * (low[left + 1] - low[left]);
      const over = high[left] + share * (high[left + 1] - high[left]);
      const band = Math.min(bands.length - 1, Math.floor(bands.length * (under + part * (over - under))));
      image.data.set([bands[band][0], bands[band][1], bands[band][2], 255], 4 * (row * width + x));
    }
  }
  context.putImageData(image, 0, 0);
}

function buildPlane(state) {
  const { plane } = state.scene;
  const section = state.root.querySelector(".plane");
  if (!plane) return () => {};
  const drawing = section.querySelector("svg");
  paint(section.querySelector("canvas"), plane);
  section.querySelector("p").textContent =
    `dark: loss ${plane.range[0].toPrecision(2)}; bright: ${plane.range[1].toPrecision(2)}; ○ finetuned models`;
  drawing.setAttribute("aria-label",
    `The mean loss of all tasks around the pretrained model, with the paths of ${plane.paths.map((path) => path.title).join(", ")}`);
  const width = drawing.clientWidth, height = drawing.clientHeight;
  const x = (a) => ((a - plane.a[0]) / (plane.a.at(-1) - plane.a[0])) * width;
  const y = (b) => height - ((b - plane.b[0]) / (plane.b.at(-1) - plane.b[0])) * height;
  drawing.replaceChildren();
  const paths = plane.paths.map((path) => {
    const line = { fill: "none", "stroke-linecap": "round", "stroke-linejoin": "round" };
    return {
      ...path,
      casing: svg(drawing, "polyline", { ...line, stroke: "#101820", "stroke-width": 6, opacity: 0.55 }),
      line: svg(drawing, "polyline", { ...line, stroke: path.colour, "stroke-width": 3, "stroke-dasharray": DASHES[path.dash] }),
      tip: svg(drawing, "circle", { r: 5.5, fill: path.colour, stroke: "#101820", "stroke-width": 1.5 }),
    };
  });
  for (const { name, a, b } of plane.finetuned) {
    const mark = svg(drawing, "circle", { cx: x(a), cy: y(b), r: 4, fill: "#fff", stroke: "#101820", "stroke-width": 1.5 });
    svg(mark, "title", {}, name);
  }
  svg(drawing, "circle", { cx: x(0), cy: y(0), r: 6.5, fill: "#101820", stroke: "#fff", "stroke-width": 2 });
  svg(drawing, "text", { x: x(0), y: y(0) + (y(0) + 24 < height ? 20 : -12), "text-anchor": "middle" }, "θ₀");
  for (const path of paths) path.name = svg(drawing, "text", {}, path.title);
  return (share) => {
    paths.forEach((path, index) => {
      // The first path is task arithmetic, where FDA begins: it is there before the others set out.
      const own = index ? clamp((share - 0.25) / 0.75) : clamp(share / 0.25);
      const end = own * (path.a.length - 1);
      const past = Array.from({ length: Math.floor(end) + 1 }, (_, at) => at);
      const points = [...past, end].map((at) => `${x(between(path.a, at)).toFixed(1)},${y(between(path.b, at)).toFixed(1)}`);
      path.casing.setAttribute("points", points.join(" "));
      path.line.setAttribute("points", points.join(" "));
      const [left, top] = points.at(-1).split(",").map(Number);
      path.tip.setAttribute("cx", left);
      path.tip.setAttribute("cy", top);
      const toLeft = left > 0.6 * width;
      path.name.setAttribute("x", left + (toLeft ? -10 : 10));
      path.name.setAttribute("y", Math.min(height - 6, Math.max(14, index ? top + 4 : top - 10)));
      path.name.setAttribute("text-anchor", toLeft ? "end" : "start");
      for (const part of [path.casing, path.line, path.tip, path.name]) part.style.visibility = own > 0 ? "" : "hidden";
    });
  };
}

// scores -----------------------------------------------------------------------------------------------------------

function buildScores(state) {
  const { methods, metric, verdict, colours } = state.scene;
  const section = state.root.querySelector(".scores");
  section.querySelector("h3").textContent = methods.length ? `Mean ${metric.toLowerCase()} of all tasks, in %` : "";
  const told = section.querySelector(".verdict");
  told.textContent = verdict.join(" ");
  const list = section.querySelector("ol");
  list.replaceChildren();
  list.style.height = 0;
  const room = section.clientHeight - section.querySelector("h3").offsetHeight - told.offsetHeight - 16;
  const pitch = Math.max(ROWS.least, Math.min(ROWS.most, room / methods.length || 0));
  list.style.height = pitch * methods.length + "px";
  const rows = methods.map((method) => {
    const row = html(list, "li");
    row.style.height = pitch + "px";
    html(row, "span", method.title).title = method.title;
    const fill = html(html(row, "span"), "div");
    fill.className = method.hatched ? "hatched" : "";
    fill.style.backgroundColor = method.colour;
    return { row, fill, value: html(row, "span"), ...method };
  });
  return (share) => {
    const parts = rows.map((_, index) => clamp((share * rows.length - index) / 0.8));
    const ranked = rows.map((_, index) => index).sort((one, other) =>
      (parts[other] > 0) - (parts[one] > 0) || (parts[one] > 0 ? rows[other].percent - rows[one].percent : one - other));
    ranked.forEach((index, rank) => {
      const { row, fill, value, percent } = rows[index];
      row.style.transform = `translateY(${rank * pitch}px)`;
      row.classList.toggle("waiting", parts[index] === 0);
      fill.style.width = Math.max(0, parts[index] * percent) + "%";
      value.textContent = parts[index] > 0 ? (parts[index] * percent).toFixed(1) : "";
    });
    told.style.visibility = share < 1 && methods.length ? "hidden" : "";
  };
}

// time -------------------------------------------------------------------------------------------------------------

const BUILDERS = { anchors: buildLoss, adapt: buildPlane, score: buildScores };

function reading(state, phase, share) {
  const { steps, methods } = state.scene;
  if (phase === "anchors") return `anchors: step ${Math.round(between(steps, share * (steps.length - 1)))} of ${steps.at(-1)}`;
  if (phase === "adapt") return `adapt: ${Math.round(100 * share)} % of the path`;
  return `score: ${Math.min(methods.length, Math.floor(share * methods.length + 0.2))} of ${methods.length} methods`;
}

function show(state) {
  const { phases } = state.scene;
  const total = phases.reduce((sum, phase) => sum + phase.seconds, 0);
  let start = 0, text = "";
  for (const { name, seconds } of phases) {
    const share = clamp((state.at * total - start) / seconds);
    state.draw[name](share);
    if (!text || share > 0) text = reading(state, name, share);
    start += seconds;
  }
  state.total = total;
  state.input.value = Math.round(1000 * state.at);
  state.input.style.setProperty("--fill", 100 * state.at + "%");
  state.input.setAttribute("aria-valuetext", text);
  state.output.textContent = text;
}

function frame(state, now) {
  if (!state.playing || !state.root.isConnected) return;
  state.at = clamp(state.at + Math.min(LONGEST_FRAME, now - state.last) / 1000 / state.total);
  state.last = now;
  show(state);
  if (state.at >= 1) pause(state);
  else requestAnimationFrame((next) => frame(state, next));
}

function play(state) {
  if (state.at >= 1) state.at = 0;
  state.playing = true;
  state.button.textContent = "❚❚ Pause";
  state.last = performance.now();
  requestAnimationFrame((now) => frame(state, now));
}

function pause(state) {
  state.playing = false;
  state.button.textContent = state.at >= 1 ? "▶ Replay" : "▶ Play";
}

function build(state) {
  const { root, scene } = state;
  for (const [name, colour] of Object.entries(scene.colours)) root.style.setProperty(`--${name}`, colour);
  root.querySelector(".about").textContent = scene.sentence;
  const line = root.querySelector(".phases");
  line.replaceChildren();
  for (const { name, seconds } of scene.phases) html(line, "span", name).style.flex = seconds;
  const filled = { plane: scene.plane, loss: scene.steps.length, scores: scene.methods.length || scene.verdict.length };
  for (const [name, content] of Object.entries(filled)) root.querySelector("." + name).hidden = !content; // before any is measured
  state.draw = Object.fromEntries(Object.entries(BUILDERS).map(([name, builder]) => [name, builder(state)]));
  show(state);
}

function newState(root) {
  const state = { root, input: root.querySelector("input"), button: root.querySelector("button"),
    output: root.querySelector("output"), shown: null, scene: null, at: 0, last: 0, total: 1, playing: false };
  state.button.addEventListener("click", () => (state.playing ? pause(state) : play(state)));
  state.input.addEventListener("input", () => {
    state.at = state.input.value / 1000;
    pause(state);
    show(state);
  });
  let width = root.clientWidth;
  state.resize = new ResizeObserver(() => {
    if (!state.scene || root.clientWidth === width) return;
    width = root.clientWidth;
    build(state);
  });
  state.resize.observe(root);
  return state;
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".fda-recording");
  let state = states.get(root);
  const first = !state;
  if (first) states.set(root, (state = newState(root)));
  root.querySelector("h2").textContent = data.title;
  root.querySelector(".label").textContent = data.label;
  if (data.scene !== state.shown) {
    state.shown = data.scene;
    state.scene = JSON.parse(data.scene);
    root.setAttribute("aria-label", `${data.title}. ${data.label}. ${state.scene.sentence}`);
    if (first && window.matchMedia("(prefers-reduced-motion: reduce)").matches) state.at = 1;
    build(state);
    if (state.at >= 1) pause(state);
    else if (first) play(state);
  }
  return () => {
    state.playing = false;
    state.resize.disconnect();
    states.delete(root);
  };
}
