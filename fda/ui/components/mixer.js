// The mixing desk: a channel per task with a slider for its λ, a bar for its score, and the samples that flip. While a slider moves,
// the desk asks the feed of fda.ui.mixer for the scores of the new λ, and passes new figures on to those of the page.

const states = new WeakMap();
const [KEY, FINE_KEY] = [0.05, 0.01]; // move of a slider at an arrow key, and with Shift
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
const SLOW = 600; // milliseconds after which a newer move no longer waits for the answer to an older one
const DRAW = 60; // milliseconds from the bars to the figures
const REST = 1000; // milliseconds without a move after which a mix counts as looked at
const MARKS = { right: "✓", wrong: "✗" };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1));
const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(1);
const lambda = (value) => String(+value.toFixed(2)).replace("-", "−");

// building --------------------------------------------------------------------------------------------------------------------

function bar(name) {
  const parts = { fill: element("span", { class: "fill" }), expert: element("span", { class: "expert" }, "◇"),
    baseline: element("span", { class: "baseline" }) };
  const track = element("div", { class: "bar", role: "img" }, parts.fill, parts.baseline, parts.expert);
  const [value, change] = [element("output", { class: "score" }), element("span", { class: "change" })];
  return { ...parts, track, value, change, name, root: element("div", { class: "scored" }, track, value, change) };
}

function sampleCard(sample) {
  const seen = sample.image ? element("img", { src: sample.image, alt: sample.alt }) : element("p", { tabindex: 0 }, sample.text);
  const says = element("span", { class: "says" });
  return { root: element("li", {}, seen, says), says, truth: sample.truth };
}

// A slider with its name; `move` gets the λ that the reader wants.
function dial(name, label, move) {
  const input = element("input", { type: "range", step: FINE_KEY, "aria-label": label });
  const shown = element("output", { class: "lambda" });
  input.addEventListener("input", () => move(Number(input.value)));
  input.addEventListener("keydown", (event) => {
    const way = KEYS[event.key];
    if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const next = Number(input.value) + way * (event.shiftKey ? FINE_KEY : KEY);
    move(Math.min(Number(input.max), Math.max(Number(input.min), +next.toFixed(2))));
  });
  return { input, shown, root: element("div", { class: "fda-slider" }, element("label", {}, element("b", {}, name), shown), input) };
}

function channel(state, task, index) {
  const slider = dial(task.name, `λ of ${task.name}`, (value) => move(state, [index], value));
  const row = { dial: slider, bar: bar(task.name), cards: task.samples.map(sampleCard) };
  const kind = task.samples.some((sample) => !sample.image) ? "samples texts" : "samples";
  const cards = element("ul", { class: kind, "aria-label": `Samples of ${task.name}` }, ...row.cards.map((card) => card.root));
  row.root = element("li", { class: "channel" }, slider.root, row.bar.root, cards);
  row.root.style.setProperty("--colour", task.colour);
  return row;
}

function build(state) {
  const { tasks } = state.data;
  state.rows = tasks.map((task, index) => channel(state, task, index));
  state.average = bar("average");
  const every = tasks.map((_, index) => index);
  state.all = dial("all tasks", "λ of all tasks", (value) => move(state, every, value));
  const last = element("li", { class: "channel average" }, state.all.root, state.average.root);
  state.root.querySelector(".channels").replaceChildren(...state.rows.map((row) => row.root), last);
}

// showing ---------------------------------------------------------------------------------------------------------------------

function showBar(one, score, reference, baselineName) {
  one.fill.style.width = 100 * Math.max(0, score ?? 0) + "%";
  one.value.textContent = percent(score);
  place(one.expert, reference.expert);
  place(one.baseline, reference.baseline);
  const known = score !== null && reference.baseline !== null;
  const change = known ? +(100 * (score - reference.baseline)).toFixed(1) : 0;
  one.change.textContent = known ? signed(change) : "";
  one.change.dataset.way = Math.sign(change);
  one.track.setAttribute("aria-label", `${one.name}: ${percent(score)} %, expert ${percent(reference.expert)} %, ` +
    `${baselineName} ${percent(reference.baseline)} %`);
}

function place(mark, at) {
  mark.hidden = at === null;
  mark.style.left = 100 * Math.max(0, at) + "%";
}

// `value`: null where tasks have different λ.
function showLambda(state, { input, shown }, value) {
  const mixed = value === null;
  if (mixed) value = state.lambdas.reduce((sum, one) => sum + one, 0) / state.lambdas.length;
  input.min = Math.min(state.data.bounds[0], value);
  input.max = Math.max(state.data.bounds[1], value);
  input.value = value;
  shown.textContent = state.data.disabled ? "" : mixed ? "mixed" : `λ ${lambda(value)}`;
  input.style.setProperty("--fill", (100 * (value - input.min)) / (input.max - input.min) + "%");
  input.setAttribute("aria-valuetext", mixed ? `mixed, on average ${lambda(value)}` : lambda(value));
  input.disabled = state.data.disabled || state.data.searching;
}

function showLambdas(state) {
  const { rows, lambdas } = state;
  rows.forEach((row, index) => showLambda(state, row.dial, lambdas[index]));
  showLambda(state, state.all, new Set(lambdas).size > 1 ? null : lambdas[0]);
}

function showCards(row, said) {
  row.cards.forEach((card, index) => {
    const { says, right, flipped } = said[index];
    const word = right === null ? "" : right ? "right" : "wrong"; // a task whose answers are numbers has none that is right
    card.root.className = word + (flipped ? " flipped" : "");
    card.says.textContent = word ? `${MARKS[word]} ${says}` : says;
    card.root.title = `true: ${card.truth}` + (flipped ? `, the baseline says ${flipped}` : "");
  });
}

function show(state, update) {
  const { data, root } = state;
  data.tasks.forEach((task, index) => {
    showBar(state.rows[index].bar, update.scores[index], task, data.baseline);
    showCards(state.rows[index], update.said[index]);
  });
  showBar(state.average, update.average, data.average, data.baseline);
  const formula = root.querySelector(".formula");
  formula.textContent = formula.title = update.formula; // a long one is cut
  const key = ["◇ expert", `┊ baseline: ${data.baseline}`, update.line, update.note];
  root.querySelector(".key").replaceChildren(...key.map((text) => element("span", {}, text)));
  root.querySelector(".said").textContent = `average ${percent(update.average)} %`;
  root.dataset.shown = update.seen; // the benchmark waits for it
  clearTimeout(state.drawing); // figures follow once the bars stand still: drawing them takes longer
  state.drawing = setTimeout(() => {
    for (const [key, figure] of Object.entries(update.figures)) shared.figures.get(key)?.show(figure);
  }, DRAW);
}

// moving ----------------------------------------------------------------------------------------------------------------------

// These tasks, by their numbers, get the λ `value`.
function move(state, tasks, value) {
  if (tasks.every((index) => state.lambdas[index] === value)) return;
  for (const index of tasks) state.lambdas[index] = value;
  showLambdas(state);
  clearTimeout(state.rest);
  state.wanted = true;
  if (!state.asking) ask(state);
  else if (Date.now() - state.asked > SLOW) state.asking.abort(); // the engine drops what nobody waits for
}

// Ask for the scores of λ; while a search runs, for its next evaluation, whose λ the sliders then show.
async function ask(state) {
  const { feed, searching } = state.data, asking = new AbortController();
  const question = searching ? "next" : JSON.stringify(state.lambdas);
  state.wanted = false;
  state.asking = asking;
  state.asked = Date.now();
  state.root.classList.add("waiting");
  const watch = setInterval(showProgress, 500, state, feed);
  try {
    const answer = await fetch(`${feed}?seen=${encodeURIComponent(question)}`, { signal: asking.signal });
    const update = answer.ok ? await answer.json() : null;
    if (state.root.isConnected && state.data.searching === searching) {
      if (update?.again) state.trigger("again", true);
      else if (update?.scores) {
        if (searching) {
          state.lambdas = [...update.lambdas];
          showLambdas(state);
        }
        show(state, update);
        state.wanted ||= searching && !update.ended;
      } else if (update?.superseded) state.wanted ||= searching;
    }
  } catch {} // aborted, or the server is away: the next move asks again
  clearInterval(watch);
  state.asking = null;
  if (state.wanted && state.root.isConnected) return ask(state);
  state.root.classList.remove("waiting");
  rest(state);
}

// A mix that stands for a second is looked at.
function rest(state) {
  const { shown } = state.root.dataset;
  clearTimeout(state.rest);
  if (shown === state.rested) return;
  state.rest = setTimeout(() => {
    state.rested = shown;
    state.trigger("rested", shown);
  }, REST);
}

// What the engine is at, for a model that does not answer at once.
async function showProgress(state, feed) {
  try {
    const { progress, share } = await (await fetch(`${feed}?seen=progress`)).json();
    if (state.asking && progress) state.root.querySelector(".key").textContent = progress + (share ? ` ${Math.round(100 * share)} %` : "") + " …";
  } catch {}
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".fda-mixer");
  let state = states.get(root);
  if (!state) states.set(root, (state = { root, rows: [], asking: null, asked: 0, wanted: false, rest: 0, built: null, given: null }));
  state.data = data;
  state.trigger = setTriggerValue;
  root.setAttribute("aria-label", data.alt);
  for (const [name, colour] of Object.entries(data.colours)) root.style.setProperty(`--${name}`, colour);
  root.style.setProperty("--fill-window", data.fill);
  const channels = JSON.stringify([data.tasks.map((task) => [task.name, task.colour, task.samples])]);
  if (channels !== state.built) {
    state.built = channels;
    build(state);
  }
  if (!state.asking && !state.wanted) {
    state.lambdas = [...data.lambdas];
    showLambdas(state);
    show(state, data.now);
    if (data.searching) ask(state);
    else rest(state);
  }
  return () => {
    clearTimeout(state.rest);
    state.wanted = false;
    state.asking?.abort();
    states.delete(root);
  };
}
