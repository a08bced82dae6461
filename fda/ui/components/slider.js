// A slider without state: the page passes the value. It sends the next value once the last has been answered. Play sweeps over its
// choices, one slider at a time.

const states = new WeakMap();
const PATIENCE = 1000; // milliseconds: Streamlit sends no answer if nothing changed
const PACE = 350; // milliseconds per choice at least while playing

function show(state, index) {
  const text = state.data.choices[index];
  state.input.value = index;
  state.output.textContent = text;
  state.input.style.setProperty("--fill", (100 * index) / Math.max(1, state.data.choices.length - 1) + "%");
  state.input.setAttribute("aria-valuetext", text);
}

function send(state) {
  if (state.waiting || state.wanted === null) return;
  const index = state.wanted;
  state.wanted = null;
  if (index === state.data.index) return;
  state.waiting = setTimeout(() => answered(state), PATIENCE);
  state.trigger("picked", index);
}

function answered(state) {
  clearTimeout(state.waiting);
  state.waiting = 0;
  send(state);
}

function pick(state, index) {
  state.wanted = index;
  show(state, index);
  send(state);
}

function showPlaying(state) {
  state.button.textContent = state.timer ? "❚❚" : "▶";
  state.button.setAttribute("aria-label", (state.timer ? "Pause " : "Play ") + state.data.label);
}

function pause(state) {
  clearInterval(state.timer);
  state.timer = 0;
  if (shared.playing === state) shared.playing = null;
  showPlaying(state);
}

function play(state) {
  if (shared.playing) pause(shared.playing);
  const last = state.data.choices.length - 1;
  if (Number(state.input.value) >= last) pick(state, 0);
  state.timer = setInterval(() => {
    if (state.waiting) return; // no choice is skipped on a slow machine
    if (Number(state.input.value) < last) pick(state, Number(state.input.value) + 1);
    if (Number(state.input.value) >= last || state.data.disabled) pause(state);
  }, PACE);
  shared.playing = state;
  showPlaying(state);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-slider");
  let state = states.get(root);
  if (!state) {
    const [input, output, button] = ["input", "output", "button"].map((tag) => root.querySelector(tag));
    state = { input, output, button, waiting: 0, wanted: null, timer: 0 };
    input.addEventListener("input", () => {
      pause(state);
      pick(state, Number(input.value));
    });
    button.addEventListener("click", () => (state.timer ? pause(state) : play(state)));
    states.set(root, state);
  }
  state.data = data;
  state.trigger = setTriggerValue;
  root.querySelector("span").textContent = data.label;
  root.querySelector("small").textContent = data.hint;
  state.input.max = data.choices.length - 1;
  state.input.disabled = state.button.disabled = data.disabled;
  showPlaying(state);
  state.input.setAttribute("aria-label", data.label + ": " + data.hint);
  if (state.wanted === null) show(state, data.index);
  answered(state);
  return () => {
    pause(state);
    clearTimeout(state.waiting);
    states.delete(root);
  };
}
