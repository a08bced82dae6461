"""What is remembered of a curve's arrays is what plotly.js itself finds."""

from importlib.resources import files

import pytest

from fda.ui.components import source

pytestmark = pytest.mark.browser

TRACES = [
    {"type": "scatter", "x": [1, 2], "y": [1, 2], "mode": "lines"},
    {"type": "scatter", "x": [3, 4], "y": [5, 6], "mode": "lines"},
    {"type": "scatter", "x": [1, 2], "y": [1, 2], "mode": "markers+text", "text": ["a", "b"], "customdata": [[1], [2]],
     "marker": {"color": ["red", "blue"], "line": {"width": [1, 2]}}, "error_y": {"array": [1, 2]}},
    {"type": "scatter", "x": [1, 2], "y": [1, 2], "marker": {"color": [1, 2], "colorbar": {"tickvals": [1, 2]}}},
    {"type": "heatmap", "z": [[1, 2], [3, 4]]},
]  # fmt: skip


def test_the_arrays_of_curves_are_those_that_plotly_finds(visit):
    page = visit.page
    page.set_content("<div id='figure'></div>")
    page.add_script_tag(path=str(files("plotly") / "package_data" / "plotly.min.js"))
    plain, remembered = page.evaluate(
        f"""async (traces) => {{
          {source("plotly_arrays.js")}
          const schema = Plotly.PlotSchema;
          const drawn = await Plotly.newPlot("figure", traces);
          const found = () => drawn._fullData.map((trace) => schema.findArrayAttributes(trace));
          const plain = found();
          rememberArrays(schema);
          found();
          return [plain, found()];
        }}""",
        TRACES,
    )
    assert remembered == plain
    assert set(plain[2]) >= {"x", "y", "text", "customdata", "marker.color", "marker.line.width", "error_y.array"}
