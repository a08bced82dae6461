"""Compare: the methods of a run side by side, on every task, and against a pinned baseline."""

import streamlit as st

from fda.figures.methods import accuracy_map, difference_map, method_bars
from fda.merging.registry import METHODS
from fda.runs.records import Run
from fda.ui import frame, notices
from fda.ui.command import command_box, run_commands
from fda.ui.comparison import default_baseline, results, table, titles
from fda.ui.exports import export_menu
from fda.ui.format import plural
from fda.ui.frame import guard
from fda.ui.plot import plot
from fda.ui.runs import badge, pick_run, store
from fda.ui.theme import theme

guard()

TICK = 2.0

st.title("Compare", anchor=False)
st.caption("What each way of merging the same checkpoints is worth on every task, and what the anchors add to it.")

with notices.noticed(stop=True):
    known = store()
    runs = [run for run in known.runs() if run.spec.methods]
if not runs and "run" not in st.query_params:
    notices.empty("No run compares methods yet: start the demo on Home, or choose methods on Construct.")
    st.page_link(frame.HOME, label="Home", icon=":material/home:")
    st.stop()
run = pick_run(
    runs, known, key="compare_run", wrong="run {run} compares no methods: choose one of the list above, or Watch it."
)
if run is None:
    st.stop()


def show() -> None:
    with notices.noticed():
        known = store()
        now = known.run(run.run_id)
        if now.state != run.state:
            st.rerun()
        show_results(now)


def show_results(run: Run) -> None:
    found = results(known, run)
    tasks = run.spec.tasks
    names = titles(run.spec.methods)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        badge(run)
        scored = f"**{run.spec.zoo.name}** · {len(found.accuracies)} of {plural(len(run.spec.methods), 'method')}"
        if found.accuracies:
            scored += f" · accuracy on {plural(found.count, 'sample')} of the {found.split} split"
        st.markdown(scored, width="stretch")
        st.page_link(frame.WATCH, label="Watch", icon=":material/monitoring:", query_params={"run": run.run_id})
    for method, sentence in found.failed.items():
        notices.problem(f"{names.get(method, method)} failed: {sentence}")
    if not found.accuracies:
        if run.active:
            notices.empty("No method has been scored yet: watch the anchors come, the methods follow by themselves.")
        else:
            notices.empty("This run ended before any method was scored: resume it on Watch.")
        return

    left, right = st.columns([3, 1], gap="medium", vertical_alignment="bottom")
    with left:
        methods = st.pills(
            "Methods",
            list(found.accuracies),
            format_func=names.get,
            selection_mode="multi",
            key="methods",
            bind="query-params",
            help="none chosen: all",
            wrap=True,
        )
    shown = found.only(methods)
    with right:
        asked = st.query_params.get("baseline")
        pinned = st.selectbox(
            "Baseline",
            list(found.accuracies),
            index=None,
            format_func=names.get,
            key="baseline",
            bind="query-params",
            placeholder=names[default_baseline(list(found.accuracies))],
            help="Differences are to this method",
        )
    baseline = pinned or default_baseline(list(found.accuracies))
    if asked is not None and asked not in found.accuracies and asked not in names.values():
        notices.problem(f"there is no result of a method {asked!r} here: {names[baseline]} is the baseline instead.")
    with_baseline = {baseline: found.accuracies[baseline]} | shown
    shared = {"tasks": tasks, "titles": names, "uirevision": run.run_id}
    figures = {
        "Bars": lambda: method_bars(shown, theme(), baseline=baseline, **shared),
        "Differences": lambda: difference_map(with_baseline, theme(), baseline=baseline, **shared),
        "Accuracies": lambda: accuracy_map(shown, theme(), **shared),
    }
    plot(figures["Bars"](), key="bars", alt="Average accuracy of each method, with a marker for each task")
    one, two = st.columns(2, gap="medium")
    with one:
        if len(with_baseline) > 1:
            plot(figures["Differences"](), key="differences", alt=f"Differences in accuracy to {names[baseline]}")
        else:
            notices.empty("Only the baseline is shown: choose another method above.")
    with two:
        plot(figures["Accuracies"](), key="accuracies", alt="Accuracy of every method on every task")

    st.subheader("Numbers", anchor=False)
    st.dataframe(
        table(found, tasks, methods, percent=True),
        hide_index=True,
        alt="Accuracy in percent, settings and cost of each method",
        column_config={
            "method": st.column_config.TextColumn("method", pinned=True),
            "average": st.column_config.NumberColumn("average %", format="%.1f"),
            "normalized": st.column_config.NumberColumn(
                "normalised %", format="%.1f", help="mean over tasks of accuracy / the individual model's accuracy"
            ),
            **{task: st.column_config.NumberColumn(f"{task} %", format="%.1f") for task in tasks},
            "settings": st.column_config.TextColumn("settings", width="medium"),
            "chosen": st.column_config.TextColumn(
                "settings are", help="fixed beforehand, or chosen on the validation split; never on the test split"
            ),
            "seconds": st.column_config.NumberColumn("seconds", format="%.1f"),
            "peak MiB": st.column_config.NumberColumn(
                "peak MiB", format="%.0f", help="most memory in use while merging and scoring"
            ),
        },
    )
    with st.expander("What the methods do", icon=":material/menu_book:"):
        for name in found.accuracies:
            if name in METHODS:
                paper = f" [paper]({METHODS[name].paper})" if METHODS[name].paper else ""
                st.markdown(f"**{METHODS[name].title}** (`{name}`): {METHODS[name].idea}{paper}")
    export_menu(
        f"fda-{run.run_id}",
        tables={"Results": lambda: table(found, tasks, methods, percent=False)},
        figures=figures,
    )


st.fragment(show, run_every=TICK if run.active else None)()
commands, note = run_commands(run.spec, run.run_id)
command_box([*commands, f"python -m fda runs show {run.run_id} --json"], note)
