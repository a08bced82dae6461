// A Plotly figure that updates in place; the newest version wins. Nothing is drawn while the tab is hidden (it has no animation
// frames), before plotly.js has loaded, or while the reader drags on the chart. A figure out of sight is first drawn when the
// browser is idle, so that it does not delay a page change, and redrawn only when the reader scrolls to it: on the run page this
// saves most of an update's work in the browser.

const states = new WeakMap();

const UNDER = 84; // pixels under a low plot, for its axis and two rows of legend

const queue = [];
const whenIdle = window.requestIdleCallback ?? ((then) => setTimeout(then, 100));

// One figure per frame, so that the first is visible while the next are drawn.
function drawNext() {
  const state = queue.shift();
  if (queue.length) requestAnimationFrame(drawNext);
  drawState(state);
}

function drawState(state) {
  state.asked = false;
  if (!state.next || !state.root.isConnected) return;
  if (!window.Plotly) {
    window.addEventListener(PLOTLY_READY, () => ask(state), { once: true });
    return;
  }
  if (state.root._dragging) {
    setTimeout(() => ask(state), 150);
    return;
  }
  if (state.root._fullLayout && !state.seen) return; // drawn when the reader scrolls to it
  const figure = state.next;
  state.next = null;
  draw(state.root, figure);
  if (state.picks && !state.listens) {
    state.listens = true;
    state.root.on("plotly_click", ({ points: [point] }) =>
      state.trigger("picked", { x: point.x, y: point.y, uid: point.data.uid ?? "" }));
  }
}

function ask(state) {
  if (state.asked) return;
  state.asked = true;
  if (queue.push(state) === 1) requestAnimationFrame(drawNext);
}

// Sets the figure's height, again in a window of another size.
function fit(state) {
  const height = filled(state.own, state.share, state.most);
  state.root.style.height = height + "px";
  if (!state.next) return; // a drawn figure follows its element
  const { layout } = state.next;
  layout.height = height;
  if (height < state.own && layout.showlegend !== false) { // a place under the plot counts in heights of the plot
    layout.legend = { ...layout.legend, yref: "container", y: 0, yanchor: "bottom" };
    layout.margin = { ...layout.margin, b: UNDER };
  }
}

function newState(root) {
  const state = { root, shown: null, next: null, asked: false, seen: false, listens: false, resize: resizeObserver() };
  state.resize.observe(root);
  state.refit = () => fit(state);
  window.addEventListener("resize", state.refit);
  state.sight = new IntersectionObserver((entries) => {
    state.seen = entries.at(-1).isIntersecting;
    if (!state.next) return;
    if (state.seen) ask(state);
    else if (!root._fullLayout) whenIdle(() => ask(state));
  });
  state.sight.observe(root);
  return state;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-figure");
  let state = states.get(root);
  if (!state) states.set(root, (state = newState(root)));
  root.setAttribute("aria-label", data.alt);
  root.classList.toggle("fda-picks", data.picks);
  state.picks = data.picks;
  state.trigger = setTriggerValue;
  state.show = (figure) => {
    if (figure === state.shown) return;
    state.shown = figure;
    state.next = { ...JSON.parse(figure), config: data.config };
    prepare(state.next);
    state.own = state.next.layout.height;
    state.share = data.fill;
    state.most = data.most ?? Infinity;
    fit(state);
    if (state.seen) ask(state); // the others once their visibility is known
  };
  if (data.figure !== state.given) state.show((state.given = data.figure));
  shared.figures.set(data.key, state);
  return () => {
    if (shared.figures.get(data.key) === state) shared.figures.delete(data.key);
    state.resize.disconnect();
    state.sight.disconnect();
    window.removeEventListener("resize", state.refit);
    state.next = null;
    purge(root);
    states.delete(root);
  };
}
