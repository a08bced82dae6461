"""Speed: results of `python -m fda bench` on this machine, beside plain implementations."""

import time

import streamlit as st

from fda.escape import markdown
from fda.store.bench_results import KINDS, kept_results
from fda.ui import notices, speed
from fda.ui.exports import export_menu
from fda.ui.page import bar, command_box, theme
from fda.ui.plot import plot

top = bar(
    "Speed",
    "How long each implementation takes on one machine, side by side, for equal results.",
    "speed",
)

results = {path.stem: result for path, result in kept_results()}
commands = [f"python -m fda bench {kind}" for kind in KINDS]
if not results:
    notices.empty("Nothing has been measured yet: run `python -m fda bench construct`, and its result appears here.")
    command_box(commands)
    st.stop()

asked = st.query_params.get("of")
if asked is not None and asked not in results:
    notices.problem(f"there is no result {asked}: the newest is shown instead.")
st.session_state["of"] = asked if asked in results else next(iter(results))


def choose() -> None:
    st.query_params["of"] = st.session_state["of"]


chosen = st.selectbox(
    "Measurement", list(results), format_func=lambda name: speed.title(results[name]), key="of", on_change=choose
)
result = results[chosen]
try:
    measurements = speed.measurements(result, theme())
except (KeyError, TypeError, ValueError, AttributeError):
    notices.problem(f"{chosen}.json is not a complete measurement of {result.kind}: measure it again.")
    command_box(commands)
    st.stop()

for shown in measurements:
    plot(shown.draw(), key=f"speed-{chosen}-{shown.name}".replace(" ", "-").replace("/", "-"), alt=shown.alt)
    st.caption(markdown(shown.note))
    st.dataframe(shown.table, hide_index=True, width="stretch")

moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.date))
st.caption(f":material/memory: {markdown(f'{speed.machine_words(result)}. {moment}.')}")
export_menu(
    f"fda-speed-{chosen}",
    tables={shown.name: lambda shown=shown: shown.table for shown in measurements},
    figures={shown.name: shown.draw for shown in measurements},
)
command_box([result.command, *(command for command in commands if not result.command.startswith(command))])
