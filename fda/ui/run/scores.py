"""The scores of a run: its methods side by side, on every task, with intervals, and against a baseline."""

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from fda.analysis.scores import AVERAGE
from fda.escape import markdown
from fda.figures.cost import CostAxis
from fda.figures.kinds import STYLES, Kind
from fda.merging.registry import METHODS
from fda.report.comparison import ALWAYS, Results, cited_for, default_baseline, results, titles
from fda.report.comparison_figures import ComparisonView, cited_sentence, drawings, names_of
from fda.report.comparison_tables import CITED, reading_table
from fda.report.format import plural
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.run import more_methods
from fda.ui.run.comparison_export import comparison_menu
from fda.ui.run.take_home import take_home_card
from fda.ui.runs import store
from fda.ui.verdict import verdict_box

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

TICK = 2.0
FILL = 0.64  # share of the window's height that a figure takes
PLAIN, NORMALISED = "as measured", "normalised"
COSTS: tuple[CostAxis, ...] = ("seconds", "peak memory")
COLUMNS = {
    "method": st.column_config.TextColumn("method", pinned=True),
    "normalised %": st.column_config.NumberColumn(
        help="mean over tasks of accuracy / the individual model's accuracy", format="%.1f"
    ),
    CITED: st.column_config.NumberColumn(help="reported by others, not measured here", format="%.1f"),
    "reads": st.column_config.TextColumn(help="what the method reads beside the checkpoints"),
    "settings": st.column_config.TextColumn(width="medium"),
    "chosen": st.column_config.TextColumn(
        "settings are", help="fixed beforehand, set by hand, or chosen on the validation split; never on the test split"
    ),
    "seconds": st.column_config.NumberColumn(help="of merging, without the anchors", format="%.2f"),
    "anchors s": st.column_config.NumberColumn(
        help="seconds of constructing the anchors that the method reads, summed over their units", format="%.0f"
    ),
    "peak MiB": st.column_config.NumberColumn(
        help="most memory while merging; on a CPU of the whole process with its libraries", format="%.0f"
    ),
}


def scores_view(known: Store, run: Run) -> None:
    """Draw the view: scores fill in while methods are scored."""
    if not run.spec.methods:
        notices.empty("This run compares no methods: add some below, on the same anchors.")
    else:
        st.fragment(show, run_every=TICK if run.active else None)(run)
        with notices.noticed():
            take_home_card(known, run, results(known, run))
    more_methods.more_card(run)


def show(run: Run) -> None:
    with notices.noticed():
        known = store()
        now = known.run(run.run_id)
        if now.state != run.state:
            st.rerun()
        show_results(known, now)


def show_results(known: Store, run: Run) -> None:
    comparison = results(known, run)
    if not comparison.methods:
        show_failures(comparison)
        if run.active:
            notices.empty("No method has been scored yet: the anchors come first, the methods follow by themselves.")
        else:
            notices.empty("This run ended before any method was scored: resume it.")
        return
    cited = None
    with notices.noticed():
        cited = cited_for(known, run)
    if cited and run.spec.tasks != run.spec.zoo.task_names:
        st.caption("The cited numbers are over all tasks of the zoo, this run has only some: they are not shown.")
        cited = None

    with st.container(key="tabbed"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="tools"):
            view = choose(comparison)
            menu = st.container(width="content")
        names = names_of(comparison, view)
        tabs = dict(zip(names, st.tabs(names, key="figure", bind="query-params"), strict=True))
    if len(view.methods) < len(comparison.methods):
        st.caption(f"{len(view.methods)} of {len(comparison.methods)} methods shown: Filter brings the others back.")
    opened = next(name for name, tab in tabs.items() if tab.open)
    with tabs[opened]:
        if opened == "Cost":
            view = replace(view, cost=choose_cost())
        drawn = drawings(comparison, view, theme(), cited=cited, uirevision=run.run_id)
        drawing = drawn[opened]
        if drawing.make is None:
            notices.empty(drawing.sentence)
        else:
            plot(drawing.make(), key=f"compare-{opened}", alt=drawing.alt, fill=FILL)
            st.caption(drawing.sentence)
    verdict_box(run, known)

    st.header("Numbers", anchor=False)
    st.caption(
        f"{len(comparison.methods)} of {plural(len(run.spec.methods), 'method')} · {comparison.metric} on "
        f"{comparison.count:,} {markdown(comparison.split)} samples{individual_average(comparison)}"
    )
    averages = cited[1] if cited else None
    st.dataframe(
        reading_table(comparison, view.methods, averages),
        hide_index=True,
        placeholder="–",
        alt="Scores in percent, settings and cost of each method",
        column_config={f"{task} %": percent() for task in (*comparison.scores.tasks, AVERAGE)} | COLUMNS,
    )
    for note in comparison.data_notes:
        notices.note(note)
    if cited:
        st.caption(cited_sentence(cited[0]))
    show_failures(comparison)
    with menu:
        comparison_menu(run, comparison, view, drawn, cited, theme())
    with st.expander("What the methods do", icon=":material/menu_book:"):
        for name in comparison.methods:
            if name in METHODS:
                paper = f" [paper]({METHODS[name].paper})" if METHODS[name].paper else ""
                st.markdown(f"**{METHODS[name].title}** (`{name}`): {METHODS[name].idea}{paper}")


def individual_average(comparison: Results) -> str:
    """What every average is to be read beside; nothing until the individual models are scored."""
    if "individual" not in comparison.methods:
        return ""
    return f" · the individual models reach {100 * comparison.scores.of('individual'):.1f} % on average"


def show_failures(comparison: Results) -> None:
    names = titles(list(comparison.failed))
    for method, sentence in comparison.failed.items():
        notices.problem(f"{names[method]} failed: {sentence}")


def percent() -> "ColumnConfig":
    return st.column_config.NumberColumn(format="%.1f")


def choose(comparison: Results) -> ComparisonView:
    """The controls that every figure obeys. Their values are in the URL."""
    names = titles(comparison.methods)
    with st.popover("Filter", icon=":material/filter_list:"):
        picked, kinds = choose_methods(comparison, names)
        scale = st.segmented_control(
            "Scale",
            [PLAIN, NORMALISED],
            default=PLAIN,
            required=True,
            key="scale",
            bind="query-params",
            disabled=comparison.normalised is None,
            help="Normalised: divided by the individual model's score on each task",
        )
    score = st.selectbox("Score", [AVERAGE, *comparison.scores.tasks], key="score", bind="query-params", width=140)
    usual = default_baseline(comparison)
    assert usual is not None, "there are controls only once a method has been scored"
    asked = st.query_params.get("baseline")
    pinned = st.selectbox(
        "Baseline",
        list(comparison.methods),
        index=None,
        format_func=names.__getitem__,
        key="baseline",
        bind="query-params",
        placeholder=names[usual],
        help="Differences are to this method",
        width=270,
    )
    if asked is not None and asked not in comparison.methods and asked not in names.values():
        notices.problem(f"there is no result of a method {asked!r} here: {names[usual]} is the baseline instead.")
    return ComparisonView(
        methods=tuple(comparison.chosen(picked, kinds)),
        picked=bool(picked),
        baseline=pinned or usual,
        score=score,
        normalised=scale == NORMALISED,
    )


def choose_methods(comparison: Results, names: dict[str, str]) -> tuple[list[str], list[Kind]]:
    """Methods and kinds of methods to show; none chosen: all. The references are not among the options: they stay."""
    there = [kind for kind in STYLES if kind != "reference" and kind in comparison.kinds.values()]
    shared = {"selection_mode": "multi", "bind": "query-params", "wrap": True}
    kinds = st.pills("What they read", there, format_func=lambda kind: STYLES[kind].heading, key="needs", **shared)
    options = [
        method
        for method in comparison.methods
        if method not in ALWAYS and (not kinds or comparison.kinds[method] in kinds)
    ]
    methods = st.pills(
        "Methods", options, format_func=names.__getitem__, key="methods", help="none chosen: all", **shared
    )
    st.caption("Pretrained and individual are always shown: all else lies between them.")
    return methods, kinds


def choose_cost() -> CostAxis:
    return st.segmented_control(
        "Cost",
        COSTS,
        default=COSTS[0],
        required=True,
        key="cost",
        bind="query-params",
        label_visibility="collapsed",
    )
