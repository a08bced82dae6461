// Stands before the script of every component: what components share, and how they treat Plotly figures.

const PLOTLY_READY = "fda-plotly-ready"; // an event of the window, once plotly.js is there

// Each component is a module of its own; they reach one another through this object of the window and nothing else.
const shared = (window.fda ??= {
  figures: new Map(), // key of `plot` → { show(figure) }: the ticker hands new figures to them
  svgButton: null,
});

// One object for ever: plotly.js draws anew, and forgets the zoom, when a function in the config is another one.
function svgButton() {
  return (shared.svgButton ??= {
    name: "toSvg",
    title: "Download plot as an SVG",
    icon: window.Plotly.Icons.disk,
    click: (figure) =>
      window.Plotly.downloadImage(figure, { format: "svg", filename: figure._context.toImageButtonOptions.filename }),
  });
}

// Before a figure is drawn. plotly.js makes a CSS selector of each uid, where a blank would be an error; on a touch screen
// dragging scrolls the page.
function prepare({ data, layout }) {
  for (const trace of data) trace.uid = trace.uid?.replace(/[^\w-]/g, (letter) => "_" + letter.charCodeAt(0));
  if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
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
