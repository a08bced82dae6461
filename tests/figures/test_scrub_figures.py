"""Figures that follow dials: what stands where at every position, exact on small cases."""

import numpy as np
import pytest

from fda.figures.anchors import SHARE, STEP, Record, Scene, measure_over_steps, spectrum_at
from fda.figures.anchors_alignment import angles_at, cosines_at, similarity_by_share, similarity_over_steps
from fda.figures.neighbours import ANCHOR, neighbour_map
from fda.figures.ridge import MOVING_POINTS, SHAPES, spectra
from fda.figures.scrub import Scrubbed, compact

STEPS = (0, 5, 10)


def scene(*runs: str, pinned: str | None = None) -> Scene:
    return Scene(runs, pinned or runs[0], STEPS, "light", "x")


def record(run: str, values, steps=STEPS) -> Record:
    return Record(run, np.array(steps), np.array(values, float))


def trace(figure, uid: str):
    return next(one for one in figure.data if one.uid == uid)


def at(scrubbed: Scrubbed, **positions: int):
    return scrubbed.at(positions)


def test_the_spectrum_at_a_step_is_that_of_the_last_snapshot_not_later():
    early = record("a", [[1, 0.5], [1, 0.1]], steps=(0, 10))
    drawn = spectrum_at([early, record("b", [[1, 0.4], [1, 0.3], [1, 0.2]])], scene("a", "b"))
    assert [list(trace(at(drawn, step=place), "at-a").y) for place in range(3)] == [[1, 0.5], [1, 0.5], [1, 0.1]]
    assert [trace(at(drawn, step=place), "at-b").y[1] for place in range(3)] == [0.4, 0.3, 0.2]
    assert at(drawn, step=1).layout.title.text == "Spectrum at step 5"


def test_a_single_run_has_the_other_steps_behind_it_and_several_have_not():
    alone = spectrum_at([record("a", [[1, 0.5]] * 3)], scene("a"))
    assert [one.uid for one in alone.figure.data] == ["trail-0", "trail-5", "trail-10", "at-a"]
    both = spectrum_at([record(name, [[1, 0.5]] * 3) for name in "ab"], scene("a", "b"))
    assert [one.uid for one in both.figure.data] == ["at-a", "at-b"]


def test_the_reference_differs_in_more_than_colour():
    drawn = spectrum_at([record(name, [[1, 0.5]] * 3) for name in "abc"], scene(*"abc", pinned="b")).figure
    lines = {one.name: one.line for one in drawn.data}
    assert lines["b (reference)"].dash == "solid" and lines["b (reference)"].width > lines["a"].width
    assert len({line.dash for line in lines.values()}) == 3


def test_a_linear_axis_begins_at_zero_and_a_log_axis_shows_every_value():
    records = [record("a", [[1, 1e-3]] * 3)]
    assert spectrum_at(records, scene("a"), log=False).figure.layout.yaxis.range[0] == 0
    assert spectrum_at(records, scene("a")).figure.layout.yaxis.range[0] < -3


def test_angles_are_in_degrees():
    drawn = angles_at([record("a", [[0, np.pi / 2]] * 3)], scene("a"))
    assert list(trace(at(drawn), "at-a").y) == [0, 90]


def test_cosines_are_bars_with_hatches_and_a_missing_one_is_a_gap():
    values = [[0.1, 0.2], [0.3, np.nan], [0.5, -0.6]]
    drawn = cosines_at([record(name, values) for name in "ab"], scene("a", "b"), tensors=["w", "b"])
    assert list(trace(at(drawn, step=1), "at-a").x) == [0.3, None]
    assert {one.marker.pattern.shape for one in drawn.figure.data} == {"", "/"}
    assert drawn.figure.layout.xaxis.range[0] < -0.6


def test_similarity_follows_the_share_and_its_chance_line_with_it():
    shares, chance = np.array([0.2, 1.0]), np.array([0.25, 1.0])
    drawn = similarity_over_steps([record("a", [[0.3, 1]] * 3)], scene("a"), shares=shares, chance=chance)
    for place in (0, 1):
        figure = at(drawn, share=place, step=2)
        assert list(trace(figure, "chance").y) == [chance[place]] * 2
        assert list(trace(figure, "over-a").y) == [[0.3] * 3, [1.0] * 3][place]
        assert figure.layout.shapes[0].x0 == figure.layout.shapes[0].x1 == 10
        assert figure.layout.yaxis.range == (0, pytest.approx((0.36, 1.02)[place]))
    assert trace(at(drawn), "chance").name == "chance k/d = 0.25"


def test_similarity_by_share_follows_the_step_and_marks_the_share():
    shares = np.array([0.5, 1.0])
    drawn = similarity_by_share([record("a", [[0.5, 1], [0.6, 1], [0.7, 1]])], scene("a"), shares=shares, chance=shares)
    figure = at(drawn, step=2, share=1)
    assert trace(figure, "at-a").y[0] == 0.7 and figure.layout.shapes[0].x0 == 1.0


def test_levels_stand_still_while_the_cursor_moves():
    drawn = measure_over_steps(
        [record("a", [0.1, 0.2, 0.3])], scene("a"), title="t", y_title="y", levels=[("real data", 0.6)], limit=1.0
    )
    figure = at(drawn, step=1)
    assert (figure.layout.shapes[0].y0, figure.layout.shapes[1].x0) == (0.6, 5)
    assert figure.layout.annotations[0].text == "real data"
    assert figure.layout.yaxis.range == (0, pytest.approx(0.72)), "a fifth above the highest, the line included"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("log", [True, False])
def test_spectra_of_several_units_follow_the_step(shape, log):
    values = np.array([[[1, 0.5, 0.1], [1, 0.2, np.nan]], [[1, 0.1, 0.01], [1, 0.1, np.nan]]])
    drawn = spectra(
        ["one", "two"], values, "dark", shape=shape, title=["s 0", "s 5"], row_title="", ordered=False, log=log
    )
    first, second = (at(drawn, step=place) for place in (0, 1))
    assert (first.layout.title.text, second.layout.title.text) == ("s 0", "s 5")
    if shape == "heatmap":
        cell = trace(second, "spectra").z[0][2]
        assert cell == pytest.approx(-2 if log else 0.01)
        assert trace(first, "spectra").z[1][2] is None
    elif shape == "curves":
        assert list(trace(second, "row-one").y) == [1, 0.1, 0.01]
    else:
        top = trace(second, "row-one").y
        # the largest value is as high as rows overlap, and on a log axis the smallest of all lies on its row's base
        assert top[0] == pytest.approx(1 + 1.8) and top[2] == pytest.approx(1 if log else 1 + 1.8 * 0.01)


def test_one_position_stands_still_and_long_spectra_are_thinned():
    still = spectra(["a"], np.ones((1, 1, 9)), "light", shape="curves", title=["t"], row_title="", ordered=True)
    assert still.moves == []
    moving = spectra(
        ["a"], np.ones((2, 1, 768)), "light", shape="heatmap", title=["t", "u"], row_title="", ordered=True
    )
    assert len(moving.figure.data[0].x) <= MOVING_POINTS


def test_rays_lead_from_the_chosen_anchor_to_its_nearest():
    anchors, real = np.array([[0.0, 0], [5, 5]]), np.array([[1.0, 0], [2, 0], [3, 3]])
    drawn = neighbour_map(anchors, real, np.array([[0, 1], [2, 1]]), ["x", "y", "z"], "light", title="t")
    figure = drawn.at({ANCHOR: 1})
    assert list(trace(figure, "rays").x) == [5, 3, None, 5, 2, None]
    assert list(trace(figure, "chosen").text) == ["anchor 1"] and list(trace(figure, "chosen").y) == [5]


def test_real_inputs_of_few_classes_have_a_colour_and_a_symbol_each():
    points, nearest = np.zeros((30, 2)), np.array([[0, 1]])
    for count, told_apart in ((1, False), (2, True), (12, True), (13, False)):
        classes = [f"class {index % count}" for index in range(30)]
        figure = neighbour_map(points[:1], points, nearest, classes, "dark", title="t", classes=classes).figure
        marker = trace(figure, "real-inputs").marker
        if not told_apart:
            assert isinstance(marker.color, str)
            continue
        marks = list(zip(marker.color, marker.symbol, strict=True))
        assert len(set(marks)) == count and marks[0] == marks[count]
        legend = {one.name: (one.marker.color, one.marker.symbol) for one in figure.data if one.name in classes}
        assert [legend[name] for name in classes] == marks


def test_no_path_follows_two_dials_and_a_drawing_leaves_its_figure_as_it_was():
    shares = np.array([0.2, 1.0])
    drawn = similarity_over_steps([record("a", [[0.3, 1]] * 3)], scene("a"), shares=shares, chance=shares)
    assert {move.dial for move in drawn.moves} == {STEP, SHARE}
    assert len({move.path for move in drawn.moves}) == len(drawn.moves)
    before = drawn.figure.to_json()
    drawn.at({STEP: 2, SHARE: 1})
    assert drawn.figure.to_json() == before


def test_numbers_are_sent_with_five_digits_and_gaps_as_nothing():
    assert compact(np.array([1 / 3, np.nan, 2])) == [0.33333, None, 2.0]
    assert compact([np.float32(0.1), np.int64(3), "x", None]) == [0.1, 3, "x", None]
