"""A table as Markdown, LaTeX (booktabs) or HTML, whatever its numbers mean.

Numbers have one decimal (two significant digits below 1); gaps are dashes.
"""

import math
from collections.abc import Collection

import pandas as pd

from fda.escape import html, latex, markdown

GAP = "–"


def to_markdown(table: pd.DataFrame) -> str:
    """A pipe table: numbers aligned right, words left, markup in words escaped."""
    numeric = _numeric(table)
    rows = [[cell(value) for value in row] for row in table.itertuples(index=False)]
    rule = ["---:" if column in numeric else "---" for column in table.columns]
    lines = [[markdown(column) for column in table.columns], rule, *([markdown(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def to_latex(
    table: pd.DataFrame, *, best: Collection[str] = (), never_best: Collection[str] = (), caption: str = ""
) -> str:
    """A booktabs table environment with every special character escaped.

    The highest value of each column in `best` is bold; rows whose first cell is in `never_best` do not compete.
    """
    numeric = _numeric(table)
    competes = ~table.iloc[:, 0].isin(list(never_best))
    style = table.style.hide(axis="index")
    style.format(lambda value: latex(cell(value)))
    style.format_index(latex, axis=1)
    for column in best:
        style.apply(_bold_top, subset=[column], competes=competes)
    text = style.to_latex(
        hrules=True,
        column_format="".join("r" if column in numeric else "l" for column in table.columns),
        caption=latex(caption) if caption else None,
        position="t",
        position_float="centering",
    )
    return "% \\usepackage{booktabs}\n" + text.replace(GAP, "--")


def to_html(table: pd.DataFrame) -> str:
    """A <table> with every special character escaped."""
    numeric = _numeric(table)

    def row(tag: str, texts: list[str]) -> str:
        cells = [
            f"<{tag}{' class=number' if column in numeric else ''}>{html(text)}</{tag}>"
            for column, text in zip(table.columns, texts, strict=True)
        ]
        return f"<tr>{''.join(cells)}</tr>"

    head = row("th", list(table.columns))
    body = "\n".join(row("td", [cell(value) for value in values]) for values in table.itertuples(index=False))
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def cell(value: object) -> str:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return GAP
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.2g}"
    return str(value)


def _numeric(table: pd.DataFrame) -> set[str]:
    return {column for column in table.columns if pd.api.types.is_numeric_dtype(table[column])}


def _bold_top(values: pd.Series, competes: pd.Series) -> list[str]:
    """Styles of one column: bold for every cell that prints the same as the highest number."""
    top = cell(float(values[competes].max()))
    return [
        "textbf:--rwrap;" if eligible and cell(value) == top != GAP else ""
        for value, eligible in zip(values, competes, strict=True)
    ]
