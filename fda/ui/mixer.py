"""The page Mixer: the choice of what is mixed, the desk with its sliders, and the plane.

`fda.ui.mixer_desk` holds the state and answers the sliders; `mixer_cards.py` has what stands below.
"""

import json
from collections.abc import Mapping

import streamlit as st

from fda.errors import UserError
from fda.figures.mixer import Ground
from fda.figures.theme import PALETTES
from fda.home import model_roots
from fda.jobs.mixer_messages import Progress
from fda.jobs.mixers import Superseded, mixer_for
from fda.merging.registry import METHODS
from fda.requests.exports import exportable
from fda.requests.recipe import INDIVIDUAL, PRETRAINED, Part, Recipe, read_recipe
from fda.store.landscape_record import load_map, read_numbers
from fda.store.records import Run
from fda.store.store import Store
from fda.ui import mixer_recipe, notices
from fda.ui.components import component
from fda.ui.feed import offer
from fda.ui.mixer_desk import PLANE, Desk
from fda.ui.mixer_recipe import DIVISIONS, LEAST, MOST, ONE
from fda.ui.mixer_visitor import visitor
from fda.ui.page import theme
from fda.ui.plot import plot
from fda.ui.runs import labels, store
from fda.zoos.hub import missing_models
from fda.zoos.zoo import Zoo, load_zoo

FILL = 0.62  # share of the window's height that the desk takes
MIX, RUN = "mix", "run"  # in the URL
_DESK = "mixer_desk"  # begins keys in the session

_element = component("mixer", styles=("slider", "mixer"), isolate_styles=False)


# what is mixed -------------------------------------------------------------------------------------------------------


def open_zoo(reference: str) -> Zoo:
    """The zoo, all of whose models are here. UserError."""
    zoo = load_zoo(reference, roots=model_roots())
    if missing := missing_models(zoo):
        raise UserError(
            f"{len(missing)} models of zoo {zoo.name} are on the hub: download them on the page Checkpoints first."
        )
    return zoo


def usual_recipe(zoo: Zoo, tasks: tuple[str, ...] = ()) -> Recipe:
    """Task arithmetic with its default on all blocks."""
    return Recipe(zoo=zoo.name, tasks=tasks, parts=(Part(blocks="all", method="ta"),))


def runs_of(known: Store, zoo: Zoo) -> list[Run]:
    """Finished runs of this zoo that compared methods, newest first."""
    return [run for run in known.runs() if run.state == "done" and run.spec.zoo.name == zoo.name and run.spec.methods]


def choose_run(known: Store, zoo: Zoo) -> Run | None:
    """A picker of the run whose FDA models and loss plane the page offers; nothing where there is none. In the URL."""
    runs = {run.run_id: run for run in runs_of(known, zoo)}
    if not runs:
        return None
    asked = st.query_params.get(RUN)
    names = labels(list(runs.values()))
    st.session_state["mixer_run"] = asked if asked in runs else next(iter(runs))

    def picked() -> None:
        st.query_params[RUN] = st.session_state["mixer_run"]

    chosen = st.selectbox(
        "Run", list(runs), format_func=names.__getitem__, key="mixer_run", on_change=picked, label_visibility="collapsed",
        width=230, help="Its merged models can be parts of the mix; its loss plane is shown",
    )  # fmt: skip
    return runs[chosen]


def ground_of(known: Store, landscape: str | None) -> Ground | None:
    """The scored plane of a landscape run."""
    plane = load_map(known.run_dir(landscape)) if landscape is not None else None
    return None if plane is None or landscape is None else Ground(plane, read_numbers(known, landscape, plane))


def desk_for(zoo: Zoo, run: Run | None, tasks: tuple[str, ...] = ()) -> Desk:
    """This session's desk of the zoo. The first time it has the mix of the URL, which is checked, else the usual one."""
    mixer = mixer_for(visitor(), zoo, None if run is None else run.spec.anchors_run or run.run_id)
    key = f"{_DESK} {' '.join(tasks)}"
    desk: Desk | None = st.session_state.get(key)
    if desk is None or desk.zoo != zoo:
        usual = usual_recipe(zoo, tasks)
        desk = Desk(zoo=zoo, mixer=mixer, recipe=asked_recipe(zoo, tasks) or usual, usual=usual, baseline=usual)
        st.session_state[key] = desk
    if desk.mixer is not mixer:
        desk.mixer, desk.about, desk.trail, desk.ground = mixer, None, [], None
    desk.theme = theme()
    return desk


def asked_recipe(zoo: Zoo, tasks: tuple[str, ...]) -> Recipe | None:
    """The mix in the URL. One that cannot be read is named and left out."""
    text = st.query_params.get(MIX)
    if not text:
        return None
    try:
        recipe = read_recipe(text, zoo)
    except UserError as error:
        notices.problem(str(error))
        return None
    return recipe if recipe.tasks == tasks else None


# opening and asking --------------------------------------------------------------------------------------------------


def answered(desk: Desk) -> bool:
    """Open the zoo and score the mix, with progress; whether there is an answer to show. Says what is wrong, if anything is."""
    if desk.problem is not None:
        notices.note(desk.problem)
        desk.problem = None
    room = st.empty()

    def show(progress: Progress) -> None:
        said = f"{progress.text[:1].upper()}{progress.text[1:]} …"
        room.progress(progress.share or 0.0, notices.sentence(said))

    try:
        about = desk.open(show)
        if desk.ground is None and about.plane is not None:
            desk.ground = ground_of(store(), about.plane.landscape)
        desk.ask(show)
    except Superseded:  # by a slider, whose answer the desk then has
        pass
    except UserError as error:
        notices.problem(str(error))
        st.button("Try again", icon=":material/refresh:", key="mixer_again")
    room.empty()
    return desk.answer is not None and desk.about is not None and set(desk.answer.mix.tasks) == set(desk.tasks)


# controls ------------------------------------------------------------------------------------------------------------


def controls(desk: Desk, known: Store, run: Run | None) -> None:
    """One row: how blocks are grouped, the method of each group, and whose λ the sliders show."""
    assert desk.about is not None
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="inline-controls"):
        _choose_division(desk, len(desk.about.blocks))
        methods = _methods(desk, known, run)
        parts = desk.recipe.parts
        for index, part in enumerate(parts):
            _choose_method(desk, index, part, methods)
        if len(parts) > 1:
            _choose_part(desk)


def _choose_division(desk: Desk, blocks: int) -> None:
    now = mixer_recipe.division_of(desk.recipe)
    offered = [*DIVISIONS] if now is not None else ["As loaded", *DIVISIONS]
    st.session_state["mixer_division"] = now or offered[0]

    def picked() -> None:
        division = st.session_state["mixer_division"]
        if division in DIVISIONS:
            desk.recipe, desk.part = mixer_recipe.divided(desk.recipe, division, blocks), 0

    st.selectbox("Blocks", offered, key="mixer_division", on_change=picked, width=170)
    if now == ONE:
        (apart,) = desk.recipe.parts[0].blocks
        st.session_state["mixer_apart"] = apart

        def moved() -> None:
            desk.recipe = mixer_recipe.moved_apart(desk.recipe, int(st.session_state["mixer_apart"]), blocks)

        st.selectbox("Block", range(blocks), key="mixer_apart", on_change=moved, width=75, label_visibility="collapsed")


def _methods(desk: Desk, known: Store, run: Run | None) -> dict[str, str]:
    """Method → its title, of everything that a group can come from."""
    tasks = len(desk.tasks)
    titles = {name: METHODS[name].title for name in mixer_recipe.WEIGHTED if METHODS[name].least_tasks <= tasks}
    if run is not None and desk.tasks == run.spec.tasks:
        for name in exportable(known, run.run_id):
            if METHODS[name].start is not None or METHODS[name].needs != "nothing":
                titles[f"{name}@{run.run_id}"] = f"{METHODS[name].title}, of the run"
    titles[PRETRAINED] = "Pretrained"
    return titles | {f"{INDIVIDUAL}:{task}": f"Expert of {task}" for task in desk.zoo.task_names}


def _choose_method(desk: Desk, index: int, part: Part, methods: Mapping[str, str]) -> None:
    titles = {part.method: part.method, **methods}
    key = f"mixer_method_{index}"
    st.session_state[key] = part.method

    def picked() -> None:
        chosen = mixer_recipe.of_method(part, st.session_state[key])
        desk.recipe = mixer_recipe.with_part(desk.recipe, index, chosen)
        desk.part = index

    whole = part.blocks == "all"
    label = "Method" if whole else mixer_recipe.group_title(part).capitalize()
    width = 300 if whole else 190
    st.selectbox(label, list(titles), format_func=titles.__getitem__, key=key, on_change=picked, width=width)


def _choose_part(desk: Desk) -> None:
    names = [mixer_recipe.group_title(part) for part in desk.recipe.parts]
    st.session_state["mixer_part"] = names[min(desk.part, len(names) - 1)]

    def picked() -> None:
        desk.part = names.index(st.session_state["mixer_part"])

    st.selectbox("λ of", names, key="mixer_part", on_change=picked, width=130, help="Whose λ the sliders show")


# desk and plane ------------------------------------------------------------------------------------------------------


def show_desk(desk: Desk) -> None:
    """The desk beside the plane. A move of a slider runs no script: the element asks the feed."""
    st.query_params[MIX] = json.dumps(desk.recipe.content(), separators=(",", ":"))
    figure = desk.plane_figure()
    left, right = st.columns([13, 7], gap="medium") if figure is not None else (st.container(), None)
    palette = PALETTES[desk.theme]
    names = ("ink", "muted", "grid", "accent", "low", "high")
    fixed = mixer_recipe.is_fixed(desk.chosen)
    data = {
        "feed": offer(desk.feed, "mixer"),
        "now": desk.update(figures=False),
        "lambdas": desk.lambdas,
        "tasks": desk.channels(),
        "average": desk.averages(),
        "baseline": desk.baseline_title,
        "bounds": (LEAST, max(MOST, 1.5 * mixer_recipe.usual(desk.chosen, desk.zoo))),
        "disabled": fixed,
        "searching": desk.proposal is not None and not desk.proposal.ended,
        "fill": FILL,
        "alt": "A slider of λ, a bar of accuracy and some samples for each task, and the average",
        "colours": {name: getattr(palette, name) for name in names},
    }

    def rested() -> None:
        desk.remember()

    with left:
        _element(key="mixer-desk", data=data, on_rested_change=rested, on_again_change=lambda: None)
    if figure is not None and right is not None:
        with right:
            plot(figure, key=PLANE, alt=f"The place of the mix on a plane of weights, {PLACES}", fill=FILL)


PLACES = "with θ0, the finetuned models and the trail of earlier mixes"
