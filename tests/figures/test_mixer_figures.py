"""Figures of the Mixer: they show the scores and places that they are given, in both themes, and colour is never alone."""

from types import SimpleNamespace

import pytest

from fda.figures.mixer import mix_plane, mixes_bars, search_trace


def place(a: float, b: float) -> SimpleNamespace:
    return SimpleNamespace(a=a, b=b, distance=0.1)


def by_uid(figure) -> dict:
    return {trace.uid: trace for trace in figure.data}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_bars_stand_side_by_side_with_the_average_last(theme):
    figure = mixes_bars(
        {"mix 1": {"a": 0.5, "b": 0.7}, "mix 2": {"a": 0.4, "b": 1.0}}, theme, experts={"a": 0.9, "b": 1.0}
    )
    traces = by_uid(figure)
    assert list(traces["mix 1"].x) == ["a", "b", "average"] and list(traces["mix 1"].y) == pytest.approx([50, 70, 60])
    assert list(traces["mix 2"].text) == ["40.0", "100.0", "70.0"] and list(traces["experts"].y) == pytest.approx(
        [90, 100, 95]
    )
    assert traces["mix 1"].marker.pattern.shape != traces["mix 2"].marker.pattern.shape


def test_the_best_so_far_never_falls():
    best = by_uid(search_trace([60, 55, 70, 65], "light", goal="average"))["best"]
    assert list(best.y) == [60, 60, 70, 70]


def test_the_mix_is_the_end_of_its_trail_and_names_are_no_markup():
    experts = {"<b>a": place(1, 0), "b": None}
    figure = mix_plane([place(0, 0), place(0.3, 0.2)], experts, place(1, 1), "dark")
    traces = by_uid(figure)
    assert (traces["now"].x[0], traces["now"].y[0]) == (0.3, 0.2) and list(traces["trail"].x) == [0, 0.3]
    assert "expert b" not in traces and traces["expert <b>a"].name == "θ(&lt;b&gt;a)"
