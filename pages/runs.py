"""Several runs in one comparison: their scores, losses and spectra, and only the settings that differ."""

from collections.abc import Callable
from functools import partial

import plotly.graph_objects as go
import streamlit as st

from fda.errors import UserError
from fda.figures.run_groups import group_curves, group_scores
from fda.measures import ANGLE_LOSS, SPECTRUM
from fda.merging.registry import METHODS
from fda.report.run_groups import MOST_RUNS, run_groups, scores_table, settings_table
from fda.store.records import Run
from fda.ui import notices, pages
from fda.ui.exports import export_menu
from fda.ui.page import bar, command_box, theme
from fda.ui.plot import plot
from fda.ui.runs import store

FILL = 0.4  # share of the window's height that a figure takes
SCORES, LOSSES, SPECTRA = "Scores", "Losses", "Spectra"
ALTS = {
    SCORES: "Average score of each method, a symbol for each group of runs, with the range over its seeds",
    LOSSES: "Mean angle loss over steps, a curve for each group of runs, with the range over its seeds",
    SPECTRA: "Mean spectrum of the anchors at the last step, a curve for each group of runs",
}

top = bar("Runs", "Several runs side by side: seeds of the same settings are one curve with its range.", "runs")
known = store()
asked = list(dict.fromkeys(run_id for run_id in (st.query_params.get("runs") or "").split(",") if run_id))
runs: list[Run] = []
for run_id in asked[:MOST_RUNS]:
    try:
        runs.append(known.run(run_id))
    except UserError as error:
        notices.problem(str(error))
if len(asked) > MOST_RUNS:
    notices.note(f"{len(asked)} runs are asked for: the first {MOST_RUNS} are compared")
if len(runs) < 2:
    notices.empty("Select two or more runs in the table on Home, then Compare.")
    st.page_link(pages.HOME, label="Home", icon=":material/home:")
    st.stop()

with notices.noticed(stop=True):
    groups = run_groups(known, runs)
names = [group.name for group in groups]
if len(set(names)) < len(names):  # published anchors and deleted sources have no settings to tell them by
    names = [f"{name} · {group.runs[0].run_id[-4:]}" for name, group in zip(names, groups, strict=True)]
revision = ",".join(asked)
by_name = dict(zip(names, groups, strict=True))
averages = {name: group.averages for name, group in by_name.items()}
losses = {name: group.losses for name, group in by_name.items()}
spectra = {name: group.spectrum for name, group in by_name.items()}
titles = {name: method.title for name, method in METHODS.items()}
curves = partial(group_curves, theme=theme(), uirevision=revision)
figures: dict[str, Callable[[], go.Figure]] = {}
if any(averages.values()):
    figures[SCORES] = partial(group_scores, averages, theme(), titles=titles, uirevision=revision)
if any(one is not None for one in losses.values()):
    title = "Angle loss over steps, mean over units"
    figures[LOSSES] = partial(curves, losses, title=title, x_title="optimiser step", y_title=ANGLE_LOSS.unit)
if any(one is not None for one in spectra.values()):
    title = "Spectrum of the anchors at the last step, mean over units"
    figures[SPECTRA] = partial(
        curves, spectra, title=title, x_title="index of the singular value", y_title=SPECTRUM.unit
    )
with top:
    st.caption(f"{len(runs)} runs in {len(groups)} {'group' if len(groups) == 1 else 'groups'}")
    export_menu(
        "fda-runs",
        tables={"Settings": lambda: settings_table(groups), "Averages": lambda: scores_table(groups)},
        figures=figures,
    )
if not figures:
    notices.empty("None of these runs has recorded a loss or a score yet.")
left, right = st.columns(2, gap="medium")
for name, make in figures.items():
    with left if name == SCORES else right:
        plot(make(), key=f"runs-{name}", alt=ALTS[name], fill=2 * FILL if name == SCORES else FILL)
st.dataframe(settings_table(groups), hide_index=True, placeholder="–", alt="The settings in which these runs differ")
with st.container(horizontal=True, gap="small"):
    for run in runs:
        st.page_link(pages.RUN, label=run.title, icon=":material/monitoring:", query_params={"run": run.run_id})
command_box(["python -m fda runs list", *(f"python -m fda runs show {run.run_id}" for run in runs)])
