"""Figures: what is drawn, on which axes, with which values; and that colour never speaks alone."""

import numpy as np
import plotly.graph_objects as go
import pytest

from fda.figures.checkpoints import cosine_map, norm_map, unlike_norm
from fda.figures.curves import ema, loss_curves, mark_step, similarity_curves
from fda.figures.machine import memory_curves
from fda.figures.progress import progress_map
from fda.figures.spectrum import spectrum_curves
from fda.figures.theme import PALETTES, steps_colours
from fda.store.records import Unit, UnitKey

TASKS = ("digits", "faces")
TITLES = {"ta": "Task arithmetic", "fda:ta": "FDA (TA)", "pretrained": "Pretrained"}


def series(*keys: tuple[str, int], steps: int = 20) -> dict:
    curve = np.linspace(1.0, 0.1, steps)
    return {UnitKey("construct", name, block): (np.arange(steps), curve) for name, block in keys}


def by_uid(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.uid: trace for trace in figure.data}


def unit(name: str, block: int, state: str, step: int, loss: float | None = None, stage: str = "construct") -> Unit:
    return Unit(UnitKey(stage, name, block), state, step, 10, loss, None, None, None)


def test_ema_of_a_constant_is_that_constant_from_the_first_point():
    assert ema(np.full(5, 3.0), 0.9) == pytest.approx(3.0)


def test_ema_is_the_bias_corrected_average():
    weight, values = 0.6, np.array([1.0, 4.0, 2.0])
    expected = [
        sum(weight ** (t - i) * values[i] for i in range(t + 1)) / sum(weight ** (t - i) for i in range(t + 1))
        for t in range(3)
    ]
    assert ema(values, weight) == pytest.approx(expected)


def test_ema_leaves_a_gap_a_gap_and_weight_zero_is_the_series():
    assert np.isnan(ema(np.array([1.0, np.nan, 1.0]), 0.5)).tolist() == [False, True, False]
    assert ema(np.array([1.0, 5.0]), 0.0).tolist() == [1.0, 5.0]


def test_loss_has_raw_behind_smoothed_on_a_log_axis():
    figure = loss_curves(series(("digits", 0), ("faces", 1)), "light", tasks=TASKS, uirevision="run")
    traces = by_uid(figure)
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.uirevision == "run"
    assert traces["raw digits"].y[:20] == pytest.approx(np.linspace(1.0, 0.1, 20))
    assert traces["curve digits 0"].y == pytest.approx(ema(np.linspace(1.0, 0.1, 20), 0.6))
    order = [trace.uid for trace in figure.data]
    assert max(order.index(uid) for uid in traces if uid.startswith("raw")) < order.index("curve digits 0")


def test_curves_tell_task_by_colour_and_marker_and_block_by_dash():
    traces = by_uid(loss_curves(series(("digits", 0), ("digits", 1), ("faces", 0)), "dark", tasks=TASKS))
    one, other, third = (traces[f"curve {key}"] for key in ("digits 0", "digits 1", "faces 0"))
    assert one.line.color == other.line.color != third.line.color
    ends = [traces[f"ends {task}"] for task in TASKS]
    assert ends[0].marker.symbol != ends[1].marker.symbol and [len(own.x) for own in ends] == [2, 1]
    assert [own.marker.color for own in ends] == [one.line.color, third.line.color]
    assert one.line.dash == third.line.dash != other.line.dash


def test_one_legend_entry_hides_all_curves_of_a_task():
    figure = loss_curves(series(("digits", 0), ("digits", 1)), "light", tasks=TASKS)
    entries = [trace for trace in figure.data if trace.showlegend is not False and trace.legend is None]
    assert [trace.name for trace in entries] == ["digits"]
    assert {trace.legendgroup for trace in figure.data if trace.legend is None} == {"digits"}
    assert figure.layout.legend.groupclick == "togglegroup"


def test_raw_curves_of_a_task_are_one_trace_with_gaps():
    drawn = {("digits", 0): 3, ("digits", 1): 2}
    made = {UnitKey("construct", *key): (np.arange(steps), np.ones(steps)) for key, steps in drawn.items()}
    raw = by_uid(loss_curves(made, "light", tasks=TASKS))["raw digits"]
    assert np.isnan(raw.y).tolist() == [False, False, False, True, False, False, True]
    assert raw.x[np.isfinite(raw.y)].tolist() == [0, 1, 2, 0, 1] and raw.connectgaps is False


@pytest.mark.parametrize("means", [False, True])
def test_a_chosen_unit_leaves_grey_what_is_not_its_own_in_curves_and_legend(means):
    given, chosen = series(("digits", 0), ("digits", 1), ("faces", 0)), UnitKey("construct", "digits", 1)
    colour = PALETTES["light"].series[0]
    loss = by_uid(loss_curves(given, "light", tasks=TASKS, chosen=chosen, means=means))
    similar = by_uid(similarity_curves(given, "light", tasks=TASKS, chosen=chosen, means=means, chance=0.2))
    for traces, key in ((loss, "ends"), (similar, "task")):
        lines = {uid: one.line.color for uid, one in traces.items() if uid.startswith("curve")}
        assert {uid for uid, line in lines.items() if line == colour} == {"curve digits 1"}
        assert [traces[f"{key} {task}"].marker.color == colour for task in TASKS] == [True, False]
    assert len(loss["ends digits"].x) == 1 and similar["task faces"].line.color != PALETTES["light"].series[1]


def test_a_step_is_marked_by_a_line():
    figure = loss_curves(series(("digits", 0)), "dark", tasks=TASKS)
    mark_step(figure, 7, "dark")
    (line,) = figure.layout.shapes
    assert (line.x0, line.x1) == (7, 7) and figure.layout.annotations[-1].text == "step 7"


def test_a_fog_of_raw_curves_is_left_out():
    many = series(*((f"task{index}", 0) for index in range(41)), steps=3)
    figure = loss_curves(many, "light", tasks=[key.name for key in many])
    assert not any(trace.uid.startswith("raw") for trace in figure.data)


def test_curves_of_no_unit_are_an_empty_figure():
    assert len(loss_curves({}, "light", tasks=TASKS).data) == 0


def test_similarity_shows_its_chance_line():
    figure = similarity_curves(series(("digits", 0)), "light", tasks=TASKS, chance=0.2)
    assert figure.layout.shapes[0].y0 == figure.layout.shapes[0].y1 == 0.2
    assert "0.20" in figure.layout.annotations[0].text


def test_spectrum_has_a_curve_a_step_in_the_colours_of_a_scale():
    values = np.array([[1.0, 0.5, 0.0], [1.0, 0.2, 0.1]])
    figure = spectrum_curves(np.array([0, 40]), values, "light", unit="digits, block 0")
    first, last, bar = figure.data
    assert (first.name, last.name) == ("step 0", "step 40")
    assert last.y == pytest.approx([1.0, 0.2, 0.1])
    assert first.y[2] > 0, "a log axis cannot show 0"
    assert first.line.dash != last.line.dash and first.line.color != last.line.color
    assert (bar.marker.cmin, bar.marker.cmax) == (0, 40)
    assert figure.layout.yaxis.type == "log"


def test_spectrum_is_thinned_to_what_a_chart_can_show():
    figure = spectrum_curves(np.arange(100), np.ones((100, 4096)), "dark", unit="digits, block 0")
    curves = figure.data[:-1]
    assert len(curves) == 24 and curves[0].name == "step 0" and curves[-1].name == "step 99"
    assert all(len(curve.x) <= 256 for curve in curves)


def test_progress_says_state_percent_and_loss_in_words():
    units = [
        unit("digits", 0, "done", 10, 0.0712),
        unit("digits", 1, "running", 4, 0.2),
        unit("faces", 0, "pending", 0),
    ]
    progress, marks, losses, numbers = progress_map(units, "light", title="Progress").data
    assert [list(row) for row in progress.z] == [[None, 0.4], [0.0, None]]
    assert list(marks.text) == ["<b>▸</b> 40 %<br>0.200", "<b>·</b>"]
    assert [list(row) for row in losses.z] == [[0.0712, None], [None, None]] and list(numbers.text) == ["0.071"]
    assert "0.0712" in losses.customdata[0][0]


def test_finished_cells_share_a_scale_that_begins_at_zero_and_ends_at_the_worst():
    units = [unit("digits", 0, "done", 10, 0.05), unit("faces", 0, "done", 10, 0.2)]
    losses, _ = progress_map(units, "light", title="Progress").data
    assert (losses.zmin, losses.zmax) == (0, 0.2)


def test_a_method_that_is_scored_shows_its_score_and_not_a_tick():
    units = [unit(name, -1, "done", 1, stage="evaluate") for name in ("ta", "tsv")]
    _, marks = progress_map(units, "light", title="Methods", scores={"ta": 0.7189}).data
    assert list(marks.text) == ["<b>71.9</b>", "<b>✓</b>"], "one task of tsv is still to be scored"


def test_progress_of_a_stopped_unit_is_nothing_yet():
    heat = progress_map([unit("digits", 0, "pending", 7)], "light", title="Progress").data[0]
    assert list(heat.z[0]) == [0.0]


def test_progress_of_methods_puts_the_score_last():
    units = [unit("fda:ta", -1, "running", 1, stage="evaluate"), unit("fda:ta", 0, "done", 10, stage="adapt")]
    heat = progress_map(units, "light", title="Methods", titles=TITLES).data[0]
    assert list(heat.x) == ["0", "score"] and list(heat.y) == ["FDA (TA)"]


@pytest.mark.parametrize(
    ("faces", "sentence"),
    [
        (0.5, "The task vector of faces is 0.25 times as long as the others' median: it counts for little where task "
              "vectors are added."),
        (8.0, "The task vector of faces is 4 times as long as the others' median: it dominates where task vectors are "
              "added."),
        (5.9, None),
        (0.0, None),
    ],
)  # fmt: skip
def test_a_task_vector_much_longer_or_shorter_than_the_others_is_remarked_on(faces, sentence):
    assert unlike_norm({"digits": 2.0, "faces": faces, "letters": 2.0, "photos": 2.5, "textures": 1.5}) == sentence


def test_cosines_leave_out_the_diagonal_and_scale_to_the_rest():
    heat = cosine_map(np.array([[1.0, -0.04], [-0.04, 1.0]]), "light", tasks=TASKS).data[0]
    assert np.isnan(heat.z[0][0]) and heat.z[0][1] == pytest.approx(-0.04)
    assert heat.zmax == 0.25, "vectors near a right angle do not fill the scale"
    assert cosine_map(np.array([[1.0, 0.6], [0.6, 1.0]]), "light", tasks=TASKS).data[0].zmax == pytest.approx(0.6)


def test_cosines_of_a_single_task_are_no_error():
    assert np.isnan(cosine_map(np.ones((1, 1)), "light", tasks=["digits"]).data[0].z[0][0])


def test_norms_have_a_row_a_task_and_a_column_a_block():
    heat, words = norm_map(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), "dark", tasks=TASKS).data
    assert (heat.zmin, heat.zmax) == (0, 3.0), "the words' colours are for shades between these"
    assert list(heat.y) == list(TASKS) and list(heat.x) == ["0", "1", "2"]
    assert list(words.text)[:3] == ["1.00", "2.00", "3.00"]


def test_memory_is_in_gib_since_the_first_reading():
    readings = [(100.0, "memory_bytes", 2.0**30), (102.0, "memory_bytes", 2.0**31), (102.0, "cpu_cores", 2.0)]
    figure = memory_curves(readings, "light")
    assert [trace.name for trace in figure.data] == ["process"]
    assert list(figure.data[0].x) == [0.0, 2.0] and list(figure.data[0].y) == [1.0, 2.0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_names_its_axes_and_sits_on_the_page(theme):
    for figure in (
        loss_curves(series(("digits", 0)), theme, tasks=TASKS),
        similarity_curves(series(("digits", 0)), theme, tasks=TASKS, chance=0.2),
        spectrum_curves(np.array([0]), np.ones((1, 3)), theme, unit="digits, block 0"),
        memory_curves([(0.0, "memory_bytes", 1.0)], theme),
    ):
        assert figure.layout.title.text and figure.layout.xaxis.title.text and figure.layout.yaxis.title.text
        assert figure.layout.template.layout.paper_bgcolor == PALETTES[theme].page


def test_series_colours_stand_out_from_the_page():
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for palette in PALETTES.values():
        page = luminance(palette.page)
        for colour in palette.series:
            high, low = sorted((page, luminance(colour)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 2.9, colour


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_any_number_of_steps_has_colours(theme):
    for count in range(1, 400):
        assert len(steps_colours(count, theme)) == count
