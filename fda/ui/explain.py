"""The idea of FDA in three small drawings, which stack on a narrow screen: checkpoints, anchors, merged model."""

from fda.figures.theme import PALETTES
from fda.ui.components import component
from fda.ui.page import theme

_idea = component("idea", styles=("idea",))


def picture() -> None:
    """Show the drawings, in a component because `st.html` removes SVG."""
    palette = PALETTES[theme()]
    one, two, three, *_ = palette.series
    colours = {name: getattr(palette, name) for name in ("ink", "muted", "grid", "surface", "accent")}
    _idea(key="idea", data=colours | {"one": one, "two": two, "three": three})
