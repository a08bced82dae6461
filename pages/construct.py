"""Construct: settings with their sources, then start. The forms are made from the settings' models and the registry."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from fda.errors import UserError
from fda.escape import markdown
from fda.home import model_roots
from fda.jobs import lifecycle as jobs
from fda.merging.registry import METHODS
from fda.report.command import changes, run_commands
from fda.report.format import plural
from fda.requests.hyperparameters import read_by, usual_for
from fda.requests.landscape import is_small
from fda.requests.runs import (
    GROUPS,
    MAIN_METHODS,
    adapt_settings,
    changed_adaptation,
    changed_hyperparameters,
    choose_methods,
    construct_settings,
    has_ray,
    make_spec,
    missing_need,
    split_blocks,
    with_swept,
)
from fda.requests.unread import adaptation_read_by
from fda.settings import (
    BEST_ADAPT,
    ONLY_WITH,
    AdaptSettings,
    ConstructSettings,
    Family,
    is_read,
    paper_family,
    presets,
    written_out,
)
from fda.store.records import ACTIVE, ANALYSES, KINDS
from fda.store.spec import RunSpec
from fda.store.store import queue_device
from fda.ui import forms, notices, pages
from fda.ui.actions import action_button
from fda.ui.estimate import show_estimate
from fda.ui.page import bar, command_box
from fda.ui.runs import store
from fda.ui.survey import Reading, awaited, read_zoo, survey
from fda.ui.zoos import choose_zoo

FIELD_PIXELS = 150  # of a number or a choice: six abreast on a laptop, two on a phone
FIELDS = tuple(name for name in ConstructSettings.model_fields if name != "preset")
FIRST = ("init", "sigma", "anchors", "steps", "seed")  # the others wait in an expander
ADAPT_FIELDS = tuple(AdaptSettings.model_fields)
ADAPT = "adapt."  # begins the keys of adaptation settings: construction has a distance too
PLAIN_METHODS = [name for name, one in METHODS.items() if not one.swept]
QUICK = dict(zip(("Main eight", "All data-free", "All"), GROUPS, strict=True))


def sources(settings: ConstructSettings, family: Family) -> str:
    tokens = f" of {plural(settings.tokens, 'token')}" if settings.tokens else ""
    amount = f"{settings.anchors} anchors{tokens}, {settings.steps} steps"
    if settings.preset == "paper":
        return (
            f"paper: the settings of Shi, Wen and Liu (arXiv 2510.21223) for {paper_family(family)}: AdamW, {amount}."
        )
    return f"fast: minutes on a laptop; Muon from a scaled start needs a fraction of AdamW's steps: {amount}."


def use_preset() -> None:
    forms.fill(known[st.session_state["preset"]], FIELDS)


def use_adapt_preset() -> None:
    forms.fill(adaptations[st.session_state[ADAPT + "preset"]], ADAPT_FIELDS, prefix=ADAPT)


def adaptation_label(preset: str) -> str:
    return "The zoo's" if preset == "zoo" else preset


def use_group(group: str) -> None:
    names = choose_methods(zoo, tasks or zoo.task_names, [group], anchors=True)
    st.session_state["with_methods"] = list(names)


def devices() -> list[str]:
    """Without asking torch, which stays out of the server."""
    cards = sorted(Path("/dev").glob("nvidia[0-9]*"))
    apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    return ["auto", "cpu", *(f"cuda:{index}" for index in range(len(cards))), *(["mps"] if apple else [])]


def choose_engine() -> str:
    """Where units are computed. The cluster is the one that RAY_ADDRESS names: no visitor connects the server to another."""
    if not has_ray():
        st.caption("To construct on several machines or GPUs, install Ray beside fda: `pip install 'fda[ray]'`.")
        return "local"
    return st.selectbox(
        "Engine", ["local", "ray"], key="engine", bind="query-params",
        help="local: on this machine; ray: each unit on a core or a GPU of any node of the Ray cluster that RAY_ADDRESS names "
        "in the server's environment, without it of this machine",
    )  # fmt: skip


def missing_block(spec: RunSpec) -> str | None:
    """Why the checkpoints have not all blocks of the run; None if they do. UserError if they cannot be read."""
    last = len(survey(spec.zoo_path)["blocks"]) - 1
    if spec.blocks[-1] <= last:
        return None
    return f"there is no block {spec.blocks[-1]}: this model has blocks 0 to {last}."


def start(spec: RunSpec) -> None:
    try:
        if spec.blocks and (problem := missing_block(spec)):
            raise UserError(problem)
        run_id = jobs.start(store(), spec)
    except UserError as error:
        notices.keep_problem(str(error))
    else:
        st.switch_page(pages.RUN, query_params={"run": run_id})


top = bar(
    "Construct",
    "Make anchors for every task and block, then compare what is merged with them; each value has its source.",
    "construct",
)
notices.show_kept()

with top:
    reference = choose_zoo()
with notices.noticed(stop=True):
    zoo = read_zoo(reference)
    usual_adapt = adapt_settings(zoo)
known = presets(zoo.family)
adaptations = {"zoo": usual_adapt, "best": usual_adapt.model_copy(update=BEST_ADAPT)}

if "preset" not in st.session_state and st.query_params.get("preset") in known:
    forms.fill(known[st.query_params["preset"]], FIELDS, keep=st.query_params.to_dict())
if ADAPT + "preset" not in st.session_state and st.query_params.get(ADAPT + "preset") in adaptations:
    filled = adaptations[st.query_params[ADAPT + "preset"]]
    forms.fill(filled, ADAPT_FIELDS, prefix=ADAPT, keep=st.query_params.to_dict())
filled_for = st.session_state.setdefault("construct_filled_for", reference)
if filled_for != reference:  # another zoo has other usual values: widgets would keep the last one's
    st.session_state["construct_filled_for"] = reference
    forms.fill(known[st.session_state.get("preset", "fast")], FIELDS)
    forms.fill(adaptations[st.session_state.get(ADAPT + "preset", "zoo")], ADAPT_FIELDS, prefix=ADAPT)
    st.session_state["ta.scale"] = usual_for("ta", zoo.family).get("scale", METHODS["ta"].defaults["scale"])
preset = st.segmented_control(
    "Preset",
    list(known),
    default="fast",
    required=True,
    key="preset",
    on_change=use_preset,
    bind="query-params",
)
st.caption(sources(known[preset], zoo.family))


def inputs(names: tuple[str, ...]) -> dict[str, object]:
    """The widgets of these fields, side by side. A field in the URL is one that differs from the fast preset."""
    values = {}
    with st.container(horizontal=True):
        for name in names:
            field, default = ConstructSettings.model_fields[name], getattr(known["fast"], name)
            other, value = ONLY_WITH.get(name, (name, None))
            unused = value is not None and st.session_state.get(other, getattr(known[preset], other)) != value
            values[name] = forms.field_input(
                name, field, default, source=preset_values(name), disabled=unused, width=FIELD_PIXELS
            )
    return values


def preset_values(name: str) -> str:
    """A sentence: what each preset sets the field to."""
    paper, fast = (getattr(known[preset], name) for preset in ("paper", "fast"))
    words = [
        "as the model has" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        for value in (paper, fast)
    ]
    return f"Paper (arXiv 2510.21223): {words[0]}; fast: {words[1]}."


st.header("Anchors", anchor=False)
values = inputs(FIRST)
with st.expander("More settings", icon=":material/tune:", key="more"):
    values |= inputs(tuple(name for name in FIELDS if name not in FIRST))

st.header("What and where", anchor=False)
left, middle, right = st.columns([2, 1, 1], gap="medium")
with left:
    tasks = st.pills(
        "Tasks",
        zoo.task_names,
        selection_mode="multi",
        key="with_tasks",
        bind="query-params",
        wrap=True,
        help="none chosen: all",
    )
with middle:
    block_text = st.text_input(
        "Blocks", key="with_blocks", bind="query-params", placeholder="all", help="numbers from 0, such as 0,1"
    )
with right:
    device = st.selectbox("Device", devices(), key="device", bind="query-params")
    engine = choose_engine()

st.header("Compare afterwards", anchor=False)
with st.container(horizontal=True, gap="small"):
    for label, group in QUICK.items():
        st.button(label, on_click=use_group, args=(group,), key=f"use-{group}")
methods = st.multiselect(
    "Methods to compare afterwards",
    PLAIN_METHODS,
    default=list(MAIN_METHODS),
    format_func=lambda name: METHODS[name].title if name in PLAIN_METHODS else name,
    key="with_methods",
    bind="query-params",
    wrap=True,
    accept_new_options=True,
    help="None: only construct. The pretrained and the individual models are always added to a comparison. Type a name such "
    "as larv:tsv or fda:dc_merge for a modifier on a method, or for FDA from another start.",
)
sweep = st.toggle(
    "Also choose coefficients on the validation split",
    key="sweep",
    bind="query-params",
    help="Adds a second row for each method that has a coefficient, such as λ of task arithmetic: the value that scores "
    "best on the validation split. It reads labels there, which the other rows do not.",
)
chosen = with_swept(methods) if sweep else tuple(methods)


def method_inputs() -> dict[str, dict[str, Any]]:
    """The widgets of what the chosen methods read, a row a method; what was cleared is left out."""
    given: dict[str, dict[str, Any]] = {}
    for method, hypers in read_by(chosen).items():
        name, fields = st.columns([1, 5], vertical_alignment="center", gap="small")
        name.markdown(f"**{METHODS[method].title}**")
        with fields, st.container(horizontal=True):
            for hyper in hypers:
                default = usual_for(method, zoo.family).get(hyper.name, hyper.default)
                value = forms.hyperparameter_input(method, hyper, default, width=FIELD_PIXELS)
                if value is not None:
                    given.setdefault(method, {})[hyper.name] = value
    return given


def adapt_inputs() -> dict[str, Any]:
    preset = st.segmented_control(
        "Preset",
        list(adaptations),
        default="zoo",
        required=True,
        key=ADAPT + "preset",
        on_change=use_adapt_preset,
        bind="query-params",
        format_func=adaptation_label,
    )
    values = {}
    with st.container(horizontal=True):
        for name in adaptation_read_by(chosen):
            field = AdaptSettings.model_fields[name]
            default = getattr(usual_adapt, name)
            values[name] = forms.field_input(name, field, default, key=ADAPT + name, width=FIELD_PIXELS)
    in_zoo_file = ", ".join(name.replace("_", " ") for name in written_out(zoo.adapt))
    st.caption(
        "best: a hundred steps whose length follows the task vectors, the same for any model; on three zoos it does best from "
        "the sum of task vectors, method `fda:sum`."
        if preset == "best"
        else (f"From the zoo file: {in_zoo_file}. The others: " if in_zoo_file else "All values: ")
        + f"the paper's for {paper_family(zoo.family)} (arXiv 2510.21223, adaptation)."
    )
    return {name: value for name, value in values.items() if value is not None}


hyperparameters: Mapping[str, Mapping[str, Any]] = {}
adaptation: Mapping[str, Any] = {}
if read_by(chosen):
    with st.expander("Settings of the methods", icon=":material/tune:", key="method_settings"):
        hyperparameters = method_inputs()
if any(one.start for name in chosen if (one := METHODS.get(name))):
    with st.expander("Adaptation", icon=":material/model_training:", key="adapt_settings"):
        adaptation = adapt_inputs()

landscape_too = bool(chosen) and is_small(zoo) and st.checkbox(
    "Then compute the landscape, on a coarse grid", True, key="coarse_landscape", bind="query-params",
    help="A run of its own after this one: the loss over a plane of weights, with the paths of task arithmetic and FDA",
)  # fmt: skip
try:
    whole = known[preset].model_dump() | values
    changed = {
        name: value for name, value in values.items() if value != getattr(known[preset], name) and is_read(name, whole)
    }
    settings = construct_settings(preset, family=zoo.family, **changed)
    spec = make_spec(
        reference,
        tasks=tasks,
        blocks=split_blocks(block_text),
        construct=settings,
        methods=chosen,
        hyperparameters=hyperparameters,
        adaptation=adaptation,
        device=device,
        engine=engine,
        seed=settings.seed,
        coarse_landscape=landscape_too,
        roots=model_roots(),
    )
except UserError as error:
    notices.problem(str(error))
    st.stop()

no_block = None
if spec.blocks:  # their number is known only from the checkpoints, which Start asks for
    with awaited("Reading the checkpoints"):
        try:
            no_block = missing_block(spec)
        except Reading:
            raise
        except UserError:
            pass  # Start says it
with notices.noticed(stop=True):
    queued = [run for run in store().runs(states=ACTIVE, kinds=KINDS) if run.device == queue_device(device)]
    waiting = [run for run in queued if run.kind in ANALYSES]
what = f"{plural(len(spec.tasks), 'task')}, {plural(len(spec.blocks), 'block') if spec.blocks else 'all blocks'}"
summary = [what, f"{settings.steps} steps a unit"]
if spec.methods:
    summary.append(f"then {plural(len(spec.methods), 'method')}")
if differing := changes(settings, zoo.family):
    summary.append(f"differs from {preset} in {', '.join(name.replace('_', ' ') for name in differing)}")
by_hand = {
    f"{method}.{name}": value
    for method, given in changed_hyperparameters(spec).items()
    for name, value in given.items()
}
adapt_preset = st.session_state.get(ADAPT + "preset", "zoo") if adaptation else "zoo"
if adapt_preset != "zoo":
    summary.append(f"adapted by preset {adapt_preset}")
by_hand |= {f"{ADAPT}{name}": value for name, value in changed_adaptation(spec, adaptations[adapt_preset]).items()}
if by_hand:
    summary.append("set by hand: " + ", ".join(f"{name} = {value}" for name, value in by_hand.items()))
with st.container(horizontal=True, vertical_alignment="center"):
    action_button(
        "Start",
        "start",
        type="primary",
        icon=":material/play_arrow:",
        do=lambda: start(spec),
        key="start",
        disabled=no_block is not None,
    )
    if no_block is None:
        st.caption(markdown("; ".join(summary)), width="stretch")
    else:
        notices.problem(no_block)
if spec.engine == "local":  # the nodes of a cluster have speeds of their own
    show_estimate(spec, busy=bool(waiting))
lacking = [lack for name in spec.methods if (lack := missing_need(spec, METHODS[name]))]
if lacking:
    st.caption(
        f":material/info: {notices.sentence(lacking[0])}" + (f" (and {len(lacking) - 1} more)" if lacking[1:] else "")
    )
if waiting:
    st.info(
        f"{queue_device(device)} is busy: this run would be number {len(queued)} in the queue and start by itself.",
        icon=":material/hourglass_empty:",
    )
    st.page_link(
        pages.RUN,
        label="Open the run at work",
        icon=":material/monitoring:",
        query_params={"run": waiting[-1].run_id},
    )
command_box(run_commands(spec))
