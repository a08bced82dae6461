"""The landscape's figures: contours, paths, ends and the ring, while points are missing and when all are there."""

import numpy as np
import plotly.graph_objects as go
import pytest

from fda.figures.landscape import landscape_map, path_curves
from fda.store.landscape_record import LandscapeMap, LandscapeNumbers, Track

TASKS = ("digits", "faces")
AXIS = tuple(np.linspace(-0.2, 1.2, 9))


def track(name: str, at: tuple[float, ...], b: float, distance: float = 0.0) -> Track:
    last = max(at) or 1
    return Track(
        name=name,
        at=at,
        a=tuple(value / last for value in at),
        b=tuple(b * value / last for value in at),
        distance=tuple(distance * value / last for value in at),
    )


@pytest.fixture
def found() -> LandscapeMap:
    tracks = (
        track("ta", (0.0, 0.3, 1.0), 0),
        track("fda:pretrained", (0.0, 5.0, 25.0), 1),
        track("fda:ta", (0.0, 25.0), 0.5, distance=0.4),
        track("finetuned", (0.0, 1.0), 0.1),
    )
    return LandscapeMap(
        directions="ta_fda", unit=2.0, scale=0.3, split="validation", samples={"digits": 4, "faces": 4},
        a=AXIS, b=AXIS, tracks=tracks, fingerprints=("x",),
    )  # fmt: skip


@pytest.fixture
def numbers(found) -> LandscapeNumbers:
    row, column = np.mgrid[0:9, 0:9]
    grid = {"loss": 1.0 + 0.1 * (row - 4.0) ** 2 + 0.2 * (column - 3.0) ** 2, "accuracy": (row + column) / 20}
    tracks = {
        metric: {one.name: start + 0.1 * np.arange(len(one.at)) for one in found.tracks}
        for metric, start in (("loss", 1.5), ("accuracy", 0.5))
    }
    return LandscapeNumbers("all tasks", grid, tracks)


def by_uid(figure: go.Figure) -> dict:
    return {trace.uid: trace for trace in figure.data}


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_contours_hold_the_loss_or_its_logarithm_and_ticks_are_losses(found, numbers):
    plain = by_uid(landscape_map(found, numbers, "light", tasks=TASKS, log=False))["plane"]
    assert plain.z == pytest.approx(numbers.grid["loss"]) and plain.x == pytest.approx(AXIS)
    log = by_uid(landscape_map(found, numbers, "dark", tasks=TASKS, log=True))["plane"]
    assert log.z == pytest.approx(np.log10(numbers.grid["loss"]), abs=1e-6)
    assert 10 ** np.array(log.colorbar.tickvals) == pytest.approx([float(text) for text in log.colorbar.ticktext])
    accuracy = by_uid(landscape_map(found, numbers, "dark", tasks=TASKS, metric="accuracy", log=True))["plane"]
    assert accuracy.z == pytest.approx(100 * numbers.grid["accuracy"]), "an accuracy is never shown as a logarithm"


def test_first_points_are_squares_then_contours_that_tell_what_is_interpolated(found, numbers):
    whole = numbers.grid["loss"].copy()
    for values in numbers.grid.values():
        values[1::2] = values[:, 1::2] = np.nan
    contours = by_uid(landscape_map(found, numbers, "light", tasks=TASKS, log=False))["plane"]
    assert contours.z[::2, ::2] == pytest.approx(whole[::2, ::2]) and np.isfinite(contours.z).all()
    assert contours.text[0][0] == "" and "interpolated" in contours.text[1][1]
    for values in numbers.grid.values():
        values[8] = np.nan
    traces = by_uid(landscape_map(found, numbers, "light", tasks=TASKS, log=False))
    assert "plane" not in traces and len(traces["first points"].x) == 4 * 5
    assert traces["first points"].marker.color == pytest.approx(whole[:8:2, ::2].ravel())
    for values in numbers.grid.values():
        values[:] = np.nan
    traces = by_uid(landscape_map(found, numbers, "light", tasks=TASKS))
    assert "first points" not in traces and "best" not in traces and "fda:ta" in traces


def test_paths_lie_where_they_lie_and_hover_tells_the_distance(found, numbers):
    traces = by_uid(landscape_map(found, numbers, "light", tasks=TASKS))
    assert traces["fda:ta"].x == (0, 1) and traces["fda:ta"].y == (0, 0.5)
    assert "epoch 25" in traces["fda:ta"].customdata[-1] and "off the plane by 0.40" in traces["fda:ta"].customdata[-1]
    assert "λ 0.3" in traces["ta"].customdata[1] and "on the plane" in traces["ta"].customdata[1]
    assert "finetuned on faces" in traces["finetuned faces"].customdata[0]
    looks = {(traces[name].line.color, traces[name].line.dash, traces[name].marker.symbol) for name in ("ta", "fda:ta")}
    assert len({look[0] for look in looks}) == len({look[1] for look in looks}) == len({look[2] for look in looks}) == 2


def test_ends_tell_the_accuracy_of_the_true_weights(found, numbers):
    told = texts(landscape_map(found, numbers, "light", tasks=TASKS))
    assert told == [
        "θ₀ <b>50.0 %</b>",
        "TA, λ 0.3 <b>60.0 %</b>",
        "TA, λ 1 <b>70.0 %</b>",
        "FDA (Pretrained) <b>70.0 %</b>",
        "FDA (TA) <b>60.0 %</b>",
    ]
    for values in numbers.tracks["accuracy"].values():
        values[:] = np.nan
    assert texts(landscape_map(found, numbers, "light", tasks=TASKS)) == []


def test_the_ring_and_the_star(found, numbers):
    traces = by_uid(landscape_map(found, numbers, "light", tasks=TASKS, follow=("fda:pretrained", 1)))
    assert (traces["ring"].x, traces["ring"].y) == ((0.2,), (0.2,))
    assert (traces["best"].x[0], traces["best"].y[0]) == (AXIS[3], AXIS[4]), "the lowest loss of the grid"
    highest = by_uid(landscape_map(found, numbers, "light", tasks=TASKS, metric="accuracy"))["best"]
    assert (highest.x[0], highest.y[0]) == (AXIS[8], AXIS[8])


def test_the_plane_is_drawn_true_to_scale_and_says_its_units(found, numbers):
    figure = landscape_map(found, numbers, "light", tasks=TASKS, uirevision="run")
    assert figure.layout.yaxis.scaleanchor == "x" and figure.layout.uirevision == "run"
    assert "at a = λ" in figure.layout.xaxis.title.text and "‖Σ τᵢ‖" in figure.layout.yaxis.title.text
    paths = landscape_map(found.model_copy(update={"directions": "paths"}), numbers, "light", tasks=TASKS)
    assert "principal" in paths.layout.xaxis.title.text


def test_curves_are_over_the_distance_from_the_pretrained_model(found, numbers):
    traces = by_uid(path_curves(found, numbers, "light", metric="accuracy", follow=("fda:ta", 1)))
    assert traces["ta"].x == pytest.approx([0, 0.3, 1]) and traces["ta"].y == pytest.approx([50, 60, 70])
    assert traces["fda:ta"].x[-1] == pytest.approx((1 + 0.25 + 0.16) ** 0.5)
    assert traces["ring"].y == pytest.approx([60])


def test_a_label_near_the_right_edge_stands_to_the_left_of_its_point(found, numbers):
    def anchor(found: LandscapeMap) -> str:
        return landscape_map(found, numbers, "light", tasks=TASKS).layout.annotations[-1].xanchor

    assert anchor(found) == "right", "a = 1 of -0.2 to 1.2"
    assert anchor(found.model_copy(update={"a": tuple(np.linspace(-0.2, 3, 9))})) == "left"
