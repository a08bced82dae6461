"""The idea in a picture: checkpoints, anchors, merged model. Three small drawings that stack on a narrow screen."""

from fda.figures.theme import PALETTES
from fda.ui.components import component
from fda.ui.page import theme

_idea = component("idea", styles=("idea",))


def picture() -> None:
    """A component, because `st.html` leaves out drawings."""
    palette = PALETTES[theme()]
    one, two, three, *_ = palette.series
    colours = {name: getattr(palette, name) for name in ("ink", "muted", "grid", "surface", "accent")}
    _idea(key="idea", data={"colours": colours | {"one": one, "two": two, "three": three}})
