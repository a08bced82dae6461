"""Playground: anchors that one drags, then anchors of one linear layer that follow sliders, in guided parts.

The URL holds the whole state, so controls are optional: `?controls=off` shows only the figures, for lectures.
"""

import time
from functools import partial
from typing import Any

import streamlit as st

from fda.analysis.playground import Setting
from fda.figures.projector import for_projector
from fda.ui import playground
from fda.ui.anchor_plane import anchor_plane
from fda.ui.components import source
from fda.ui.exports import export_menu
from fda.ui.page import bar, theme
from fda.ui.playground import ALTS, CHOICES, Lesson, Part
from fda.ui.plot import plot
from fda.ui.slider import slider

LESSONS = playground.lessons()
TITLES = {number: f"{number} {part.title}" for number, part in enumerate((playground.dragging(), *LESSONS))}
LABELS = {
    "n": ("Anchors", "columns of X"),
    "rank": ("Rank of Δ", "directions finetuned"),
    "d": ("Dimension d", "width of the layer"),
    "lean": ("Lean", "of W₀ to its data"),
    "sigma": ("σ", "scale of the gauss start"),
    "rate": ("Learning rate", "size of AdamW's steps"),
    "length": ("Steps", "how long AdamW runs"),
}
CONTROL_WIDTH = 140  # pixels: four in a row beside the text, two on a phone
BREATH = 0.01  # seconds in which the server sends the figures; without it they wait 20 ms longer, for the controls
FILL, LECTURE_FILL = 0.62, 0.8  # shares of the window's height that figures take, with controls and without
controlled = st.query_params.get("controls") != "off"


def set_up(values: dict[str, float | str]) -> None:
    """Callback: set these controls in the URL."""
    for name, text in playground.in_url(values).items():
        if text is None:
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = text


def pick(name: str, value: float | str) -> None:
    """Callback of one control."""
    set_up({name: value})


def choose(label: str, options: list, name: str, value: object, **kwargs: Any) -> object:
    """A segmented control whose value lives in the URL. `value`: the one there now."""
    st.session_state[f"chosen-{name}"] = value

    def picked() -> None:
        st.query_params[name] = str(st.session_state[f"chosen-{name}"])

    return st.segmented_control(label, options, required=True, key=f"chosen-{name}", on_change=picked, **kwargs)


def controls(setting: Setting) -> None:
    """Controls of the layer and its anchors, then of the optimisation: rows of four, or of two on a phone."""
    values = playground.controls_of(setting)
    for names in (("n", "rank", "d", "lean"), ("start", "sigma", "rate", "length")):
        with st.container(horizontal=True, gap="small", horizontal_alignment="distribute"):
            for name in names:
                if name == "start":
                    choose("Start", list(CHOICES[name]), name, values[name], width=CONTROL_WIDTH)
                    continue
                label, hint = LABELS[name]
                unused = name == "sigma" and setting.start == "weight"
                slider(
                    label,
                    CHOICES[name],
                    values[name],
                    key=name,
                    hint=hint,
                    on_pick=partial(pick, name),
                    disabled=unused,
                    width=CONTROL_WIDTH,
                )


def exercise(part: Part) -> None:
    with st.container(border=True, key="exercise"):
        st.markdown(f"**Try it.** {part.task}")
        if isinstance(part, Lesson):
            with st.container(horizontal=True, gap="small"):
                for index, preset in enumerate(part.set_up):
                    st.button(
                        preset.label, on_click=set_up, args=(preset.set,), key=f"set-up-{index}", icon=":material/tune:"
                    )
        with st.expander("Answer", icon=":material/lightbulb:"):
            st.markdown(part.answer)
            if isinstance(part, Lesson):
                st.button("Show it", on_click=set_up, args=(part.shown,), key="shown", icon=":material/visibility:")


def export(setting: Setting, names: tuple[str, ...]) -> None:
    tables = {"Course": playground.course_table, "Spectrum": playground.spectrum_table}
    if any(name.startswith("starts") for name in names):
        tables["Starts"] = playground.starts_table
    export_menu(
        "fda-playground",
        tables={title: partial(table, setting) for title, table in tables.items()},
        figures={
            name.replace("_", " ").capitalize(): partial(playground.draw, name, setting, theme()) for name in names
        },
    )


def show_dragging() -> None:
    """Part 0: its figure, which needs no server, and below it the text beside the exercise."""
    part = playground.dragging()
    anchor_plane(fill=FILL if controlled else LECTURE_FILL, lecture=not controlled)
    if not controlled:
        st.markdown(part.caption)
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(part.text)
    with right:
        exercise(part)


def show(lesson: Lesson) -> None:
    """Figures, summary and controls, in this order, so that no figure waits for a control. A slider reruns only this."""
    setting = playground.setting_of(st.query_params)
    choice = playground.chosen_figure(lesson, st.query_params.get("look"))
    names = (lesson.instead.get(choice or "", lesson.figures[0]), lesson.figures[1])
    for column, name in zip(st.columns(2, gap="medium"), names, strict=True):
        with column:
            figure, fill = playground.draw(name, setting, theme()), FILL
            if not controlled:
                figure, fill = for_projector(figure), LECTURE_FILL
            plot(figure, key=f"playground-{name}", alt=ALTS[name], fill=fill)
    time.sleep(BREATH)
    if lesson.instead and controlled:
        choose("Figure", list(lesson.instead), "look", choice, label_visibility="collapsed")
    st.markdown(playground.finding(setting))
    if not controlled:
        return
    left, right = st.columns([4, 9], gap="large")
    with right:
        controls(setting)
    with left:
        st.markdown(lesson.text)
        exercise(lesson)
    with right:
        export(setting, names)
        with st.expander("The same in Python", icon=":material/code:"):
            st.code(playground.code(setting), language="python")


top = bar(
    "Playground",
    "What an anchor is and how to start it, in one linear layer small enough to recompute while you drag.",
    "playground",
)
part = playground.part_number(st.query_params)
if controlled:
    with top:
        choose("Part", list(TITLES), "part", part, format_func=TITLES.get, label_visibility="collapsed", wrap=True)
else:
    st.html(f"<style>{source('lecture.css')}</style>")
if part == 0:
    show_dragging()
else:
    st.fragment(show)(LESSONS[part - 1])
