"""A card on the run page that scores more methods on a finished run's anchors, as a new run."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from fda.errors import UserError
from fda.home import model_roots
from fda.jobs import lifecycle as jobs
from fda.merging.registry import METHODS
from fda.report.comparison import ALWAYS
from fda.requests.hyperparameters import read_by
from fda.requests.runs import MAIN_METHODS, make_spec, missing_need
from fda.requests.unread import adaptation_read_by, read_anchors, work_by_block
from fda.store.records import Run
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import notices, pages
from fda.ui.actions import action_button


def addable_methods(run: Run) -> list[str]:
    """The methods that the run lacks and whose needs it meets (anchors, a split, a number of tasks)."""
    scored = {*run.spec.methods, *ALWAYS}
    return [name for name, method in METHODS.items() if name not in scored and not missing_need(run.spec, method)]


def anchors_of(run: Run) -> str | None:
    """The id of the run that constructed the anchors which this run's methods read."""
    return run.run_id if run.spec.construction is not None else run.spec.anchors_run


def more_spec(run: Run, methods: Sequence[str], *, again: bool, roots: list[Path]) -> RunSpec:
    """The spec of a run with the same zoo, tasks, blocks and anchors but other methods; `again` adds those of the run.

    Settings that both runs read keep the run's values. UserError as in `make_spec`.
    """
    old = run.spec
    before = [name for name in old.methods if name in METHODS]
    names = [*(before if again else ()), *methods]
    read_before = read_by(before)
    kept = {
        method: {
            hyper.name: old.hyperparameters.get(method, {}).get(hyper.name, hyper.default)
            for hyper in hypers
            if hyper in read_before.get(method, ())
        }
        for method, hypers in read_by(names).items()
    }
    adaptation = {} if old.adaptation is None else old.adaptation.model_dump(include=set(adaptation_read_by(names)))
    return make_spec(
        old.zoo_path,
        tasks=old.tasks,
        blocks=old.blocks if work_by_block(names) else (),
        methods=names,
        hyperparameters=kept,
        adaptation=adaptation,
        anchors_run=anchors_of(run) if read_anchors(names) else None,
        device=old.device,
        seed=old.seed,
        roots=roots,
    )


def more_card(run: Run) -> None:
    """The expander; nothing if the run has not finished, its zoo file is missing, or no method is left."""
    offered = addable_methods(run)
    if run.state != "done" or not Path(run.spec.zoo_path).is_file() or not offered:
        return
    which = "these anchors" if anchors_of(run) else "these checkpoints"
    more = "more methods" if run.spec.methods else "methods"
    with st.expander(f"Compare {more} on {which}", icon=":material/add_chart:"):
        methods = st.multiselect(
            "Methods",
            offered,
            None if run.spec.methods else [name for name in MAIN_METHODS if name in offered],
            format_func=lambda name: METHODS[name].title if name in offered else name,
            key="more_methods",
            accept_new_options=True,
            help="Type a name such as larv:tsv or fda:dc_merge for a modifier on a method, or for FDA from another start",
            placeholder="choose",
        )
        again = bool(run.spec.methods) and st.checkbox(
            "Score the methods of this run again beside them",
            key="more_again",
            help="Without this the new run has only the pretrained and individual models beside them",
        )
        action_button(
            "Start",
            "start",
            type="primary",
            icon=":material/play_arrow:",
            do=lambda: _start(run, methods, again),
            disabled=not methods,
            key="more_start",
        )


def _start(run: Run, methods: Sequence[str], again: bool) -> None:
    """Start the new run and open it."""
    try:
        run_id = jobs.start(Store(), more_spec(run, methods, again=again, roots=model_roots()))
    except UserError as error:
        notices.keep_problem(str(error))
    else:
        st.switch_page(pages.RUN, query_params={"run": run_id})
