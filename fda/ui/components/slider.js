// A slider without state: the page passes the value. It sends the next value once the last has been answered.

const states = new WeakMap();
const PATIENCE = 1000; // milliseconds: Streamlit sends no answer if nothing changed

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

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-slider");
  let state = states.get(root);
  if (!state) {
    state = { input: root.querySelector("input"), output: root.querySelector("output"), waiting: 0, wanted: null };
    state.input.addEventListener("input", () => {
      state.wanted = Number(state.input.value);
      show(state, state.wanted);
      send(state);
    });
    states.set(root, state);
  }
  state.data = data;
  state.trigger = setTriggerValue;
  root.querySelector("span").textContent = data.label;
  root.querySelector("small").textContent = data.hint;
  state.input.max = data.choices.length - 1;
  state.input.disabled = data.disabled;
  state.input.setAttribute("aria-label", data.label + ": " + data.hint);
  if (state.wanted === null) show(state, data.index);
  answered(state);
  return () => {
    clearTimeout(state.waiting);
    states.delete(root);
  };
}
