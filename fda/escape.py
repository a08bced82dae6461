"""Escape untrusted text, with one function for each format that the project writes.

Descriptions, titles, labels, samples, and names of files and tensors come from files that somebody else wrote, and so does the
text that quotes them. In no format may it act as markup: no fetched image, no link, no formula, no command.
"""

import html as _html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip
# GitHub's Markdown turns bare addresses into links, escaped or not, except in code.
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s`]*[^\s`.,;:!?)]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_MARKUP = re.compile(r"([\\*_\[\]$~<>:#`|&])")
_LINE_START = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")  # a list, a rule, the underline of a heading
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBERS = "biufcmM"  # numpy's letters of dtypes that hold no text
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def html(text: str) -> str:
    """Escape for HTML, between tags and in quoted attributes."""
    return _html.escape(text)


def markdown(text: str) -> str:
    """Escape for Markdown (Streamlit's and the hub's) as one paragraph; addresses become code."""
    return line_start(within_line(" ".join(text.split())))


def within_line(text: str) -> str:
    """Escape a part of a Markdown line; blanks stay."""
    parts, end = [], 0
    for match in _ADDRESS.finditer(text):
        parts += [_MARKUP.sub(r"\\\1", text[end : match.start()]), code(match[0])]
        end = match.end()
    return "".join([*parts, _MARKUP.sub(r"\\\1", text[end:])])


def line_start(text: str) -> str:
    """Escape the start of a Markdown line whose parts are escaped, so that it begins no list and underlines no heading."""
    return _LINE_START.sub(r"\1\\\2", text)


def code(text: str) -> str:
    """Return the text as inline Markdown code."""
    text = " ".join(text.split())
    ticks = _backticks(text, 1)
    blank = " " if "`" in (text[:1], text[-1:]) else ""
    return f"{ticks}{blank}{text}{blank}{ticks}" if text else ""


def fence(language: str, text: str) -> str:
    """Return the text as a Markdown code block."""
    ticks = _backticks(text, 3)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _backticks(text: str, least: int) -> str:
    """At least this many backticks, and more than any run of them in the text."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def latex(text: str) -> str:
    """Escape for LaTeX outside of math, on one line: line breaks could end a paragraph within a table cell."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def plotly(text: str) -> str:
    """Escape for plotly's titles, labels, names and hover texts, which interpret some HTML tags and entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(value: object) -> object:
    """Escape a table cell for spreadsheets: text that would be a formula gets an apostrophe before it; other values stay.

    Carriage returns become line feeds: pandas quotes only those, and many readers take a bare carriage return for a new row.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    mark = "'" if _FORMULA.match(value.lstrip(" ")) else ""
    return mark + value.replace("\r\n", "\n").replace("\r", "\n")


def cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return the table with `cell` applied to its text and to its column names."""
    safe = table.copy()
    for column, dtype in enumerate(table.dtypes):
        if dtype.kind not in NUMBERS:
            safe.isetitem(column, table.iloc[:, column].astype(object).map(cell))
    return safe.set_axis([cell(name) for name in table.columns], axis=1)


def csv(table: "pd.DataFrame") -> bytes:
    """Return the table as a CSV file, without its index."""
    return cells(table).to_csv(index=False).encode()
