"""Figures of a comparison: what is drawn and on which scale; and that what a method reads is never told by colour alone."""

import math

import numpy as np
import pytest

from fda.analysis.scores import Scores
from fda.figures.cost import Cost, cost_figure, pareto
from fda.figures.kinds import STYLES, grouped, kind_colour
from fda.figures.labels import PLOT, Window, place_labels
from fda.figures.methods import difference_map, method_bars, score_map
from fda.figures.radar import radar
from fda.figures.sweep import Sweep, sweep_curves
from fda.figures.theme import PALETTES

TASKS = ("digits", "faces", "letters")
TITLES = {
    "pretrained": "Pretrained",
    "individual": "Individual",
    "ta": "Task arithmetic",
    "tsv": "TSV-M",
    "fda:ta": "FDA (TA)",
    "regmean": "RegMean †",
}
KINDS = {
    "pretrained": "reference",
    "individual": "reference",
    "ta": "weights",
    "tsv": "weights",
    "fda:ta": "anchors",
    "regmean": "inputs",
}
VALUES = {
    "pretrained": (0.4, 0.5, 0.6),
    "individual": (0.9, 1.0, 0.8),
    "ta": (0.6, 0.7, 0.5),
    "tsv": (0.7, 0.8, 0.6),
    "fda:ta": (0.8, 0.75, 0.7),
    "regmean": (0.85, 0.8, 0.75),
}
HEADINGS = ["<b>For reference</b>", "<b>From weights alone</b>", "<b>On anchors</b>", "<b>Reads real inputs</b>"]


def scores(spread: float = 0.02, methods: tuple[str, ...] = tuple(VALUES), tasks: tuple[str, ...] = TASKS) -> Scores:
    """Draws that spread evenly about the values, ± `spread`, in step for all methods."""
    values = np.array([VALUES[method][: len(tasks)] for method in methods])
    return Scores(methods, tasks, values, values[..., None] + np.linspace(-spread, spread, 1001))


def by_uid(figure) -> dict:
    return {trace.uid: trace for trace in figure.data}


def bars(found: Scores | None = None, theme: str = "light", **options):
    return method_bars(found or scores(), theme, titles=TITLES, kinds=KINDS, **options)


# kinds -------------------------------------------------------------------------------------------------------------------


def test_no_two_kinds_look_alike_without_colour():
    drawn = {kind: (style.hatch, style.symbol) for kind, style in STYLES.items()}
    assert len({symbol for _, symbol in drawn.values()}) == len(drawn)
    hatches = [drawn[kind][0] for kind in ("weights", "anchors", "inputs")]
    assert len(set(hatches)) == 3


def test_kinds_are_grouped_in_one_order_whatever_the_order_of_methods():
    assert grouped(["regmean", "ta", "pretrained", "tsv"], KINDS) == [
        ("For reference", ["pretrained"]),
        ("From weights alone", ["ta", "tsv"]),
        ("Reads real inputs", ["regmean"]),
    ]


# bars --------------------------------------------------------------------------------------------------------------------


def test_bars_are_ranked_within_headed_groups():
    figure = bars()
    drawn = by_uid(figure)["bars"]
    ranked = ["Individual", "Pretrained", "TSV-M", "Task arithmetic", "FDA (TA)", "RegMean †"]
    assert list(drawn.y) == ranked
    assert drawn.x == pytest.approx([90, 50, 70, 60, 75, 80])
    axis = list(figure.layout.yaxis.categoryarray)
    assert [row for row in axis if row.startswith("<b>")] == HEADINGS
    assert axis.index(HEADINGS[3]) + 1 == axis.index("RegMean †"), (
        "the heading stands right above what reads real inputs"
    )
    assert list(figure.layout.yaxis.range) == [len(axis) - 0.5, -0.5], "headings without bars are drawn too"


def test_bars_of_what_reads_inputs_and_of_anchors_are_hatched_differently():
    drawn = by_uid(bars())["bars"]
    hatch = dict(zip(drawn.y, drawn.marker.pattern.shape, strict=True))
    assert hatch == {
        "Individual": "",
        "Pretrained": "",
        "TSV-M": "",
        "Task arithmetic": "",
        "FDA (TA)": "/",
        "RegMean †": "x",
    }


def test_error_bars_are_the_intervals():
    drawn = by_uid(bars(scores(0.02)))["bars"]
    assert drawn.error_x.array == pytest.approx([1.9] * 6) and drawn.error_x.arrayminus == pytest.approx([1.9] * 6)
    assert drawn.error_x.color == PALETTES["light"].ink


def test_bars_without_draws_have_no_whiskers_and_are_drawn():
    found = Scores(("ta",), TASKS, np.array([VALUES["ta"]]), np.full((1, 3, 1), np.nan))
    drawn = by_uid(bars(found))["bars"]
    assert drawn.x == pytest.approx([60]) and np.isnan(drawn.error_x.array).all()
    assert list(drawn.customdata) == [""]


def test_the_average_has_a_marker_for_each_task_and_a_task_has_none():
    traces = by_uid(bars())
    assert len({traces[task].marker.symbol for task in TASKS}) == 3
    assert traces["digits"].x == pytest.approx([90, 40, 70, 60, 80, 85])
    alone = by_uid(bars(score="faces"))
    assert set(alone) == {"bars"} and alone["bars"].x[0] == pytest.approx(100)
    assert "faces" in bars(score="faces").layout.title.text


def test_a_tasks_ranking_is_its_own():
    assert list(by_uid(bars(score="faces"))["bars"].y)[2:5] == ["TSV-M", "Task arithmetic", "FDA (TA)"]
    assert list(by_uid(bars(scores(methods=("ta", "tsv"))))["bars"].y) == ["TSV-M", "Task arithmetic"]


def test_cited_averages_are_hollow_and_never_on_a_single_task():
    traces = by_uid(bars(cited={"ta": 0.72, "wudi": 0.9}))
    assert traces["cited"].x == pytest.approx([72]) and list(traces["cited"].y) == ["Task arithmetic"]
    assert traces["cited"].marker.symbol.endswith("-open") and "not measured here" in traces["cited"].hovertemplate
    assert "cited" not in by_uid(bars(score="digits", cited={"ta": 0.72}))


def test_the_baseline_is_a_named_line_at_its_score():
    figure = bars(baseline="ta", score="digits")
    assert figure.layout.shapes[0].x0 == pytest.approx(60) and figure.layout.annotations[0].text == "Task arithmetic"
    assert not bars(scores(methods=("tsv",)), baseline="ta").layout.shapes


def test_a_method_with_a_gap_comes_last_and_has_no_bar():
    values = np.array([[0.5, np.nan, 0.5], [0.1, 0.1, 0.1]])
    drawn = by_uid(bars(Scores(("ta", "tsv"), TASKS, values, values[..., None])))["bars"]
    assert list(drawn.y) == ["TSV-M", "Task arithmetic"] and math.isnan(drawn.x[1]) and drawn.text[1] == ""


# maps --------------------------------------------------------------------------------------------------------------------


def test_differences_are_points_to_the_baseline_on_a_symmetric_scale():
    figure = difference_map(scores(), "dark", baseline="ta", titles=TITLES, kinds=KINDS)
    cells = by_uid(figure)["cells"]
    rows = dict(zip(cells.y, cells.z, strict=True))
    assert rows["FDA (TA)"] == pytest.approx([20, 5, 20, 15])
    assert "Task arithmetic" not in rows and list(cells.x) == [*TASKS, "average"]
    assert np.isnan(rows[HEADINGS[2]]).all(), "a heading is a row without cells"
    assert cells.zmin == -cells.zmax == pytest.approx(-30)


def test_a_sure_difference_is_bold_with_an_asterisk():
    sure = by_uid(difference_map(scores(), "light", baseline="ta", titles=TITLES, kinds=KINDS))["cell text"]
    assert "<b>+20.0*</b>" in sure.text and all("*" in text for text in sure.text)
    found = scores()
    wild = found.draws + np.random.default_rng(0).normal(0, 0.3, found.draws.shape)
    figure = difference_map(
        Scores(found.methods, TASKS, found.values, wild), "light", baseline="ta", titles=TITLES, kinds=KINDS
    )
    assert "+20.0" in by_uid(figure)["cell text"].text


def test_without_intervals_nothing_is_sure():
    found = scores()
    blind = Scores(found.methods, TASKS, found.values, np.full((6, 3, 1), np.nan))
    text = by_uid(difference_map(blind, "light", baseline="ta", titles=TITLES, kinds=KINDS))["cell text"].text
    assert not any("*" in cell or "<b>" in cell for cell in text)


def test_differences_of_a_lone_baseline_are_an_empty_map():
    found = difference_map(scores(methods=("ta",)), "light", baseline="ta", titles=TITLES, kinds=KINDS)
    assert len(by_uid(found)["cells"].y) == 0


def test_the_score_map_has_the_average_last_and_its_interval_in_the_hover():
    cells = by_uid(score_map(scores(), "light", titles=TITLES, kinds=KINDS))["cells"]
    at = list(cells.y).index("Task arithmetic")
    assert cells.z[at] == pytest.approx([60, 70, 50, 60])
    assert cells.customdata[at][3] == "(95 %: 58.1 to 61.9)"
    assert (cells.zmin, cells.zmax) == (40, 100)


# radar -------------------------------------------------------------------------------------------------------------------


def test_a_radar_has_a_closed_line_a_method_told_apart_without_colour():
    figure = radar(scores(), "light", titles=TITLES)
    assert [trace.uid for trace in figure.data] == list(VALUES)
    for trace in figure.data:
        assert trace.r[0] == trace.r[-1] and trace.theta[0] == trace.theta[-1] == "digits"
    drawn = {(trace.line.dash, trace.marker.symbol) for trace in figure.data}
    assert len(drawn) == len(VALUES)
    assert list(figure.layout.polar.radialaxis.range) == [40, 100]


# cost --------------------------------------------------------------------------------------------------------------------

COSTS = {
    "pretrained": Cost(0.0, 2**30),
    "individual": Cost(0.0, 2**30),
    "ta": Cost(0.1, 2**30),
    "tsv": Cost(0.5, 2**31),
    "fda:ta": Cost(2.0, 2**30, 98.0),
    "regmean": Cost(3.0, 2**30),
}


def cost(axis: str = "seconds", costs=None, **options):
    return cost_figure(scores(), costs or COSTS, "light", axis=axis, titles=TITLES, kinds=KINDS, **options)


def test_the_anchors_are_part_of_the_seconds_and_told_apart_in_the_hover():
    traces = by_uid(cost())
    assert traces["anchors"].x == pytest.approx([100]) and traces["weights"].x == pytest.approx([0.1, 0.5])
    words = traces["anchors"].customdata[0][1]
    assert "merging 2 s" in words and "anchors 98 s" in words
    assert cost().layout.xaxis.type == "log"


def test_an_unknown_cost_of_anchors_is_said_and_drawn_open():
    trace = by_uid(cost(costs=COSTS | {"fda:ta": Cost(2.0, 2**30)}))["anchors"]
    assert trace.x == pytest.approx([2]) and trace.marker.symbol[0].endswith("-open")
    assert "anchors: unknown" in trace.customdata[0][1]


def test_memory_is_in_mebibytes_on_a_plain_axis():
    figure = cost("peak memory")
    assert by_uid(figure)["weights"].x == pytest.approx([1024, 2048]) and figure.layout.xaxis.type is None


def test_references_are_levels_not_points():
    figure = cost()
    assert sorted(shape.y0 for shape in figure.layout.shapes) == pytest.approx([50, 90])
    assert not any(name in str(trace.customdata) for trace in figure.data for name in ("Pretrained", "Individual"))


def test_the_front_is_of_methods_without_real_inputs():
    assert by_uid(cost())["front"].y == pytest.approx([60, 70, 75])
    assert by_uid(cost(score="faces"))["front"].y == pytest.approx([70, 80])


def test_pareto_keeps_what_none_beats_at_lower_cost():
    places = {"a": (1.0, 50.0), "b": (2.0, 40.0), "c": (2.0, 60.0), "d": (3.0, 60.0), "e": (4.0, 61.0)}
    assert pareto(places) == ["a", "c", "e"]
    assert pareto({}) == []


def test_a_method_without_a_cost_is_left_out():
    assert by_uid(cost(costs=COSTS | {"regmean": Cost(None, None)})).keys() == {"front", "weights", "anchors"}


# labels ------------------------------------------------------------------------------------------------------------------

PLANE = Window((0.0, 10.0), (0.0, 100.0), log=False)
NONE = (math.nan, math.nan)


def test_labels_of_points_far_apart_are_all_placed():
    points = {"a": (1.0, 20.0), "b": (5.0, 80.0)}
    placed = place_labels(points, dict.fromkeys(points, NONE), {"a": "short", "b": "short"}, PLANE)
    assert placed == {"a": "middle right", "b": "middle right"}


def test_a_label_that_would_cover_another_is_placed_elsewhere_or_left_out():
    points = {str(index): (5.0, 50.0 + 0.1 * index) for index in range(12)}
    placed = place_labels(points, dict.fromkeys(points, NONE), {key: "the name of a method" for key in points}, PLANE)
    assert 1 <= len(placed) < 12 and len(set(placed.values())) == len(placed)
    assert "11" in placed, "the highest score has its name first"


def test_what_comes_first_has_its_name_before_higher_scores():
    points = {str(index): (5.0, 50.0 + 0.1 * index) for index in range(12)}
    placed = place_labels(points, dict.fromkeys(points, NONE), dict.fromkeys(points, "a name"), PLANE, first=["0"])
    assert placed["0"] == "top left"


def test_a_label_stays_inside_and_off_whiskers():
    at_right = {"a": (9.9, 50.0)}
    assert place_labels(at_right, {"a": NONE}, {"a": "a long name"}, PLANE)["a"].endswith("left")
    wide = {"a": "m" * (PLOT[0] // 6)}
    assert place_labels({"a": (5.0, 50.0)}, {"a": NONE}, wide, PLANE) == {}
    points = {"a": (5.0, 50.0), "b": (5.5, 90.0)}
    whiskers = {"a": NONE, "b": (0.0, 100.0)}  # stands right of a, from top to bottom
    assert place_labels(points, whiskers, {"a": "a name", "b": "b"}, PLANE)["a"].endswith("left")


def test_a_label_leaves_the_name_of_a_level_readable():
    points = {"a": (1.2, 50.0)}
    taken = [PLANE.name_of_level(46.0, "Pretrained, a long name of a level")]
    assert place_labels(points, {"a": NONE}, {"a": "a name"}, PLANE)["a"] == "middle right"
    placed = place_labels(points, {"a": NONE}, {"a": "a name"}, PLANE, taken=taken)
    assert placed["a"] == "top right"


def test_a_log_window_places_by_powers_of_ten():
    assert Window((-1.0, 1.0), (0.0, 100.0), log=True).pixels(1.0, 50.0) == (PLOT[0] / 2, PLOT[1] / 2)


# sweep -------------------------------------------------------------------------------------------------------------------


def sweep(chosen: float = 0.2) -> Sweep:
    tasks = {"digits": [0.4, 0.6, 0.5], "faces": [0.2, 0.2, 0.8]}
    return Sweep("scale", [0.1, 0.2, 0.3], [0.3, 0.4, 0.65], tasks, "validation", chosen)


def test_a_sweep_marks_the_chosen_value_and_says_its_split():
    figure = sweep_curves({"ta:swept": sweep()}, "light", titles={"ta:swept": "Task arithmetic"})
    line = by_uid(figure)["ta:swept"]
    assert line.y == pytest.approx([30, 40, 65]) and line.marker.symbol.index("star") == 1
    assert list(line.marker.symbol).count("star") == 1 and "0.2" in line.name
    assert "validation" in figure.layout.title.text and "digits 60.0 %" in line.customdata[1]


def test_tasks_are_faint_lines_behind_few_methods_and_no_fog_behind_many():
    few = sweep_curves({"ta:swept": sweep()}, "light", titles={"ta:swept": "TA"})
    assert by_uid(few)["ta:swept digits"].y == pytest.approx([40, 60, 50])
    names = [f"m{index}" for index in range(4)]
    many = sweep_curves({name: sweep() for name in names}, "dark", titles={name: name for name in names})
    assert [trace.uid for trace in many.data] == names
    assert len({(trace.line.dash, trace.line.color) for trace in many.data}) == 4


def test_a_sweep_on_one_task_keeps_the_star_where_the_average_put_it():
    line = by_uid(sweep_curves({"m": sweep()}, "light", titles={"m": "M"}, score="faces"))["m"]
    assert line.y == pytest.approx([20, 20, 80]) and line.marker.symbol.index("star") == 1


# all ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_has_a_title_and_sits_on_the_page(theme):
    shared = {"titles": TITLES, "kinds": KINDS}
    for figure in (
        bars(theme=theme),
        score_map(scores(), theme, **shared),
        difference_map(scores(), theme, baseline="ta", **shared),
        radar(scores(), theme, titles=TITLES),
        cost_figure(scores(), COSTS, theme, axis="seconds", **shared),
        sweep_curves({"m": sweep()}, theme, titles={"m": "M"}),
    ):
        assert figure.layout.title.text and figure.layout.height >= 200
        assert figure.layout.template.layout.paper_bgcolor == PALETTES[theme].page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hatched_bars_stand_out_from_the_page(theme):
    colours = {kind_colour(kind, theme) for kind in ("weights", "anchors", "inputs")}
    assert len(colours) == 3 and PALETTES[theme].page not in colours
