"""One HTML file that opens offline: facts, figures with plotly.js once, a table, data to take out, and what else is to be said.

Pure text. What goes into it is decided by `run_report.py` (a whole run) and by the Compare page (what is shown there).
"""

import base64
from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from fda.escape import csv, html
from fda.figures.look import CONFIG, FONT, PALETTES, Theme
from fda.report.markup import to_html

_STYLE = """
body {{ background: {page}; color: {ink}; font-family: {font}; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
h1, h2 {{ font-family: serif; font-weight: 600; margin-bottom: 0.2rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1rem; }}
dt {{ color: {muted}; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.85rem; white-space: nowrap; }}
th, td {{ padding: 0.25rem 0.6rem; border-bottom: 1px solid {grid}; text-align: left; }}
thead th {{ border-bottom: 2px solid {muted}; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
pre {{ background: {surface}; padding: 0.8rem 1rem; max-height: 30rem; overflow: auto; font-size: 0.8rem; }}
section {{ margin: 2rem 0; }} p {{ color: {muted}; max-width: 50rem; }} a {{ color: {accent}; }}
"""


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
) -> str:
    """`facts`: what was run, name → words. `figures`: name → (figure, a sentence beneath it). `notes` stand under the table.

    `data`: file name → table, kept in the file as CSV with a link to save it. `code`: heading → text shown as it is.
    """
    known = "".join(f"<dt>{html(name)}</dt><dd>{html(words)}</dd>" for name, words in facts.items())
    drawn = "\n".join(
        f"<section>{_figure(figure, with_library=place == 0)}<p>{html(sentence)}</p></section>"
        for place, (figure, sentence) in enumerate(figures.values())
    )
    said = "".join(f"<p>{html(note)}</p>" for note in notes)
    kept = "".join(f"<li>{_csv_link(name, rows)}</li>" for name, rows in (data or {}).items())
    shown = "".join(f"<h2>{html(heading)}</h2><pre>{html(text)}</pre>" for heading, text in (code or {}).items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html(title)}</title>
<style>{_STYLE.format(font=FONT, **vars(PALETTES[theme]))}</style></head>
<body>
<h1>{html(title)}</h1>
<dl>{known}</dl>
{drawn}
<section class="wide">{"" if table is None else to_html(table)}</section>
{said}
{f"<h2>The numbers</h2><ul>{kept}</ul>" if kept else ""}
{shown}
</body></html>
"""


def _csv_link(name: str, rows: pd.DataFrame) -> str:
    packed = base64.b64encode(csv(rows)).decode()
    return f'<a download="{html(name)}" href="data:text/csv;base64,{packed}">{html(name)}</a>: {len(rows):,} rows'


def standalone_html(figure: go.Figure) -> str:
    """One figure and plotly.js in a file (about 5 MB): opens offline, asks nothing of the network."""
    page = figure.layout.paper_bgcolor or figure.layout.template.layout.paper_bgcolor
    text = figure.to_html(include_plotlyjs=True, full_html=True, config=CONFIG)
    return text.replace("<body>", f'<body style="background:{page};margin:1rem">', 1)


def _figure(figure: go.Figure, *, with_library: bool) -> str:
    return figure.to_html(include_plotlyjs=with_library, full_html=False, config=CONFIG)
