"""The Playground: its texts, its state in the URL, its exercises, its exports. The sliders themselves need a browser."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from fda.analysis.playground import Setting, optimise
from fda.home import REPO
from fda.ui import playground

PARTS = range(1, 5)
CONTROLS = ("Anchors", "Rank of Δ", "Dimension d", "Lean", "σ", "Learning rate", "Steps")


def page(**query: str) -> AppTest:
    """The page; part 1 unless `query` says another."""
    at = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60)
    for key, value in ({"part": "1"} | query).items():
        at.query_params[key] = value
    at.switch_page("playground.py").run()
    assert not at.exception, at.exception
    return at


def sent(at: AppTest) -> list[dict]:
    return [json.loads(one.proto.json) for one in at.get("bidi_component") if one.proto.json]


def figures(at: AppTest) -> dict[str, dict]:
    """Title → figure."""
    drawn = [json.loads(data["figure"]) for data in sent(at) if "figure" in data]
    return {one["layout"]["title"]["text"]: one for one in drawn}


def fills(at: AppTest) -> list[float]:
    """The share of the window's height that each figure takes at least."""
    return [data["fill"] for data in sent(at) if "figure" in data]


def sliders(at: AppTest) -> dict[str, dict]:
    return {data["label"]: data for data in sent(at) if "choices" in data}


def said(at: AppTest) -> dict[str, str]:
    """What each slider shows."""
    return {label: data["choices"][data["index"]] for label, data in sliders(at).items()}


def url(at: AppTest) -> dict[str, str]:
    return {key: value[0] if isinstance(value, list) else value for key, value in at.query_params.items()}


def text(at: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*at.markdown, *at.caption, *at.code])


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


# texts -------------------------------------------------------------------------------------------------------------------


def words(markdown: str) -> int:
    return len(re.sub(r"\$\$.*?\$\$", "", markdown, flags=re.DOTALL).split())


def test_every_lesson_is_short_has_one_equation_and_an_exercise_with_an_answer():
    assert len(playground.lessons()) == 4
    for lesson in (playground.dragging(), *playground.lessons()):
        assert words(lesson.text) <= 80 and len(re.findall(r"\$\$.*?\$\$", lesson.text, re.DOTALL)) == 1, lesson.title
        assert lesson.task and lesson.answer


def test_what_exercises_set_can_be_set_and_what_they_draw_is_there():
    for lesson in playground.lessons():
        assert {*lesson.figures, *lesson.instead.values()} <= set(playground.ALTS)
        assert not lesson.instead or next(iter(lesson.instead.values())) == lesson.figures[0]
        for values in (lesson.shown, *(one.set for one in lesson.set_up)):
            for name, value in values.items():
                assert value in playground.CHOICES[name], (lesson.title, name)


def test_the_answers_tell_the_truth():
    """What each answer claims, computed at what its exercise sets."""
    anchor, turn, energy, start = playground.lessons()

    def reached(values: dict, **changes: object) -> tuple[float, float]:
        course = optimise(playground.setting_of(values | changes))
        return course.loss[-1], course.tail_share[-1]

    losses = [reached(anchor.set_up[0].set, n=n)[0] for n in (1, 2, 3, 4, 5)]
    assert min(losses[:3]) > 0.03 and max(losses[3:]) < 0.001, "as many anchors as the rank"
    slow, fast = reached(turn.set_up[0].set)[0], reached(turn.set_up[0].set, rate=0.03)[0]
    assert slow > 0.5 and fast < 0.01, "a larger learning rate lays the arrow flat"
    for rate in (0.01, 0.03):
        tenfold, alike = reached(turn.set_up[0].set, rate=rate), reached(turn.set_up[0].set, rate=rate / 10, sigma=0.1)
        assert alike[0] == pytest.approx(tenfold[0], abs=0.02), "what counts is the step relative to the start"
    large, small, tiny = (reached(energy.set_up[0].set, sigma=sigma) for sigma in (10.0, 0.01, 0.0001))
    assert large[0] > 0.5 and large[1] > 0.8 and small[0] < 0.001 and small[1] < 0.01
    assert tiny[0] > 10 * small[0] and tiny[1] > small[1], "too small is no better"
    rows, unled = optimise(playground.setting_of(start.set_up[0].set)), optimise(playground.setting_of(start.shown))
    by_chance = optimise(playground.setting_of(start.shown | {"start": "gauss", "sigma": 0.03}))
    assert rows.tail_share[0] < 0.2 and unled.tail_share[0] > 0.8
    assert (
        rows.loss[0] < unled.loss[0] / 2
        and unled.loss[50] < 0.02
        and np.abs(unled.loss - by_chance.loss)[20:].max() < 0.1
    )


# state in the URL --------------------------------------------------------------------------------------------------------


def test_a_link_shows_what_it_says():
    at = page(part="2", d="48", rank="6", n="9", sigma="0.03", rate="0.1", length="60", lean="0.5")
    assert said(at) == dict(zip(CONTROLS, ("9", "6", "48", "0.5", "0.03", "0.1", "60"), strict=True))
    expected = optimise(Setting(d=48, rank=6, anchors=9, sigma=0.03, learning_rate=0.1, steps=60, lean=0.5))
    assert f"{expected.degrees[-1]:.1f}°" in text(at) and f"{100 * expected.tail_share[-1]:.0f} %" in text(at)
    assert "The gradient turns towards Δ" in figures(at)


def test_without_a_part_the_anchors_are_dragged_and_old_links_show_what_they_did():
    first = page(part="")
    assert not figures(first) and not sliders(first) and playground.dragging().text.strip() in text(first)
    old = page(part="", sigma="10")
    assert said(old)["σ"] == "10" and set(figures(old)) == set(figures(page()))


def test_a_link_with_nonsense_shows_the_first_lesson_as_it_begins():
    at = page(part="9", d="33", rank="0", n="9" * 30, start="<script>", sigma="nan", rate="-1", look="x", lean="")
    assert said(at) == said(page()) and set(figures(at)) == set(figures(page()))
    assert playground.setting_of({"d": "33"}) == Setting()


def test_every_choice_survives_the_way_through_the_url():
    for name, choices in playground.CHOICES.items():
        for value in choices:
            (shown,) = playground.in_url({name: value}).values()
            assert playground.controls_of(playground.setting_of({name: shown} if shown else {}))[name] == value


@pytest.mark.parametrize("part", PARTS)
def test_each_lesson_shows_its_two_figures_and_every_control(part):
    at = page(part=str(part))
    assert len(figures(at)) == 2 and set(sliders(at)) == set(CONTROLS)
    assert playground.lessons()[part - 1].text.strip() in text(at)


def test_the_reader_chooses_a_lesson_and_what_to_look_at():
    at = page()
    at.button_group(key="chosen-part").set_value(3).run()
    assert not at.exception and url(at)["part"] == "3" and "Where the anchors' energy lies" in figures(at)
    at.button_group(key="chosen-look").set_value("spectrum").run()
    assert not at.exception and url(at)["look"] == "spectrum" and "Singular values of the anchors X" in figures(at)


def test_sigma_waits_while_the_start_is_weight_rows():
    at = page()
    assert not sliders(at)["σ"]["disabled"]
    at.button_group(key="chosen-start").set_value("weight").run()
    assert url(at)["start"] == "weight" and sliders(at)["σ"]["disabled"]


# exercises ---------------------------------------------------------------------------------------------------------------


def test_an_exercise_sets_the_sliders_by_one_click_and_shows_its_answer_by_another():
    at = press(page(part="3", d="64", n="20"), "set-up-0")
    assert said(at)["σ"] == "10" and said(at)["Dimension d"] == "32" and url(at) == {"part": "3", "sigma": "10"}
    stalled = optimise(Setting(sigma=10.0))
    assert f"angle loss **{stalled.loss[-1]:.3f}**" in text(at)
    at = press(at, "shown")
    assert said(at)["σ"] == "0.01" and "angle loss **0.000**" in text(at)


def test_a_lecture_has_figures_and_their_caption_but_no_controls():
    at = page(part="3", controls="off", sigma="10")
    assert not sliders(at) and len(figures(at)) == 2 and not at.button and not at.code and "angle loss" in text(at)
    with_controls = page(part="3", sigma="10")
    assert min(fills(at)) > max(fills(with_controls)) > 0.5, "figures are taller without controls"
    small, large = (next(iter(figures(one).values()))["layout"]["template"]["layout"] for one in (with_controls, at))
    assert large["font"]["size"] == 2 * small["font"]["size"], "letters are larger too"
    assert not page(part="0", controls="off").button


# taking home -------------------------------------------------------------------------------------------------------------


def test_the_code_gives_the_numbers_of_the_page():
    setting = Setting(anchors=6, start="weight", lean=0.5, steps=40)
    done = subprocess.run(
        [sys.executable, "-c", playground.code(setting)],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=60,
        check=True,
    )
    course = optimise(setting)
    numbers = [float(one) for one in done.stdout.split()]
    assert numbers == pytest.approx([course.loss[-1], course.degrees[-1], course.tail_share[-1]])


def test_tables_have_every_step_and_start():
    setting = Setting(anchors=6, steps=40)
    course = optimise(setting)
    table = playground.course_table(setting)
    assert list(table["angle_loss"]) == list(course.loss) and len(table) == 41
    spectrum = playground.spectrum_table(setting)
    assert list(spectrum["step"]) == list(course.at) and spectrum.shape[1] == 1 + 6
    starts = playground.starts_table(setting)
    assert starts["start"].nunique() == 5 and len(starts) == 5 * 41
    assert starts.columns[0] == "start"


def test_everything_shown_can_be_exported():
    at = page(part="4")
    labels = {one.proto.label for one in at.get("download_button")}
    assert {"Course (CSV)", "Spectrum (CSV)", "Starts (CSV)", "Starts loss (HTML)", "Starts tail (HTML)"} == labels


def test_the_page_needs_neither_torch_nor_a_store(fda_home):
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(REPO / "pages" / "frame.py")!r}, default_timeout=60)
at.switch_page("playground.py").run()
assert not at.exception, at.exception
print("heavy:", [name for name in ("torch", "transformers", "open_clip", "datasets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, timeout=200)
    assert "heavy: []" in done.stdout, done.stdout + done.stderr
    assert not fda_home.exists()
