"""Figures for a paper: SVG, or PDF by the browser, at a column's width, in the light theme's colours and a standard font."""

from functools import cache

from fda.figures.theme import PALETTES, Palette, steps_colours, template
from fda.ui.components import component
from fda.ui.page import theme

STEPS = range(1, 33)  # numbers of curves coloured by step; more keep their colours

_paper = component("paper", styles=("paper",), isolate_styles=False)


def paper_export(name: str) -> None:
    """Choose one of the page's figures, its width and its background; then download it. `name` begins the file's name."""
    colours = _dark_to_light() if theme() == "dark" else []
    _paper(key="paper", data={"name": name, "colours": colours, "template": _template()})


@cache
def _template() -> dict:
    return template("light").to_plotly_json()


@cache
def _dark_to_light() -> list[tuple[str, str]]:
    """Each colour of the dark theme and its like in the light one: of a palette, as `#rrggbb` and as the beginning of
    `rgba(…)`, and of the curves of a figure that are coloured by their step."""
    pairs = zip(_colours(PALETTES["dark"]), _colours(PALETTES["light"]), strict=True)
    steps = (zip(steps_colours(count, "dark"), steps_colours(count, "light"), strict=True) for count in STEPS)
    return [
        *(form for dark, light in pairs for form in ((dark, light), (_rgba(dark), _rgba(light)))),
        *(pair for scale in steps for pair in scale),
    ]


def _colours(palette: Palette) -> list[str]:
    return [colour for value in vars(palette).values() for colour in ([value] if isinstance(value, str) else value)]


def _rgba(colour: str) -> str:
    return f"rgba({','.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))},"
