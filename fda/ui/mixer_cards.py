"""What stands below the desk of the Mixer: the history of mixes, a search of λ, what each block got, and the recipe."""

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.errors import UserError
from fda.escape import cells, csv, markdown
from fda.figures.mixer import mixes_bars
from fda.home import model_roots
from fda.jobs import lifecycle as jobs
from fda.report.format import plural
from fda.requests.mixes import mix_spec
from fda.requests.recipe import Recipe, read_recipe, recipe_text
from fda.ui import mixer_recipe, notices, pages
from fda.ui.actions import action_button, download_button
from fda.ui.mixer_desk import BUDGET, GOALS, TRACE, Desk, Proposal
from fda.ui.mixer_history import FORMULA, MARK, NUMBER, Mix
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.runs import store

MOST_BESIDE = 4  # mixes side by side
HISTORY, SEARCH, BLOCKS, RECIPE = TABS = ("History", "Propose λ", "What each block got", "Recipe")


def cards(desk: Desk, actions: DeltaGenerator, reference: str) -> None:
    """The tabs below the desk, and the desk's buttons in the container `actions` of the bar."""
    with actions:
        keep_box(desk, reference)
        st.button("Reset", icon=":material/restart_alt:", on_click=_take, args=(desk, desk.usual), key="mixer_reset",
                  type="tertiary", help="Back to task arithmetic with its default λ")  # fmt: skip
        st.button("Pin", icon=":material/push_pin:", on_click=_pin, args=(desk, desk.recipe, "pinned mix"), key="mixer_pin",
                  type="tertiary", help="Make this mix the baseline that changes and flips are told against")  # fmt: skip
    history, search, blocks, recipe = st.tabs(TABS)
    with history:
        history_card(desk)
    with search:
        search_card(desk)
    with blocks:
        blocks_card(desk)
    with recipe:
        recipe_card(desk)


def _take(desk: Desk, recipe: Recipe) -> None:
    """Callback: put this mix on the desk."""
    desk.recipe, desk.proposal = recipe, None
    desk.part = min(desk.part, len(recipe.parts) - 1)


def _pin(desk: Desk, recipe: Recipe, title: str) -> None:
    """Callback: make this mix the baseline."""
    desk.baseline, desk.baseline_title = recipe, title


# keep ----------------------------------------------------------------------------------------------------------------


def keep_box(desk: Desk, reference: str) -> None:
    """A popover that starts the run which scores the mix on the test split."""
    with st.popover(
        "Keep", icon=":material/save:", key="mixer_keep", help="Score it on the test split, beside other methods"
    ):
        st.markdown(
            "Scores this mix on the **test split** in a run of its own, marked as chosen on validation samples."
        )
        name = st.text_input("Name", f"mix-{desk.history.given or 1}", key="mixer_name", max_chars=40)
        beside = st.multiselect("Beside", mixer_recipe.WEIGHTED, ["ta"], key="mixer_beside")
        action_button("Keep it", "start", type="primary", icon=":material/play_arrow:", key="mixer_start",
                      do=lambda: _keep(desk, reference, name, tuple(beside)))  # fmt: skip
        if desk.kept is not None:
            st.page_link(
                pages.RUN,
                label="Its run",
                icon=":material/monitoring:",
                query_params={"run": desk.kept, "view": "Scores"},
            )


def _keep(desk: Desk, reference: str, name: str, beside: tuple[str, ...]) -> None:
    """Start the run."""
    try:
        spec = mix_spec(reference, desk.recipe, name, methods=beside, roots=model_roots())
        desk.kept = jobs.start(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))


# history -------------------------------------------------------------------------------------------------------------


def history_card(desk: Desk) -> None:
    history = desk.history
    if not history.mixes:
        notices.empty("A mix that you look at for a second gets a number and stands here: move a slider.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="mixer-history"):
        words = st.text_input("Search", key="mixer_words", placeholder="number or formula", label_visibility="collapsed",
                              icon=":material/search:", width=220)  # fmt: skip
        only_marked = st.toggle("Marked only", key="mixer_marked")
        mixes = history.found(words or "", only_marked=only_marked)
        table = history.table(mixes)
        download_button(
            "CSV", lambda: csv(history.table(mixes)), file_name=f"fda-{desk.zoo.name}-mixes.csv", mime="text/csv",
            icon=":material/table:", type="tertiary", on_click="ignore", key="mixer_csv", disabled=not mixes,
        )  # fmt: skip
        buttons = st.container(horizontal=True, vertical_alignment="center", gap="small")
    if not mixes:
        notices.empty("No mix is like this: change the search.")
        return
    number = st.column_config.NumberColumn(format="%.1f")
    scores = {name: number for name in table.columns if name not in (NUMBER, MARK, FORMULA, "samples")}
    key = f"mixer-rows-{history.given}-{'-'.join(str(mix.number) for mix in mixes[:3])}-{len(mixes)}"
    picked = st.dataframe(cells(table), hide_index=True, on_select="rerun", selection_mode="multi-row", key=key,
                          column_config={**scores, FORMULA: st.column_config.TextColumn(width="large")})  # fmt: skip
    chosen = [mixes[row] for row in picked.selection.rows if row < len(mixes)][:MOST_BESIDE]
    with buttons:
        _history_buttons(desk, chosen)
    if len(chosen) > 1:
        _show_beside(desk, chosen)


def _history_buttons(desk: Desk, chosen: list[Mix]) -> None:
    if not chosen:
        st.caption("Select a row to go back to its mix, two to see them side by side.")
        return
    first = chosen[0]
    st.button(
        f"Go back to {first.number}",
        icon=":material/undo:",
        on_click=_take,
        args=(desk, first.recipe),
        key="mixer_back",
    )
    st.button(f"Pin {first.number}", icon=":material/push_pin:", on_click=_pin, key="mixer_pin_row",
              args=(desk, first.recipe, f"mix {first.number}"))  # fmt: skip
    marked = {mix.number for mix in chosen} <= desk.history.marked
    st.button("Unmark" if marked else "Mark", icon=":material/star:", on_click=_mark, args=(desk, chosen, not marked),
              key="mixer_mark")  # fmt: skip


def _mark(desk: Desk, mixes: list[Mix], marked: bool) -> None:
    """Callback: mark these mixes, or no longer."""
    numbers = {mix.number for mix in mixes}
    desk.history.marked = desk.history.marked | numbers if marked else desk.history.marked - numbers


def _show_beside(desk: Desk, chosen: list[Mix]) -> None:
    answer = desk.answer
    experts = answer.individual.tasks if answer is not None else None
    bars = mixes_bars({f"mix {mix.number}": mix.scores for mix in chosen}, theme(), experts=experts)
    plot(bars, key="mixer-beside", alt=f"Accuracy of each task by {', '.join(f'mix {mix.number}' for mix in chosen)}")
    for mix in chosen:
        st.caption(f"**{mix.number}**: {markdown(mix.formula)}")


# search --------------------------------------------------------------------------------------------------------------


def search_card(desk: Desk) -> None:
    proposal = desk.proposal
    searching = proposal is not None and not proposal.ended
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="mixer-search"):
        st.segmented_control("Raise the", GOALS, default=GOALS[0], required=True, key="mixer_goal", disabled=searching)
        st.number_input("Evaluations", 5, 200, BUDGET, key="mixer_budget", width=130, disabled=searching)
        if searching:
            st.button("Stop", icon=":material/stop_circle:", on_click=_stop, args=(desk,), key="mixer_stop")
        else:
            st.button("Propose λ", icon=":material/auto_awesome:", type="primary", key="mixer_propose", on_click=_search,
                      args=(desk,), disabled=mixer_recipe.is_fixed(desk.chosen))  # fmt: skip
    st.caption(
        "Tries λ of the sliders on the validation samples, first one for all tasks, then task by task, and keeps the best. The "
        "worst task is the one that keeps the smallest share of its expert's score."
    )
    if proposal is None or not proposal.tried:
        return
    best, value = proposal.best
    said = ", ".join(f"{markdown(task)} {one:g}" for task, one in zip(desk.tasks, best, strict=True))
    before = proposal.tried[0][1]
    st.markdown(
        f"**{plural(len(proposal.tried), 'evaluation')}**: {proposal.goal} {100 * before:.1f} → **{100 * value:.1f} %** "
        f"with λ of {said}."
    )
    plot(
        desk.trace_figure(proposal),
        key=TRACE,
        alt=f"{proposal.goal} at each evaluation of the search, and the best so far",
    )


def _search(desk: Desk) -> None:
    """Callback: begin a search; the element on the page asks for one evaluation after the other."""
    desk.proposal = Proposal(st.session_state["mixer_goal"], int(st.session_state["mixer_budget"]), desk.lambdas)


def _stop(desk: Desk) -> None:
    """Callback: end the search with the best mix so far."""
    if desk.proposal is not None:
        desk.proposal.ended = True
        if desk.proposal.tried:
            desk.recipe = desk.with_lambdas(desk.proposal.best[0])


# blocks, recipe ------------------------------------------------------------------------------------------------------


def blocks_card(desk: Desk) -> None:
    answer = desk.answer
    assert answer is not None
    table = [
        {
            "block": row.block,
            "method": row.method,
            "settings": ", ".join(f"{name} {value}" for name, value in row.settings.items() if value != ""),
            "factors": ", ".join(f"{task} {weight:g}" for task, weight in row.weights.items()),
            "change (%)": 100 * row.change,
        }
        for row in answer.blocks
    ]
    change = st.column_config.NumberColumn(format="%.2f", help="‖θ − θ0‖ / ‖θ0‖ of the block's tensors")
    st.dataframe(cells(pd.DataFrame(table)), hide_index=True, column_config={"change (%)": change},
                 alt="Method, settings and relative change of each block")  # fmt: skip


def recipe_card(desk: Desk) -> None:
    left, right = st.columns(2, gap="medium")
    text = recipe_text(desk.recipe)
    with left:
        st.code(text, language="yaml", wrap_lines=True)
        download_button("Download the recipe", text, file_name=f"{desk.zoo.name}-mix.yaml", mime="application/yaml",
                           icon=":material/download:", on_click="ignore", key="mixer_recipe")  # fmt: skip
    with right, st.form("mixer_load", border=False):
        given = st.text_area("A recipe to load", key="mixer_given", height=160, max_chars=20_000, placeholder=text)
        if st.form_submit_button("Load", icon=":material/upload:") and given:
            try:
                _take(desk, read_recipe(given, desk.zoo))
            except UserError as error:
                notices.problem(str(error))
            else:
                st.rerun()
