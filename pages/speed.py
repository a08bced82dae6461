"""Speed: what `python -m fda bench` measured on this machine, beside the plain way of doing the same."""

import time

import streamlit as st

from fda.escape import markdown
from fda.store.bench_results import KINDS, kept_results
from fda.ui import notices
from fda.ui import speed as measured
from fda.ui.exports import export_menu
from fda.ui.page import command_box, theme, what_am_i_seeing
from fda.ui.plot import plot

st.title("Speed", anchor=False)
st.caption("How long each way of doing the work takes on one machine, side by side, equal results first.")
what_am_i_seeing("speed")

found = {path.stem: result for path, result in kept_results()}
commands = [f"python -m fda bench {kind}" for kind in KINDS]
if not found:
    notices.empty("Nothing has been measured yet: run `python -m fda bench construct`, and its result appears here.")
    command_box(commands)
    st.stop()

asked = st.query_params.get("of")
if asked is not None and asked not in found:
    notices.problem(f"there is no result {asked}: this is the newest.")
st.session_state["of"] = asked if asked in found else next(iter(found))


def choose() -> None:
    st.query_params["of"] = st.session_state["of"]


chosen = st.selectbox(
    "Measurement", list(found), format_func=lambda name: measured.title(found[name]), key="of", on_change=choose
)
result = found[chosen]
try:
    views = measured.views(result, theme())
except (KeyError, TypeError, ValueError, AttributeError):
    notices.problem(f"{chosen}.json does not hold what a measurement of {result.kind} does: measure it again.")
    command_box(commands)
    st.stop()

for view in views:
    plot(view.draw(), key=f"speed-{chosen}-{view.name}".replace(" ", "-").replace("/", "-"), alt=view.alt)
    st.caption(markdown(view.note))
    st.dataframe(view.table, hide_index=True, width="stretch")

moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.date))
st.caption(f":material/memory: {markdown(f'{measured.machine_words(result)}. {moment}.')}")
export_menu(
    f"fda-speed-{chosen}",
    tables={view.name: lambda view=view: view.table for view in views},
    figures={view.name: view.draw for view in views},
)
command_box([result.command, *(command for command in commands if not result.command.startswith(command))])
