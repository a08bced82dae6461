"""Mixer: merge by hand, and see the scores at once."""

import shlex

import streamlit as st

from fda.ui import notices
from fda.ui.mixer import answered, choose_run, controls, desk_for, open_zoo, show_desk
from fda.ui.mixer_cards import cards
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
    reference = choose_zoo()
if reference is None:
    notices.empty("Give the path of a zoo file, or fill in what your checkpoints are on the page Checkpoints.")
    st.stop()
with notices.noticed(stop=True):
    zoo, known = open_zoo(reference), store()
    with top:
        run = choose_run(known, zoo)
        actions = st.container(horizontal=True, vertical_alignment="center", gap="small", key="mixer-actions")
    desk = desk_for(zoo, run)
    if not answered(desk):
        st.stop()
    controls(desk, known, run)
    show_desk(desk)
    cards(desk, actions)
command_box(
    [
        shlex.join(
            ["python", "-m", "fda", "mix", "--zoo", reference, "--recipe", "FILE.yaml", "--out", "FILE.safetensors"]
        )
    ]
)
