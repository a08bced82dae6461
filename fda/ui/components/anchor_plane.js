// Part 0 of the Playground: anchors as points that one drags, the gradient that they induce, and gradient descent. Nothing goes to
// the server. plane_math.js has the mathematics. All drawing happens in animation frames, and only when something has moved.

const UNIT = 100; // SVG lengths per unit of the plane
const REACH = 1.2; // coordinates lie in −REACH..REACH
const RATE = 0.005; // size of a step of gradient descent, relative to ‖X‖²
const STEP = 1000 / 60; // milliseconds of a step while playing
const END = 0.5; // degrees at which gradient descent stops
const STILL = 1e-9; // fall of the loss from which on a step changes nothing
const [KEY, FINE_KEY] = [0.05, 0.01]; // move of an anchor at an arrow key, and with Shift
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const REST = 300; // milliseconds without a key before the move counts as finished
const states = new WeakMap();

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const within = (value) => Math.min(REACH, Math.max(-REACH, value));
const place = (value) => value.toFixed(2).replace("-", "−");

// The points of the URL, if it has them and they are fit to show.
function pointsOf(text, count) {
  const points = (text ?? "").split(";").map((pair) => pair.split(",").map(Number));
  const fit = (pair) => pair.length === 2 && pair.every((value) => Number.isFinite(value) && Math.abs(value) <= REACH);
  return points.length === count && points.every(fit) ? points : null;
}

function keepInUrl(state) {
  const url = new URL(location.href);
  const text = state.points.map((pair) => pair.map((value) => +value.toFixed(3)).join(",")).join(";");
  if (text === state.startText) url.searchParams.delete("anchors");
  else url.searchParams.set("anchors", text);
  history.replaceState(history.state, "", url);
}

// drawing ---------------------------------------------------------------------------------------------------------------------

function buildArrow(parent, name, label) {
  const [shaft, head] = [svg("path", { class: "shaft" }), svg("path", { class: "head" })];
  const text = svg("text", {}, label);
  parent.append(svg("g", { class: name }, shaft, head, text));
  return { shaft, head, text };
}

// `row`: the tip, at most of length 1. The label is beyond the tip; with `beside`, another arrow, beside the middle, away from it.
function drawArrow({ shaft, head, text }, row, beside = null) {
  const [x, y] = [UNIT * row[0], -UNIT * row[1]];
  const length = Math.hypot(x, y) || 1;
  const [u, v] = [x / length, y / length];
  const size = Math.min(9, length);
  shaft.setAttribute("d", `M0 0L${x - size * u} ${y - size * v}`);
  head.setAttribute("d", `M${x} ${y}L${x - size * u - 0.45 * size * v} ${y - size * v + 0.45 * size * u}` +
    `L${x - size * u + 0.45 * size * v} ${y - size * v - 0.45 * size * u}Z`);
  const left = beside && row[0] * beside[1] < row[1] * beside[0];
  const [along, aside] = beside ? [0.55 * length, left ? 11 : -11] : [length + 11, 0];
  text.setAttribute("x", along * u + aside * v);
  text.setAttribute("y", along * v - aside * u);
}

function build(state) {
  const { root, data } = state;
  const plane = root.querySelector(".anchors svg");
  state.handles = state.points.map((_, j) => {
    const handle = svg("g", { class: "anchor", role: "button", tabindex: 0 },
      svg("circle", { class: "reach", r: 16 }), svg("circle", { class: "dot", r: 8 }), svg("text", {}, j + 1));
    handle.addEventListener("pointerdown", (event) => grab(state, j, handle, event));
    handle.addEventListener("keydown", (event) => press(state, j, event));
    plane.append(handle);
    return handle;
  });
  const rows = root.querySelector(".rows svg");
  const names = ["one", "two"];
  const targets = names.map((name, i) => buildArrow(rows, name + " target", "Δ" + "₁₂"[i]));
  state.arrows = names.map((name, i) => buildArrow(rows, name, "g" + "₁₂"[i]));
  direction(data.delta).forEach((row, i) => drawArrow(targets[i], row));
  const dial = root.querySelector(".reading svg");
  const at = (degrees, radius) => [Math.cos((degrees * Math.PI) / 180) * radius, -Math.sin((degrees * Math.PI) / 180) * radius];
  const [x, y] = at(data.goal, 100);
  root.querySelector(".goal").setAttribute("d", `M0 0H100A100 100 0 0 0 ${x} ${y}Z`);
  for (const degrees of [0, 30, 60, 90]) {
    const [tx, ty] = at(degrees, 105);
    dial.append(svg("text", { x: tx, y: ty }, `${degrees}°`));
  }
  state.at = at;
  root.querySelector(".play").addEventListener("click", () => (state.playing ? pause(state) : play(state)));
  root.querySelector(".anew").addEventListener("click", () => startAnew(state));
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(state) {
  const { root, data, points } = state;
  const { loss, degrees } = angleLoss(data.delta, points);
  if (state.byHand && degrees < data.goal) state.reached = true;
  points.forEach(([x, y], j) => state.handles[j].setAttribute("transform", `translate(${UNIT * x} ${-UNIT * y})`));
  const { long, short, turn } = ellipse(points);
  for (const outline of root.querySelectorAll("ellipse")) {
    const scale = outline.matches(".outline") ? UNIT : UNIT / (long || 1); // below the arrows only its shape counts
    outline.setAttribute("rx", scale * long);
    outline.setAttribute("ry", scale * short);
    outline.setAttribute("transform", `rotate(${-turn})`);
  }
  direction(inducedGradient(data.delta, points)).forEach((row, i) => drawArrow(state.arrows[i], row, data.delta[i]));
  const [[x, y], [lx, ly], [rx, ry]] = [state.at(degrees, 97), state.at(degrees + 3.5, 86), state.at(degrees - 3.5, 86)];
  root.querySelector(".needle").setAttribute("d", `M0 0L${x} ${y}L${lx} ${ly}L${rx} ${ry}L${x} ${y}`);
  say(root.querySelector("output"), `${degrees.toFixed(1)}°${degrees < data.goal ? " ✓" : ""}`);
  root.querySelector(".reading").classList.toggle("reached", degrees < data.goal);
  say(root.querySelector(".loss"), `angle loss ${loss.toFixed(3)}` + (state.steps ? `, step ${state.steps}` : ""));
  say(root.querySelector(".message"), message(state));
  say(root.querySelector(".play"), state.playing ? "❚❚ Pause" : "▶ Play");
}

function message({ data, playing, stuck, steps, reachedAt, byHand, reached }) {
  const goal = `${data.goal}°`;
  if (playing) return "Gradient descent moves the anchors.";
  if (stuck) return "Gradient descent stands still: the loss has no slope here. Move an anchor.";
  if (steps && reachedAt) return `Gradient descent came below ${goal} after ${reachedAt} steps.`;
  if (steps && !byHand) return `Paused. Play goes on towards ${goal}.`;
  if (reached) return `You reached ${goal} by hand. Now start anew and press Play: gradient descent does the same.`;
  return data.lecture ? "" : `Bring the angle below ${goal}: drag the anchors, or use Tab and the arrow keys.`;
}

// One loop: while gradient descent plays it asks for the next frame, otherwise whoever moves an anchor does.
function frame(state, time) {
  state.asked = false;
  if (!state.root.isConnected) return;
  if (state.playing) advance(state, time);
  show(state);
  if (state.playing) ask(state);
}

function ask(state) {
  if (state.asked) return;
  state.asked = true;
  requestAnimationFrame((time) => frame(state, time));
}

// At rest: what a screen reader hears, and the address.
function settle(state) {
  clearTimeout(state.resting);
  const { degrees } = angleLoss(state.data.delta, state.points);
  state.points.forEach(([x, y], j) =>
    state.handles[j].setAttribute("aria-label", `Anchor ${j + 1} at ${place(x)}, ${place(y)}; arrow keys move it`));
  state.root.querySelector(".reading svg").setAttribute("aria-label", `Dial: ${degrees.toFixed(1)}° off Δ`);
  say(state.root.querySelector(".said"), `${degrees.toFixed(1)}° off Δ`);
  keepInUrl(state);
}

// moving ----------------------------------------------------------------------------------------------------------------------

function move(state, j, x, y) {
  state.points = state.points.map((point, i) => (i === j ? [within(x), within(y)] : point));
  Object.assign(state, { playing: null, byHand: true, stuck: false, steps: 0, reachedAt: 0 });
  ask(state);
}

function grab(state, j, handle, event) {
  if (event.button) return;
  event.preventDefault(); // no selection of text
  handle.focus({ preventScroll: true });
  handle.setPointerCapture(event.pointerId);
  const toPlane = handle.ownerSVGElement.getScreenCTM().inverse();
  const at = ({ clientX, clientY }) => new DOMPoint(clientX, clientY).matrixTransform(toPlane);
  const [first, start] = [at(event), state.points[j]];
  const drag = (next) => {
    const { x, y } = at(next);
    move(state, j, start[0] + (x - first.x) / UNIT, start[1] - (y - first.y) / UNIT);
  };
  const drop = () => {
    handle.removeEventListener("pointermove", drag);
    settle(state);
  };
  handle.addEventListener("pointermove", drag);
  handle.addEventListener("lostpointercapture", drop, { once: true });
}

function press(state, j, event) {
  const towards = KEYS[event.key];
  if (!towards || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault(); // no scrolling
  const size = event.shiftKey ? FINE_KEY : KEY;
  const [x, y] = state.points[j];
  move(state, j, x + size * towards[0], y + size * towards[1]);
  clearTimeout(state.resting);
  state.resting = setTimeout(() => settle(state), REST);
}

function play(state) {
  if (angleLoss(state.data.delta, state.points).degrees <= END) startAnew(state);
  Object.assign(state, { playing: { at: null }, byHand: false, stuck: false });
  ask(state);
}

function pause(state) {
  state.playing = null;
  settle(state);
  ask(state);
}

function startAnew(state) {
  const fresh = { playing: null, byHand: false, reached: false, stuck: false, steps: 0, reachedAt: 0 };
  Object.assign(state, fresh, { points: state.data.start });
  settle(state);
  ask(state);
}

function advance(state, time) {
  const { data, playing } = state;
  playing.at ??= time - STEP;
  const due = Math.min(10, Math.round((time - playing.at) / STEP)); // a tab that comes back does not jump
  playing.at = due === 10 ? time : playing.at + due * STEP;
  for (let step = 0; step < due; step += 1) {
    const before = angleLoss(data.delta, state.points).loss;
    const moved = descend(data.delta, state.points, RATE);
    const far = Math.max(...moved.flat().map(Math.abs)) / REACH;
    state.points = far > 1 ? moved.map(([x, y]) => [x / far, y / far]) : moved; // the angle is the same at any scale
    state.steps += 1;
    const { loss, degrees } = angleLoss(data.delta, state.points);
    if (degrees < data.goal) state.reachedAt ||= state.steps;
    state.stuck = before - loss < STILL;
    if (degrees <= END || state.stuck) return pause(state);
  }
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".fda-plane");
  let state = states.get(root);
  root.setAttribute("aria-label", data.alt);
  root.classList.toggle("lecture", data.lecture);
  root.style.setProperty("--fill", data.fill);
  for (const [name, colour] of Object.entries(data.colours)) root.style.setProperty(`--${name}`, colour);
  if (!state) {
    const startText = data.start.map((pair) => pair.join(",")).join(";");
    const points = pointsOf(new URLSearchParams(location.search).get("anchors"), data.start.length) ?? data.start;
    state = { root, data, points, startText, playing: null, byHand: false, reached: false, stuck: false, steps: 0, reachedAt: 0,
      asked: false, resting: 0 };
    states.set(root, state);
    build(state);
    settle(state);
  }
  state.data = data;
  ask(state);
  return () => {
    clearTimeout(state.resting);
    state.playing = null;
    states.delete(root);
  };
}
