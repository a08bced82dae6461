"""The form "Compare initialisations" of a unit's anchors: one button queues a run for every init."""

import shlex

import streamlit as st

from fda.errors import UserError
from fda.home import model_roots
from fda.report.format import plural
from fda.requests.ablation import ablation_specs, run_of, start_ablation
from fda.requests.runs import split_blocks
from fda.store.records import ACTIVE, Run
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.ui import notices
from fda.ui.actions import action_button
from fda.ui.page import command_box
from fda.ui.survey import read_zoo
from fda.ui.zoos import choose_zoo
from fda.zoos.zoo import list_zoos


def ablation_form(store: Store, runs: list[Run], like: Run | None = None) -> None:
    """Choose tasks, blocks and steps, queue the runs that do not exist yet, and show all of them together.

    They use the zoo of the run `like`; without one, the form offers zoos too.
    """
    st.markdown(
        "The paper's figures 3 and 4: the same construction from rows of the finetuned weights and from σ·N(0, I) with "
        "σ of 0.0001, 0.01, 1 and 10. Five runs, one after another on the device; existing runs are reused."
    )
    reference = choose_zoo() if like is None else like.spec.zoo_path
    with notices.noticed():
        zoo = read_zoo(reference)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            tasks = st.multiselect("Tasks", zoo.task_names, key="ablation_tasks", placeholder="all", width=260)
            blocks = st.text_input("Blocks", key="ablation_blocks", placeholder="all", width=120, help="such as 0,1")
            preset = st.selectbox("Preset", ["fast", "paper"], key="ablation_preset", width=120)
            steps = st.number_input(
                "Steps", 1, 100_000, None, 1, key="ablation_steps", placeholder="the preset's", width=140
            )
            seed = st.number_input("Seed", 0, 2**31 - 1, 0, 1, key="ablation_seed", width=120)
        chosen = {"tasks": tasks, "blocks": split_blocks(blocks), "preset": preset, "steps": steps, "seed": int(seed)}
        specs = ablation_specs(reference, roots=model_roots(), **chosen)
        existing = [run for spec in specs if (run := run_of(runs, spec)) is not None]
        ready = sum(run.state == "done" or run.state in ACTIVE for run in existing)
        with st.container(horizontal=True, vertical_alignment="center"):
            action_button(
                "Compare initialisations",
                "start",
                type="primary",
                icon=":material/compare_arrows:",
                do=lambda: _start(store, specs),
                key="ablation_start",
            )
            st.caption(
                f"{plural(len(specs), 'run')}, of which {ready} already {'exists' if ready == 1 else 'exist'}."
                if ready
                else f"{plural(len(specs), 'run')} will wait for the device in turn."
            )
        command_box([ablation_command(reference, specs[0], preset=preset, steps=steps)])


def ablation_command(zoo: str, spec: RunSpec, *, preset: str, steps: int | None) -> str:
    """The equivalent command."""
    shipped = {str(path): name for name, path in list_zoos().items()}
    parts = ["python", "-m", "fda", "ablate", "--zoo", shipped.get(zoo, zoo)]
    if spec.tasks != spec.zoo.task_names:
        parts += ["--tasks", ",".join(spec.tasks)]
    if spec.blocks:
        parts += ["--blocks", ",".join(map(str, spec.blocks))]
    parts += ["--preset", preset]
    parts += ["--steps", str(steps)] if steps is not None else []
    parts += ["--seed", str(spec.seed)] if spec.seed else []
    return shlex.join(parts)


def show_together(run_ids: list[str]) -> None:
    """Set the URL to these runs; the first is the reference."""
    reference, *beside = run_ids
    for name in ("task", "block", "step", "anchor", "pin"):
        st.query_params.pop(name, None)
    for key in ("anchors_beside", "anchors_pin"):
        st.session_state.pop(key, None)
    st.query_params["run"], st.query_params["runs"] = reference, ",".join(beside)


def _start(store: Store, specs: list[RunSpec]) -> None:
    """Queue the missing runs and show all."""
    try:
        show_together(start_ablation(store, specs))
    except UserError as error:
        notices.keep_problem(str(error))
