// Fetches plotly.js as a file while the page is built: inside the page's messages it would arrive a second later.

const ID = "fda-plotly";

export default function ({ data }) {
  if (window.Plotly || document.getElementById(ID)) return;
  const script = document.createElement("script");
  script.id = ID;
  script.src = data.src;
  script.onload = () => {
    rememberArrays(window.Plotly.PlotSchema);
    window.dispatchEvent(new Event(PLOTLY_READY));
  };
  script.onerror = () => script.remove();
  document.head.append(script);
}
