"""Components that run in the browser (JavaScript, CSS and HTML files), and the function that registers them with Streamlit.

The module of the same name in `fda.ui` passes each its data.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamlit.components import v2

FOLDER = Path(__file__).parent
COMMENT = re.compile(r"^ *//.*\n", re.MULTILINE)  # Streamlit sends a script with each figure, at every update


def component(
    name: str,
    *,
    html: bool = True,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    isolate_styles: bool = True,
) -> Callable[..., Any]:
    """The component `fda.NAME`: NAME.js after shared.js and `scripts`, NAME.html if `html`, and the style sheets `styles`.

    With `isolate_styles` the component has its own document, which the page's styles do not reach.
    """
    return v2.component(
        f"fda.{name}",
        html=source(f"{name}.html") if html else None,
        css="".join(source(f"{style}.css") for style in styles) or None,
        js=COMMENT.sub("", "".join(source(f"{script}.js") for script in ("shared", *scripts, name))),
        isolate_styles=isolate_styles,
    )


def source(file: str) -> str:
    """The text of a file of this folder."""
    return (FOLDER / file).read_text(encoding="utf-8")
