// Prepended to the script of every component: shared state and the handling of Plotly figures.

const PLOTLY_READY = "fda-plotly-ready"; // event of the window: plotly.js has loaded

// Components are separate modules; this object of the window is all that connects them.
const shared = (window.fda ??= {
  figures: new Map(), // key of `plot` → { show(figure) }, which the ticker calls with new versions
  svgButton: null,
  playing: null, // the slider that sweeps
});

// A single object: plotly.js redraws and forgets the zoom if a function in the config changes.
function svgButton() {
  return (shared.svgButton ??= {
    name: "toSvg",
    title: "Download plot as an SVG",
    icon: window.Plotly.Icons.disk,
    click: (figure) =>
      window.Plotly.downloadImage(figure, { format: "svg", filename: figure._context.toImageButtonOptions.filename }),
  });
}

// Prepares a figure for drawing. plotly.js makes a CSS selector from each uid, so spaces are escaped; on a touch screen
// dragging scrolls the page.
function prepare({ data, layout }) {
  for (const trace of data) trace.uid = trace.uid?.replace(/[^\w-]/g, (letter) => "_" + letter.charCodeAt(0));
  if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
}

// A figure's height, stretched to a share of the window's; on a phone its own, or `most` if that is less.
function filled(height, share, most = Infinity) {
  return window.innerWidth >= 768 ? Math.max(height, Math.round(share * window.innerHeight)) : Math.min(height, most);
}

function draw(root, { data, layout, config }) {
  window.Plotly.react(root, data, layout, { ...config, modeBarButtonsToAdd: [svgButton()] });
}

function purge(root) {
  if (window.Plotly && root._fullLayout) window.Plotly.purge(root);
}

function resizeObserver() {
  return new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (window.Plotly && target._fullLayout && target.offsetWidth) window.Plotly.Plots.resize(target);
    }
  });
}
