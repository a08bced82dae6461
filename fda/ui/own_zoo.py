"""A zoo of my checkpoints, filled in on the Checkpoints page; saved, it is a file that the command line reads too.

What is wrong with a field is said by `fda.zoos.own_zoo`. What has been typed is kept while other pages are
looked at: widgets forget what they held when they are not drawn.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fda.errors import UserError
from fda.escape import markdown
from fda.jobs.gate import permit
from fda.settings import FAMILIES
from fda.store.store import Store
from fda.ui import notices
from fda.ui.actions import action_button, download_button
from fda.ui.zoos import look_at
from fda.zoos.nearby import Nearby, look_around
from fda.zoos.own_zoo import (
    Draft,
    HeadFrom,
    TaskDraft,
    content_of,
    draft_of,
    draft_of_folder,
    save,
    shown,
    unused_name,
    zoo_text,
)
from fda.zoos.zoo import Metric, ZooBase, own_folder, own_zoos, read_zoo_file

OPEN = "own_open"  # the card's state
_DRAFT, _PROBLEM = "own_draft", "own_problem"
HEADS: Mapping[HeadFrom, str] = {
    "checkpoint": "in the checkpoint",
    "file": "a file",
    "zero_shot": "zero-shot, from class names",
}
KINDS = get_args(ZooBase.model_fields["kind"].annotation)
ASKED = ("name", "model", "kind", "architecture", "family")  # of a draft; the rest are its tasks and what is only kept
ASKED_OF_TASK = tuple(one.name for one in fields(TaskDraft) if one.name != "kept")
PLACE = "a path, or org/name on the hub"


def own_zoo_card(bar: DeltaGenerator) -> bool:
    """The form if it is open, else a button in the page's bar that opens it; whether it is open."""
    if not st.session_state.get(OPEN):
        bar.button("My checkpoints", icon=":material/add_circle:", on_click=_open, key="own_new")
        return False
    card = st.expander("My checkpoints", key=OPEN, on_change="rerun", icon=":material/add_circle:")
    if card.open:
        with card:
            _form()
    return bool(card.open)  # None only for an expander without `on_change`


def _open() -> None:
    """Callback: open the form."""
    st.session_state[OPEN] = True


def edit(name: str, problem: str | None) -> None:
    """Callback: open the form with a zoo of mine in it, and say what is wrong with it."""
    path = own_zoos()[name]
    try:
        text = path.read_text(encoding="utf-8")
        _fill(draft_of(read_zoo_file(path), own_folder(), text))
        st.session_state[_PROBLEM] = problem
    except (OSError, UserError) as error:
        st.session_state[_PROBLEM] = str(error)
    st.session_state[OPEN] = True


def delete_box(name: str) -> None:
    """A button that asks, then deletes the file of a zoo of mine."""
    with st.popover("Delete…", icon=":material/delete:", key="own_delete"):
        st.markdown(f"Delete the zoo file **{markdown(name)}**? Its models, its data and its runs stay.")
        action_button(
            "Delete the zoo file", "change zoos", type="primary", key="own_sure_delete", on_click=_delete, args=(name,)
        )


def _delete(name: str) -> None:
    """Callback: delete the file and look at the demo."""
    path = own_zoos().get(name)
    if path is not None:
        try:
            permit("change zoos")
            path.unlink(missing_ok=True)
            Store().record("delete the zoo", detail=name)
        except OSError as error:
            notices.keep_problem(f"{path} could not be deleted ({error.strerror}): delete it by hand.")
            return
        except UserError as error:
            notices.keep_problem(str(error))
            return
    look_at("demo")


def _form() -> None:
    st.caption(
        "A base model and what was finetuned from it, by path or by hub id. Saved, it is a zoo file of yours: nothing is "
        "downloaded or started by that, first you see what was found."
    )
    near = _near()
    _suggestions(near)
    draft = st.session_state.setdefault(_DRAFT, Draft(unused_name()))
    for key, value in _values(draft).items():
        st.session_state.setdefault(key, value)
    models = [*(shown(path) for path in near.models), *near.ids]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Name of the zoo", key="own.name", width=200)
        _place("Base model", "own.model", models, min_width=280)
        st.selectbox(
            "Saved by",
            KINDS,
            key="own.kind",
            format_func=lambda kind: "detected" if kind == "auto" else kind,
            width=150,
            help="The library whose form the files have. It is detected from the files where they say so.",
        )
        if st.session_state["own.kind"] == "open_clip":
            st.text_input(
                "Architecture",
                key="own.architecture",
                width=200,
                placeholder="by its config",
                help="For weights without a config: open_clip's name, such as ViT-B-32; of OpenAI's ViT-B-32-quickgelu.",
            )
        st.selectbox(
            "Settings as for",
            FAMILIES,
            key="own.family",
            width=150,
            help="Whose settings of the paper are meant by its preset: tokens, learning rates, distance.",
        )
    for index in range(len(draft.tasks)):
        _task(index, models, [shown(path) for path in near.data], removable=len(draft.tasks) > 1)
    st.button("Add a task", icon=":material/add:", on_click=_with_tasks, args=(None,), key="own_add")
    st.session_state[_DRAFT] = draft = _read()
    _ending(draft)


def _suggestions(near: Nearby) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Folder of checkpoints",
            [str(path) for path in near.families],
            index=None,
            format_func=lambda path: shown(Path(path)),
            placeholder="choose one, or type its path, to fill the form in",
            key="own_family_folder",
            width=420,
            accept_new_options=True,
            help="These were found by their names below the folders in FDA_MODEL_ROOTS.",
        )
        st.button(
            "Fill in",
            disabled=chosen is None,
            on_click=lambda: fill_from(st.session_state["own_family_folder"]),
            key="own_fill",
            icon=":material/edit_note:",
        )


def _task(index: int, models: list[str], data: list[str], *, removable: bool) -> None:
    def key(field: str) -> str:
        return f"own.{index}.{field}"

    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input(f"Task {index + 1}", key=key("name"), width=160, placeholder="its name")
            _place("Finetuned model", key("model"), models, min_width=280)
            st.selectbox("Head", list(HEADS), key=key("head"), format_func=HEADS.__getitem__, width=220)
            st.button(
                "Remove",
                icon=":material/delete:",
                type="tertiary",
                disabled=not removable,
                on_click=_with_tasks,
                args=(index,),
                key=key("remove"),
            )
        if st.session_state[key("head")] == "file":
            st.text_input("File of the head", key=key("head_file"), placeholder="a safetensors file or head_NAME.pt")
        elif st.session_state[key("head")] == "zero_shot":
            with st.container(horizontal=True):
                st.text_area("Class names, one a line", key=key("classes"), height=100, width=320)
                st.text_area("Templates, one a line; {} is the class", key=key("templates"), height=100, width=320)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _place("Data to score on", key("data"), data, min_width=220, placeholder="none, a path, or org/name")
            if st.session_state[key("data")]:
                st.text_input("Input", key=key("input"), width=120, help="Column of images or texts; two with a comma.")
                st.text_input("Label", key=key("label"), width=120, help="Column of the right answers.")
                st.text_input("Test split", key=key("split"), width=120)
                with st.popover("More", key=key("more")):
                    st.text_input(
                        "Validation split", key=key("validation_split"), placeholder="none", help="For sweeps."
                    )
                    st.text_input(
                        "Training split",
                        key=key("train_split"),
                        placeholder="none",
                        help="For methods that read inputs, and to hold anchors against real data.",
                    )
                    st.text_input(
                        "Configuration", key=key("config"), placeholder="none", help="Of a data set that has several."
                    )
                    st.selectbox("Metric", get_args(Metric), key=key("metric"))


def _place(label: str, key: str, options: list[str], *, min_width: int, placeholder: str = PLACE) -> None:
    """A path or hub id: one of those found nearby, or typed."""
    current = st.session_state.get(key)
    with st.container(width=max(min_width, 340)):
        st.selectbox(
            label,
            [*([current] if current and current not in options else []), *options],
            index=None,
            key=key,
            placeholder=placeholder,
            accept_new_options=True,
        )


def _ending(draft: Draft) -> None:
    """What is still wrong, the file as it will be, and the button."""
    if (problem := st.session_state.pop(_PROBLEM, None)) is not None:
        notices.problem(problem)
    with st.container(horizontal=True, vertical_alignment="center"):
        action_button(
            "Save and look", "change zoos", type="primary", icon=":material/save:", on_click=_save, key="own_save"
        )
        st.button("Start anew", type="tertiary", on_click=_fill, args=(None,), key="own_anew")
    try:
        text = zoo_text(content_of(draft))
    except UserError as error:
        st.caption(f"Still to do: {notices.sentence(str(error))}")
        return
    with st.expander("The zoo file", icon=":material/description:"):
        st.code(text, language="yaml", wrap_lines=True)
        download_button(
            "Download",
            text,
            file_name=f"{draft.name}.yaml",
            mime="application/yaml",
            on_click="ignore",
            icon=":material/download:",
        )


@st.cache_data(ttl=10, show_spinner=False)
def _near() -> Nearby:
    return look_around()


# what has been typed ---------------------------------------------------------------------------------------------------


def _values(draft: Draft) -> dict[str, Any]:
    """Widget key → what it shows. A choice of nothing is None."""
    values = {f"own.{name}": getattr(draft, name) for name in ASKED}
    for index, task in enumerate(draft.tasks):
        values |= {f"own.{index}.{name}": getattr(task, name) for name in ASKED_OF_TASK}
    return {key: None if value == "" and key.endswith((".model", ".data")) else value for key, value in values.items()}


def _read() -> Draft:
    """The draft as the widgets have it; fields that are not drawn keep what they had."""
    draft: Draft = st.session_state[_DRAFT]

    def typed(key: str, before: str) -> str:
        return (st.session_state[key] or "").strip() if key in st.session_state else before

    tasks = tuple(
        replace(task, **{name: typed(f"own.{index}.{name}", getattr(task, name)) for name in ASKED_OF_TASK})
        for index, task in enumerate(draft.tasks)
    )
    return replace(draft, tasks=tasks, **{name: typed(f"own.{name}", getattr(draft, name)) for name in ASKED})


def _fill(draft: Draft | None) -> None:
    """Callback: show this draft, or an empty one."""
    for key in [key for key in st.session_state if str(key).startswith("own.")]:
        del st.session_state[key]
    st.session_state[_DRAFT] = draft = draft or Draft(unused_name())
    st.session_state.update(_values(draft))


def _with_tasks(without: int | None) -> None:
    """Callback: one task more, or without this one."""
    draft = _read()
    tasks = [task for index, task in enumerate(draft.tasks) if index != without]
    _fill(replace(draft, tasks=tuple(tasks if without is not None else [*tasks, _next(draft)])))


def _next(draft: Draft) -> TaskDraft:
    """A new task is like the last one in how its data are laid out."""
    last = draft.tasks[-1]
    return TaskDraft(head=last.head, templates=last.templates, input=last.input, label=last.label, split=last.split)


def fill_from(folder: str) -> None:
    """Callback: open the form, filled in from a folder of models; what else the folder is, is told."""
    try:
        _fill(draft_of_folder(folder))
    except UserError as error:
        st.session_state[_PROBLEM] = str(error)
    st.session_state[OPEN] = True


def _save() -> None:
    """Callback: write the file and look at it; the form stays open with what is wrong."""
    try:
        permit("change zoos")
        saved = save(_read())
        Store().record("save the zoo", detail=saved.name)
    except UserError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    _fill(saved)
    look_at(saved.name)
    st.session_state[OPEN] = False
