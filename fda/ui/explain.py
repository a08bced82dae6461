"""The idea in a picture: checkpoints, anchors, merged model. Three small drawings that stack on a narrow screen."""

import math

import streamlit as st

from fda.figures.look import PALETTES, SYMBOLS, Palette, Theme
from fda.ui.theme import theme

ENDS = ((52, 40), (140, 24), (196, 78))  # where the three finetuned models lie in the drawings; the pretrained one at
START = (70, 132)
MERGED = (132, 66)
WIDTH, HEIGHT = 240, 160

_CSS = """
<style>
.fda-idea { display: flex; gap: .6rem; align-items: stretch; margin: .2rem 0 .6rem; }
.fda-idea figure { flex: 1 1 0; margin: 0; padding: .7rem .9rem .8rem; border: 1px solid %(grid)s; border-radius: .5rem;
  background: %(surface)s; display: flex; flex-direction: column; }
.fda-idea svg { width: 100%%; max-width: 340px; height: auto; align-self: center; }
.fda-idea figcaption { font-size: .88rem; line-height: 1.4; color: %(muted)s; }
.fda-idea figcaption b { display: block; color: %(ink)s; font-size: 1rem; margin-bottom: .1rem; }
.fda-idea .to { align-self: center; color: %(accent)s; font-size: 1.6rem; line-height: 1; }
@media (max-width: 820px) {
  .fda-idea { flex-direction: column; }
  .fda-idea svg { max-width: 270px; }
  .fda-idea .to { transform: rotate(90deg); }
}
</style>
"""


_idea = st.components.v2.component(
    "fda.idea",
    html='<div class="fda-idea-root"></div>\n',
    js="""
export default function ({ data, parentElement }) {
  parentElement.querySelector(".fda-idea-root").innerHTML = data.markup;
}
""",
)


def picture() -> None:
    """A component, because `st.html` leaves out drawings."""
    _idea(key="idea", data={"markup": markup(theme())})


def markup(look: Theme) -> str:
    palette = PALETTES[look]
    panels = (
        (
            _checkpoints(palette),
            "Checkpoints",
            "One pretrained model θ₀ and models θᵢ finetuned from it, each for a task. The arrows are the task "
            "vectors τᵢ = θᵢ − θ₀.",
        ),
        (
            _anchors(palette),
            "Anchors",
            "For each task and block, synthetic inputs X are optimised until the gradient they induce at θ₀ points "
            "along τᵢ. No data is needed.",
        ),
        (
            _merged(palette),
            "Merged model",
            "Block by block, one model is adapted until it answers every task's anchors as that task's own "
            "finetuned model does.",
        ),
    )
    drawn = [f"<figure>{svg}<figcaption><b>{title}</b>{text}</figcaption></figure>" for svg, title, text in panels]
    row = '<span class="to">→</span>'.join(drawn)
    return _CSS % vars(palette) + f'<div class="fda-idea">{row}</div>'


def _checkpoints(palette: Palette) -> str:
    parts = [_arrow(START, end, colour, 2.4) for end, colour in zip(ENDS, palette.series, strict=False)]
    parts += [_dot(*START, palette.ink, 6), _text(START[0] - 4, START[1] + 19, "θ₀", palette.ink)]
    for index, (end, place) in enumerate(zip(ENDS, ((-18, 2), (10, 0), (10, 6)), strict=True)):
        colour = palette.series[index]
        parts.append(_mark(index, *end, colour))
        parts.append(_text(end[0] + place[0], end[1] + place[1] + 2, f"θ{'₁₂₃'[index]}", colour, start=place[0] > 0))
    return _svg("A pretrained model and three task vectors leading to finetuned models", parts)


def _anchors(palette: Palette) -> str:
    """A matrix of anchors, and two arrows: its gradient turning towards the task vector."""
    parts = []
    for row in range(7):
        for column in range(6):
            strength = 0.25 + 0.75 * abs(math.sin(1.7 * row + 2.3 * column + row * column))
            parts.append(
                f'<rect x="{18 + 12 * column}" y="{34 + 12 * row}" width="10.5" height="10.5" rx="1.5" '
                f'fill="{palette.accent}" fill-opacity="{strength:.2f}"/>'
            )
    parts.append(_text(53, 136, "anchors X", palette.ink))
    origin, target = (128, 128), (214, 40)
    parts.append(_arrow(origin, target, palette.series[1], 2.6))
    parts.append(_text(218, 34, "τᵢ", palette.series[1]))
    for end, opacity in (((222, 112), 0.35), ((224, 88), 0.6), ((220, 64), 1.0)):
        parts.append(_arrow(origin, end, palette.accent, 2, dash="5 3", opacity=opacity))
    parts.append(_text(196, 134, "gradient", palette.accent))
    parts.append(_dot(*origin, palette.ink, 5))
    parts.append(_text(118, 148, "θ₀", palette.ink))
    return _svg("Anchors as a matrix, and the gradient they induce turning towards the task vector", parts)


def _merged(palette: Palette) -> str:
    parts = []
    for index, end in enumerate(ENDS):
        colour = palette.series[index]
        parts.append(
            f'<line x1="{MERGED[0]}" y1="{MERGED[1]}" x2="{end[0]}" y2="{end[1]}" stroke="{colour}" '
            f'stroke-width="1.4" stroke-dasharray="2 4" stroke-linecap="round"/>'
        )
        parts.append(_mark(index, *end, colour))
    parts.append(
        f'<path d="M{START[0]} {START[1]} C 82 96, 108 104, {MERGED[0] - 7} {MERGED[1] + 9}" fill="none" '
        f'stroke="{palette.accent}" stroke-width="2.8"/>'
    )
    parts += [_dot(*START, palette.ink, 6), _text(START[0] - 4, START[1] + 19, "θ₀", palette.ink)]
    parts += [_dot(*MERGED, palette.accent, 9), _text(MERGED[0] + 42, MERGED[1] + 40, "merged θ", palette.accent)]
    return _svg("One model moved from the pretrained one to a place between the finetuned ones", parts)


def _svg(alt: str, parts: list[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{alt}">{"".join(parts)}</svg>'


def _dot(x: float, y: float, colour: str, radius: float) -> str:
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"/>'


def _mark(index: int, x: float, y: float, colour: str) -> str:
    """The task's symbol, as in the figures."""
    if SYMBOLS[index] == "square":
        return f'<rect x="{x - 5.5}" y="{y - 5.5}" width="11" height="11" fill="{colour}"/>'
    if SYMBOLS[index] == "diamond":
        return f'<path d="M{x} {y - 7.5}L{x + 7.5} {y}L{x} {y + 7.5}L{x - 7.5} {y}Z" fill="{colour}"/>'
    return _dot(x, y, colour, 6)


def _text(x: float, y: float, text: str, colour: str, *, start: bool = False) -> str:
    anchor = "start" if start else "middle"
    return (
        f'<text x="{x}" y="{y}" fill="{colour}" font-size="13" font-weight="600" text-anchor="{anchor}">{text}</text>'
    )


def _arrow(
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    width: float,
    *,
    dash: str = "none",
    opacity: float = 1.0,
) -> str:
    """A line with a head drawn as a triangle: markers by id would clash between drawings."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    tip = (end[0] - 8 * math.cos(angle), end[1] - 8 * math.sin(angle))
    left, right = ((tip[0] - 9 * math.cos(angle + turn), tip[1] - 9 * math.sin(angle + turn)) for turn in (0.42, -0.42))
    return (
        f'<g stroke="{colour}" fill="{colour}" opacity="{opacity}">'
        f'<line x1="{start[0]}" y1="{start[1]}" x2="{tip[0]:.1f}" y2="{tip[1]:.1f}" stroke-width="{width}" '
        f'stroke-dasharray="{dash}"/>'
        f'<path d="M{tip[0]:.1f} {tip[1]:.1f}L{left[0]:.1f} {left[1]:.1f}L{right[0]:.1f} {right[1]:.1f}Z" '
        f'stroke="none"/></g>'
    )
