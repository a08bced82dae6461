"""Figures for a projector: the same numbers, in larger letters and lines."""

import json

import plotly.graph_objects as go
import pytest

from fda.analysis.playground import Setting, optimise
from fda.figures import playground as figures
from fda.figures.projector import LETTERS, LINES, for_projector


@pytest.fixture(scope="module")
def drawn() -> list[go.Figure]:
    course = optimise(Setting(d=16, rank=3, anchors=6, steps=40))
    starts = {"weight rows": optimise(Setting(d=16, rank=3, anchors=6, steps=40, start="weight"))}
    of_one = (figures.gradient_maps, figures.turning_arrows, figures.energy_areas, figures.spectrum_of_anchors)
    return [draw(course, "dark") for draw in of_one] + [figures.starts_tail(course, starts, "dark")]


def test_letters_lines_and_markers_are_larger_and_nothing_else_changes(drawn):
    for figure in drawn:
        text = figure.to_json()
        small, large = json.loads(text), json.loads(for_projector(figure).to_json())
        assert figure.to_json() == text
        font = small["layout"]["template"]["layout"]["font"]["size"]
        assert large["layout"]["template"]["layout"]["font"]["size"] == LETTERS * font
        notes = zip(small["layout"].get("annotations", ()), large["layout"].get("annotations", ()), strict=True)
        for note, enlarged in notes:
            assert enlarged["font"]["size"] == LETTERS * note["font"]["size"]
            assert all(note[key] == enlarged[key] for key in ("text", "x", "y"))
        for curve, enlarged in zip(small["data"], large["data"], strict=True):
            if "width" in curve.get("line", {}):
                assert enlarged["line"].pop("width") == pytest.approx(LINES * curve["line"].pop("width"))
            for sized in ("marker", "colorbar", "textfont"):
                curve.pop(sized, None), enlarged.pop(sized, None)
            assert curve == enlarged
