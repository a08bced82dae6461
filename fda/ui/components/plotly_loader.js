// Fetches plotly.js as a file while the page is built: inside the page's messages it would arrive a second later. Has the page
// run again when the reader's system changes between light and dark: the server draws figures for one of them.

const ID = "fda-plotly";
const PATIENCE = 30_000; // milliseconds that a busy browser may take to change its theme

const dark = window.matchMedia("(prefers-color-scheme: dark)");

let shown; // the ground of the theme that the server knows of
let tell;
let waiting;

export default function ({ data, setTriggerValue }) {
  fetchPlotly(data.src);
  tell = setTriggerValue;
  shown ??= ground();
}

// Streamlit tells the server its own theme, so the page runs again only once that has changed; never if the reader chose one.
dark.addEventListener("change", () => {
  clearInterval(waiting);
  const end = performance.now() + PATIENCE;
  waiting = setInterval(() => {
    const now = ground();
    if (now === shown && performance.now() < end) return;
    clearInterval(waiting);
    if (now !== shown) tell?.("theme", dark.matches);
    shown = now;
  }, 100);
});

function ground() {
  return getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor;
}

function fetchPlotly(src) {
  if (window.Plotly || document.getElementById(ID)) return;
  const script = document.createElement("script");
  script.id = ID;
  script.src = src;
  script.onload = () => {
    rememberArrays(window.Plotly.PlotSchema);
    window.dispatchEvent(new Event(PLOTLY_READY));
  };
  script.onerror = () => script.remove();
  document.head.append(script);
}
