"""Components that run in the browser, in JavaScript, CSS and HTML, and the function that registers them with Streamlit.

The Python side of each, which says what data it takes, is the module of its name in `fda.ui`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).parent


def component(
    name: str,
    *,
    html: bool = True,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    isolate_styles: bool = True,
) -> Callable[..., Any]:
    """The component `fda.NAME`: NAME.js after shared.js and `scripts`, NAME.html if `html`, and the style sheets `styles`.

    Without `isolate_styles` it is a part of the page, else it has a document of its own, which the page's styles do not reach.
    """
    return st.components.v2.component(
        f"fda.{name}",
        html=source(f"{name}.html") if html else None,
        css="".join(source(f"{style}.css") for style in styles) or None,
        js="".join(source(f"{script}.js") for script in ("shared", *scripts, name)),
        isolate_styles=isolate_styles,
    )


def source(file: str) -> str:
    return (FOLDER / file).read_text(encoding="utf-8")
