"""Mixer: merge by hand, and see the scores at once."""

import shlex

import streamlit as st

from fda.ui import notices
from fda.ui.mixer import answered, choose_run, controls, desk_for, open_zoo, show_desk
from fda.ui.mixer_cards import cards
from fda.ui.mixer_lesson import ZOO as LESSON_ZOO
from fda.ui.mixer_lesson import lesson, lesson_card
from fda.ui.page import bar, command_box
from fda.ui.runs import store
from fda.ui.zoos import choose_zoo

top = bar(
    "Mixer",
    "Merge by hand: move the λ of a task and see at once what each task gains and loses.",
    "mixer",
)
notices.show_kept()
with top:
    taught = st.toggle("Lesson", key="lesson", bind="query-params", help="Which task vectors disturb each other?")
    reference = LESSON_ZOO if taught else choose_zoo()
with notices.noticed(stop=True):
    zoo, known = open_zoo(reference), store()
    with top:
        run = None if taught else choose_run(known, zoo)
        actions = st.container(horizontal=True, vertical_alignment="center", gap="small", key="mixer-actions")
    desk = desk_for(zoo, run, lesson().tasks if taught else ())
    if not answered(desk):
        st.stop()
    controls(desk, known, run)
    show_desk(desk)
    if taught:
        lesson_card(desk, known)
    cards(desk, actions, reference)
made = ["python", "-m", "fda", "mix", "--zoo", reference, "--recipe", "FILE.yaml"]
command_box([shlex.join([*made, *words]) for words in (("--out", "FILE.safetensors"), ("--keep", "NAME"))])
