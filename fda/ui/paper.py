"""Figures for a paper: SVG, or PDF by the browser's printing, at a column's width, with dark letters in a standard font."""

from functools import cache

from fda.figures.theme import PALETTES, Palette, template
from fda.ui.components import component

_paper = component("paper", styles=("paper",), isolate_styles=False)


def paper_export(name: str) -> None:
    """Choose one of the page's figures, its width and its background; then download it. `name` begins the file's name."""
    _paper(key="paper", data={"name": name, "colours": _dark_to_light(), "template": _template()})


@cache
def _template() -> dict:
    return template("light").to_plotly_json()


@cache
def _dark_to_light() -> list[tuple[str, str]]:
    """Each colour of letters, lines and grounds in the dark theme, as `#rrggbb` and as the beginning of `rgba(…)`, and in the
    light one."""
    pairs = zip(_colours(PALETTES["dark"]), _colours(PALETTES["light"]), strict=True)
    return [form for dark, light in pairs for form in ((dark, light), (_rgba(dark), _rgba(light)))]


def _colours(palette: Palette) -> list[str]:
    return [palette.ink, palette.muted, palette.grid, palette.surface, palette.page]


def _rgba(colour: str) -> str:
    return f"rgba({','.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))},"
