// An element that fetches an update from the server each second, shows it, and passes new figures to those of the page.

const states = new WeakMap();

function show(root, update) {
  const find = (selector) => root.querySelector(selector);
  const state = find(".state");
  state.textContent = update.state;
  state.style.background = `var(--st-${update.colour}-background-color)`;
  state.style.color = `var(--st-${update.colour}-text-color)`;
  find(".line").textContent = update.line;
  find("p").title = update.line; // a narrow bar cuts the line
  find(".bar").setAttribute("aria-valuenow", Math.round(100 * update.share));
  find(".bar div").style.width = `${100 * update.share}%`;
  for (const [key, figure] of Object.entries(update.figures)) shared.figures.get(key)?.show(figure);
}

// Each second while the tab is visible. One request at a time; a request that fails is repeated.
async function tick(state) {
  const { feed } = state;
  try {
    if (!document.hidden) {
      const answer = await fetch(`${feed}?seen=${state.seen}`);
      const update = answer.ok ? await answer.json() : null;
      if (state.feed !== feed || !state.root.isConnected) return;
      if (update?.again) state.again();
      else if (update) {
        state.seen = update.seen;
        show(state.root, update);
      }
    }
  } catch {}
  if (state.feed === feed) state.timer = setTimeout(tick, 1000, state);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-ticker");
  let state = states.get(root);
  if (!state) states.set(root, (state = { root, given: null, feed: null, seen: "", timer: 0 }));
  state.again = () => setTriggerValue("again", true);
  if (data.seen !== state.given) {
    state.given = state.seen = data.seen;
    show(root, data);
  }
  if (data.feed !== state.feed) {
    state.feed = data.feed;
    clearTimeout(state.timer);
    if (state.feed) state.timer = setTimeout(tick, 1000, state);
  }
  return () => {
    clearTimeout(state.timer);
    state.feed = null;
    states.delete(root);
  };
}
