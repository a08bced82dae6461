"""The lesson of the Mixer: three tasks of the demo zoo, of which two disturb each other, by hand, and then by FDA."""

from functools import lru_cache
from types import MappingProxyType

import streamlit as st
import yaml
from pydantic import BaseModel, ConfigDict

from fda.errors import UserError
from fda.home import model_roots
from fda.jobs import lifecycle as jobs
from fda.requests.exports import exportable
from fda.requests.recipe import Part, Recipe
from fda.requests.runs import construct_settings, make_spec
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import notices, pages
from fda.ui.actions import action_button
from fda.ui.mixer_desk import Desk, average
from fda.ui.page import TEXTS
from fda.ui.playground import SetUp
from fda.ui.runs import store

ZOO = "demo"
FDA = "fda:ta"


class MixerLesson(BaseModel):
    """The text of assets/texts/mixer_lesson.yaml. `set_up`: buttons that set λ, task → λ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...]
    text: str
    task: str
    set_up: tuple[SetUp, ...]
    answer: str
    without_data: str


@lru_cache
def lesson() -> MixerLesson:
    return MixerLesson.model_validate(yaml.safe_load((TEXTS / "mixer_lesson.yaml").read_text(encoding="utf-8")))


def lesson_card(desk: Desk, known: Store) -> None:
    """Text and exercise side by side, with what the reader's mixes have reached so far."""
    left, right = st.columns([4, 5], gap="large")
    with left:
        st.markdown(lesson().text)
    with right, st.container(border=True, key="exercise"):
        st.markdown(f"**Try it.** {lesson().task}")
        with st.container(horizontal=True, gap="small"):
            for index, preset in enumerate(lesson().set_up):
                lambdas = [float(preset.set[task]) for task in desk.tasks]
                st.button(
                    preset.label, on_click=_set, args=(desk, lambdas), key=f"set-up-{index}", icon=":material/tune:"
                )
        st.markdown(reached(desk))
        with st.expander("Answer", icon=":material/lightbulb:"):
            st.markdown(lesson().answer)
        with st.expander("And without data?", icon=":material/auto_awesome:"):
            _without_data(desk, known)


def reached(desk: Desk) -> str:
    """The averages of the default, of the reader's best mix and of the experts, in a sentence."""
    answer = desk.answer
    assert answer is not None and answer.baseline is not None
    default = sum(answer.baseline.tasks[task] for task in desk.tasks) / len(desk.tasks)
    experts = sum(answer.individual.tasks[task] for task in desk.tasks) / len(desk.tasks)
    by_hand = [mix for mix in desk.history.mixes if all(part.run_id is None for part in mix.recipe.parts)]
    best = max(by_hand, key=lambda mix: mix.average, default=None)
    yours = average(answer, desk.tasks) if best is None else best.average
    named = "this mix" if best is None else f"your best, mix {best.number},"
    title = "the default λ" if desk.baseline == desk.usual else "the pinned mix"
    return (
        f"Average of {title} **{100 * default:.1f} %**; {named} **{100 * yours:.1f} %**; experts {100 * experts:.1f} %."
    )


def _set(desk: Desk, lambdas: list[float]) -> None:
    """Callback: task arithmetic with these λ."""
    desk.recipe, desk.part = desk.usual, 0
    desk.recipe = desk.with_lambdas(lambdas)


def fda_run(known: Store) -> Run | None:
    """The newest run that made a model of the lesson's tasks with FDA, or that is at it."""
    for run in known.runs():
        asked = run.spec.zoo.name == ZOO and run.spec.tasks == lesson().tasks and FDA in run.spec.methods
        if asked and (run.active or (run.state == "done" and FDA in exportable(known, run.run_id))):
            return run
    return None


def _without_data(desk: Desk, known: Store) -> None:
    st.markdown(lesson().without_data)
    run = fda_run(known)
    if run is None:
        st.caption("There is no finished run of FDA on these three tasks yet. It takes a few minutes on two cores:")
        action_button(
            "Run FDA on the three tasks", "start", icon=":material/play_arrow:", on_click=_start, key="lesson_run"
        )
        st.code(
            f"python -m fda construct --zoo {ZOO} --tasks {','.join(lesson().tasks)}\n"
            f"python -m fda compare --zoo {ZOO} --tasks {','.join(lesson().tasks)} --anchors RUN_ID --methods ta,{FDA}",
            language="bash",
        )
        return
    if run.active:
        st.caption("The run is at work: come back to this box when it has ended.")
    else:
        part = Part(blocks="all", method=f"{FDA}@{run.run_id}")
        recipe = Recipe(zoo=desk.zoo.name, tasks=desk.tasks, parts=(part,))
        st.button("Put FDA's model on the desk", icon=":material/instant_mix:", on_click=_take, args=(desk, recipe),
                  key="lesson_fda")  # fmt: skip
    st.page_link(
        pages.RUN, label="The run", icon=":material/monitoring:", query_params=MappingProxyType({"run": run.run_id})
    )


def _take(desk: Desk, recipe: Recipe) -> None:
    """Callback: put this mix on the desk."""
    desk.recipe, desk.part = recipe, 0


def _start() -> None:
    """Callback: start FDA on the lesson's tasks."""
    try:
        settings = construct_settings("fast", family="vision-small")
        spec = make_spec(ZOO, tasks=lesson().tasks, construct=settings, methods=("ta", FDA), roots=model_roots())
        jobs.start(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))
