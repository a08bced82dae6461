"""Strangers' text in the formats that the project writes: one function a format, used wherever such text goes.

Descriptions, titles, labels, samples, names of files and tensors, and sentences that quote them come out of files that somebody
else wrote. In none of these formats may they be markup: no picture that is fetched, no link, no formula, no command.
"""

import html as _html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
          "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip
# GitHub's Markdown makes links of bare addresses, escaped or not; in code it does not.
_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s`]*[^\s`.,;:!?)]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_MARKUP = re.compile(r"([\\*_\[\]$~<>:#`|&])")
_LINE_START = re.compile(r"^(\d*)([-+=.)])(?=[-=\s]|$)")  # a list, a rule, the underline of a heading
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBERS = "biufcmM"  # numpy's letters of dtypes whose values are no texts
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def html(text: str) -> str:
    """For HTML, between tags and in quoted attributes."""
    return _html.escape(text)


def markdown(text: str) -> str:
    """For Markdown, of Streamlit and of the hub, as one paragraph: shown as it is, addresses as code."""
    return line_start(within_line(" ".join(text.split())))


def within_line(text: str) -> str:
    """For Markdown, a stretch of a line; blanks stay."""
    parts, end = [], 0
    for match in _ADDRESS.finditer(text):
        parts += [_MARKUP.sub(r"\\\1", text[end : match.start()]), code(match[0])]
        end = match.end()
    return "".join([*parts, _MARKUP.sub(r"\\\1", text[end:])])


def line_start(text: str) -> str:
    """For Markdown, a line whose stretches are escaped: it begins no list, and underlines no heading."""
    return _LINE_START.sub(r"\1\\\2", text)


def code(text: str) -> str:
    """For Markdown, as code within a line."""
    text = " ".join(text.split())
    ticks = _longer_than_any(text, 1)
    blank = " " if "`" in (text[:1], text[-1:]) else ""
    return f"{ticks}{blank}{text}{blank}{ticks}" if text else ""


def fence(language: str, text: str) -> str:
    """For Markdown, as a block of code."""
    ticks = _longer_than_any(text, 3)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _longer_than_any(text: str, least: int) -> str:
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])


def latex(text: str) -> str:
    """For LaTeX, outside of math. A line's end would end a cell's paragraph."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def plotly(text: str) -> str:
    """For plotly's titles, labels, names and hover texts, which know some tags and entities of HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(value: object) -> object:
    """For a table that a spreadsheet opens: text that would be a formula there has an apostrophe before it; all else stays.

    Carriage returns become ends of lines, as pandas quotes those and not the others, which many readers take for a new row.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    mark = "'" if _FORMULA.match(value.lstrip(" ")) else ""
    return mark + value.replace("\r\n", "\n").replace("\r", "\n")


def cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table, its texts and the names of its columns as `cell`."""
    safe = table.copy()
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in NUMBERS:
            safe.isetitem(place, table.iloc[:, place].astype(object).map(cell))
    return safe.set_axis([cell(name) for name in table.columns], axis=1)


def csv(table: "pd.DataFrame") -> bytes:
    """The table as a CSV file, without its index."""
    return cells(table).to_csv(index=False).encode()
