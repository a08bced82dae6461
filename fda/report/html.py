"""One HTML file that opens offline: facts, figures with one copy of plotly.js, a table, notes, and data to save.

`report.html` and `report.css` are its skeleton and style. `run_report.py` and the export of scores decide its contents.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import pandas as pd
import plotly.graph_objects as go

from fda.escape import csv, html
from fda.figures.theme import CONFIG, FONT, PALETTES, Theme
from fda.report.markup import to_html

FOLDER = Path(__file__).parent


def report(
    title: str,
    *,
    facts: Mapping[str, str],
    table: pd.DataFrame | None,
    figures: Mapping[str, tuple[go.Figure, str]],
    notes: Sequence[str],
    theme: Theme,
    data: Mapping[str, pd.DataFrame] | None = None,
    code: Mapping[str, str] | None = None,
    verdict: Sequence[str] = (),
) -> str:
    """The file's text. `facts`: name → words. `figures`: name → (figure, caption). `notes` stand under the table.

    `data`: file name → table, embedded as CSV with a link to save it. `code`: heading → text shown verbatim. `verdict`:
    sentences under the title.
    """
    palette = PALETTES[theme]
    colours = {name: getattr(palette, name) for name in ("page", "ink", "muted", "grid", "surface", "accent")}
    links = "".join(f"<li>{_csv_link(name, rows)}</li>" for name, rows in (data or {}).items())
    return Template((FOLDER / "report.html").read_text(encoding="utf-8")).substitute(
        title=html(title),
        colours=" ".join(f"--{name}: {value};" for name, value in (colours | {"font": FONT}).items()),
        style=(FOLDER / "report.css").read_text(encoding="utf-8"),
        verdict="".join(f'<p class="verdict">{html(sentence)}</p>' for sentence in verdict),
        facts="".join(f"<dt>{html(name)}</dt><dd>{_with_code(words)}</dd>" for name, words in facts.items()),
        figures="\n".join(
            f"<section>{_figure(figure, with_library=index == 0)}<p>{html(sentence)}</p></section>"
            for index, (figure, sentence) in enumerate(figures.values())
        ),
        table="" if table is None else to_html(table),
        notes="".join(f"<p>{html(note)}</p>" for note in notes),
        data=f"<h2>The numbers</h2><ul>{links}</ul>" if links else "",
        code="".join(f"<h2>{html(heading)}</h2><pre>{html(text)}</pre>" for heading, text in (code or {}).items()),
    )


def _with_code(words: str) -> str:
    """Escaped words, what is between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html(words))


def _csv_link(name: str, rows: pd.DataFrame) -> str:
    packed = base64.b64encode(csv(rows)).decode()
    return f'<a download="{html(name)}" href="data:text/csv;base64,{packed}">{html(name)}</a>: {len(rows):,} rows'


def standalone_html(figure: go.Figure) -> str:
    """One figure with plotly.js as an HTML file (about 5 MB) that needs no network."""
    page = figure.layout["paper_bgcolor"] or figure.layout["template"]["layout"]["paper_bgcolor"]
    text = figure.to_html(include_plotlyjs=True, full_html=True, config=CONFIG)
    return text.replace("<body>", f'<body style="background:{page};margin:1rem">', 1)


def _figure(figure: go.Figure, *, with_library: bool) -> str:
    return figure.to_html(include_plotlyjs=with_library, full_html=False, config=CONFIG)
