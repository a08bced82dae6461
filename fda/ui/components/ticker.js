// An element that fetches an update from the server each second, shows it, and passes new figures to those of the page.

const states = new WeakMap();
const HIDDEN_MS = 10000; // between two updates while the tab is hidden
const ENDED = ["done", "failed", "cancelled", "crashed"];

// While the run works, the tab is called after its progress; then it gets the page's own name back.
function nameTab(state, title) {
  if (title) {
    if (document.title !== state.title) state.before = document.title;
    document.title = state.title = title;
  } else if (state.title) {
    if (document.title === state.title) document.title = state.before;
    state.title = null;
  }
}

function mayNotify() {
  return "Notification" in window && Notification.permission === "granted";
}

// Tells a reader who looks at another tab that the run has ended: by the tab's name and, if allowed, by a notification.
function notify(state, update) {
  const ended = state.working && ENDED.includes(update.state);
  state.working = !ENDED.includes(update.state);
  if (state.working) state.unseen = null;
  if (!ended || !document.hidden) return;
  state.unseen = `${update.state} · FDA`;
  const see = () => {
    state.unseen = null;
    nameTab(state, null);
  };
  document.addEventListener("visibilitychange", see, { once: true });
  if (!mayNotify()) return;
  try {
    const told = new Notification(`Run ${update.state}`, { body: update.line, tag: "fda-run" });
    told.onclick = () => window.focus();
  } catch {} // some phones notify only from a service worker
}

function offerToNotify(state) {
  const button = state.root.querySelector(".notify");
  button.hidden = !(state.working && "Notification" in window && Notification.permission === "default");
  button.onclick = async () => {
    await Notification.requestPermission();
    offerToNotify(state);
  };
}

function show(state, update) {
  const { root } = state;
  notify(state, update);
  nameTab(state, state.unseen ?? update.title);
  offerToNotify(state);
  const find = (selector) => root.querySelector(selector);
  const badge = find(".state");
  badge.textContent = update.state;
  badge.style.background = `var(--st-${update.colour}-background-color)`;
  badge.style.color = `var(--st-${update.colour}-text-color)`;
  find(".line").textContent = update.line;
  find("p").title = update.line; // a narrow bar cuts the line
  find(".bar").setAttribute("aria-valuenow", Math.round(100 * update.share));
  find(".bar div").style.width = `${100 * update.share}%`;
  for (const [key, figure] of Object.entries(update.figures)) shared.figures.get(key)?.show(figure);
}

// Each second, and now and then while the tab is hidden. One request at a time; a request that fails is repeated.
async function tick(state) {
  const { feed } = state;
  try {
    if (!document.hidden || Date.now() - state.asked >= HIDDEN_MS) {
      state.asked = Date.now();
      const answer = await fetch(`${feed}?seen=${state.seen}`);
      const update = answer.ok ? await answer.json() : null;
      if (state.feed !== feed || !state.root.isConnected) return;
      if (update?.again) state.again();
      else if (update) {
        state.seen = update.seen;
        show(state, update);
      }
    }
  } catch {}
  if (state.feed === feed) state.timer = setTimeout(tick, 1000, state);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-ticker");
  let state = states.get(root);
  if (!state) {
    state = { root, given: null, feed: null, seen: "", timer: 0, asked: 0, title: null, unseen: null, working: false };
    states.set(root, state);
  }
  state.again = () => setTriggerValue("again", true);
  if (data.seen !== state.given) {
    state.given = state.seen = data.seen;
    show(state, data);
  }
  if (data.feed !== state.feed) {
    state.feed = data.feed;
    clearTimeout(state.timer);
    if (state.feed) state.timer = setTimeout(tick, 1000, state);
  }
  return () => {
    clearTimeout(state.timer);
    nameTab(state, null);
    state.feed = null;
    states.delete(root);
  };
}
