// Fetches plotly.js as a file while the page is built: inside the page's messages it would arrive a second later. Has the page
// run again when the reader's system changes between light and dark: the server draws figures for one of them.

const ID = "fda-plotly";

const dark = window.matchMedia("(prefers-color-scheme: dark)");

export default function ({ data, setTriggerValue }) {
  fetchPlotly(data.src);
  const changed = () => setTimeout(() => setTriggerValue("theme", dark.matches), 200); // once Streamlit has changed its own
  dark.addEventListener("change", changed);
  return () => dark.removeEventListener("change", changed);
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
