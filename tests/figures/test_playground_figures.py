"""Figures of the playground: they show the course's own numbers, in both themes, and colour is never alone."""

import numpy as np
import pytest

from fda.analysis.playground import Course, Setting, optimise
from fda.figures import playground as figures

SMALL = {"d": 16, "rank": 3, "anchors": 6, "steps": 40}
OF_ONE = (
    figures.gradient_maps,
    figures.loss_curve,
    figures.turning_arrows,
    figures.energy_areas,
    figures.energy_curves,
    figures.spectrum_of_anchors,
)


@pytest.fixture(scope="module")
def course() -> Course:
    return optimise(Setting(**SMALL))


@pytest.fixture(scope="module")
def starts(course) -> dict[str, Course]:
    return {"weight rows": optimise(Setting(**SMALL, start="weight")), "σ = 10": optimise(Setting(**SMALL, sigma=10.0))}


def trace(figure, uid: str):
    return next(one for one in figure.data if one.uid == uid)


@pytest.mark.parametrize("draw", OF_ONE)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_draws_in_both_themes_with_a_title_and_its_revision(draw, theme, course):
    figure = draw(course, theme, uirevision="kept")
    assert figure.layout.title.text and figure.layout.uirevision == "kept"
    assert all(one.uid for one in figure.data), "without a uid a curve is another after each update"
    figure.to_json()


@pytest.mark.parametrize("draw", OF_ONE)
@pytest.mark.parametrize("change", [{"anchors": 1}, {"rank": 1}, {"steps": 1}, {"rank": 16}, {"sigma": 1e-4}])
def test_every_figure_draws_at_the_ends_of_the_settings(draw, change):
    draw(optimise(Setting(**SMALL | change)), "light").to_json()


def test_the_loss_is_the_courses_and_its_axis_begins_at_zero(course):
    figure = figures.loss_curve(course, "light")
    assert trace(figure, figures.YOURS).y == pytest.approx(course.loss, abs=1e-6)
    assert figure.layout.yaxis.range[0] <= 0 and figure.layout.yaxis.range[1] > course.loss.max()
    assert any(f"{course.loss[-1]:.3f}" in note.text for note in figure.layout.annotations)


def test_arrows_lie_at_the_true_angle_to_the_task_vector(course):
    figure = figures.turning_arrows(course, "light")
    delta = trace(figure, "delta")
    for step in course.at:
        arrow = trace(figure, f"step {step}")
        angle = np.degrees(np.arctan2(arrow.y[1] - delta.y[1], arrow.x[1]))
        assert angle == pytest.approx(course.degrees[step]) and np.hypot(arrow.x[1], arrow.y[1]) == pytest.approx(1)
    assert figure.layout.yaxis.scaleanchor == "x", "else the angle would not be the true one"
    words = " ".join(note.text for note in figure.layout.annotations)
    assert f"{course.degrees[0]:.0f}°" in words and f"{course.degrees[-1]:.0f}°" in words and "Δ" in words


def test_the_maps_stand_above_one_another_with_the_task_vector_last_and_empty_in_the_tail(course):
    z = trace(figures.gradient_maps(course, "light"), "maps").z
    rank = course.setting.rank
    assert z[:rank] == pytest.approx(course.gradients[0], abs=1e-6)
    assert z[-rank:] == pytest.approx(course.target, abs=1e-6) and not z[-rank:, rank:].any()
    assert np.isnan(z[rank]).all(), "a gap between the maps"
    cut = figures.gradient_maps(course, "light").layout.shapes[0]
    assert cut.x0 == rank + 0.5


def test_shares_of_head_and_tail_fill_the_whole_and_the_tail_is_hatched(course):
    figure = figures.energy_areas(course, "light")
    head, tail = trace(figure, "head"), trace(figure, "tail")
    assert np.add(head.y, tail.y) == pytest.approx(np.ones(41), abs=1e-6)
    assert tail.y == pytest.approx(course.tail_share, abs=1e-6) and tail.customdata == pytest.approx(
        course.tail, rel=1e-5
    )
    assert tail.fillpattern.shape == "/" and head.fillpattern.shape is None
    assert any("rank/d = 19%" in note.text for note in figure.layout.annotations)


def test_energies_are_told_apart_by_their_dash(course):
    head, tail = figures.energy_curves(course, "dark").data
    assert head.line.dash != tail.line.dash
    assert head.y == pytest.approx(course.head, rel=1e-5) and tail.y == pytest.approx(course.tail, rel=1e-5)


def test_the_rank_is_marked_in_the_spectrum_where_there_is_more_than_it(course):
    marked = figures.spectrum_of_anchors(course, "light")
    assert any("rank of Δ: 3" in (note.text or "") for note in marked.layout.annotations)
    few = figures.spectrum_of_anchors(optimise(Setting(**SMALL | {"anchors": 3})), "light")
    assert not few.layout.shapes


def test_starts_are_told_apart_by_dash_and_symbol_and_mine_is_above_them(course, starts):
    for draw, values in ((figures.starts_loss, course.loss), (figures.starts_tail, course.tail_share)):
        figure = draw(course, starts, "light")
        assert [one.name for one in figure.data] == [*starts, figures.YOURS]
        others = figure.data[:-1]
        assert len({one.line.dash for one in others}) == len({one.marker.symbol for one in others}) == len(others)
        assert figure.data[-1].y == pytest.approx(values, abs=1e-6)
        assert figure.data[-1].line.width > max(one.line.width for one in others)


def test_a_stalled_start_stays_on_the_loss_axis(course, starts):
    top = figures.starts_loss(course, starts, "light").layout.yaxis.range[1]
    assert top > max(one.loss.max() for one in starts.values())
