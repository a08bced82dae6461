// Figures of the page for a paper: an SVG of a column's width in the colours of the light theme and a font that every reader has.

const FONT = "Arial, Helvetica, sans-serif";
const PIXELS = 96 / 25.4; // per millimetre
const SHRINK = 7 / (12 * 0.75); // the figures' 12 pixels become 7 points

function figures() {
  return [...document.querySelectorAll(".fda-figure")].filter((root) => root._fullLayout);
}

function title(root) {
  const parsed = new DOMParser().parseFromString(root.layout.title?.text ?? "", "text/html");
  return parsed.body.textContent || root.getAttribute("aria-label") || "figure";
}

// All colours at once: some are of both themes.
function inLight(value, colours) {
  if (!colours.length) return JSON.parse(JSON.stringify(value));
  const light = new Map(colours);
  const any = new RegExp([...light.keys()].map((dark) => dark.replace(/[()]/g, "\\$&")).join("|"), "g");
  return JSON.parse(JSON.stringify(value).replace(any, (dark) => light.get(dark)));
}

// The letters in the cells of a map whose scale has changed: what was dark is light.
function reletter(given, data) {
  let changed = false;
  data.forEach((trace, index) => {
    if (trace.type === "heatmap") changed = JSON.stringify(trace.colorscale) !== JSON.stringify(given[index].colorscale);
    const colours = trace.mode === "text" && trace.textfont?.color;
    if (changed && Array.isArray(colours)) {
      trace.textfont.color = colours.map((one) => (one === "#ffffff" ? "#101820" : "#ffffff"));
    }
  });
}

async function drawn(root, { width, ground }, { colours, template }) {
  const pixels = Math.round((width * PIXELS) / SHRINK);
  const shape = Math.min(width > 100 ? 0.75 : 1.1, Math.max(0.5, root.offsetHeight / root.offsetWidth));
  const height = Math.round(pixels * shape);
  const { data, layout } = inLight({ data: root.data, layout: { ...root.layout, template: null } }, colours);
  reletter(root.data, data);
  Object.assign(layout, { template, width: pixels, height, autosize: false, paper_bgcolor: ground });
  layout.font = { ...layout.font, family: FONT };
  const image = await window.Plotly.toImage({ data, layout }, { format: "svg", width: pixels, height });
  const svg = decodeURIComponent(image.slice(image.indexOf(",") + 1));
  const size = `width="${width}mm" height="${Math.round(width * shape)}mm"`;
  return { shape, svg: svg.replace(/ width="[^"]*" height="[^"]*"/, ` ${size}`) };
}

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// The browser's own printing keeps letters and curves; the page is as large as the figure.
function print(page, { svg, shape }, width) {
  page.document.title = "Figure";
  page.document.body.innerHTML = `<style>@page { size: ${width}mm ${Math.round(width * shape)}mm; margin: 0 }
    body { margin: 0 } svg { display: block }</style>${svg}`;
  page.print();
}

export default function ({ data, parentElement }) {
  const find = (selector) => parentElement.querySelector(selector);
  const list = find(".figure");
  const fill = () => {
    const titles = figures().map(title);
    if (titles.join() === [...list.options].map((option) => option.text).join()) return;
    list.replaceChildren(...titles.map((text, index) => new Option(text, index)));
  };
  fill();
  list.onpointerdown = list.onfocus = fill;
  const wanted = () => ({ width: Number(find(".width").value), ground: find(".ground").value });
  find(".svg").onclick = async () => {
    const root = figures()[list.value];
    if (!root) return;
    const slug = title(root).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
    save((await drawn(root, wanted(), data)).svg, `${data.name}-${slug}.svg`);
  };
  find(".pdf").onclick = async () => {
    const root = figures()[list.value];
    const page = root && window.open("", "_blank");
    if (page) print(page, await drawn(root, wanted(), data), wanted().width);
  };
}
