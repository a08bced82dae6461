"""Checkpoints: what is in a zoo. Blocks, tensors, sizes, and how the task vectors lie to each other."""

import math
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from fda.errors import UserError
from fda.escape import cells, markdown
from fda.figures.checkpoints import (
    cosine_map,
    norm_map,
    treatment_bars,
    treatment_counts,
    treatment_of,
    unlike_norm,
)
from fda.home import model_roots
from fda.report.analyses import WORDS, frame
from fda.report.format import number, plural, size
from fda.ui import notices, pages
from fda.ui.before_start import download_card, preview_card
from fda.ui.exports import export_menu
from fda.ui.own_zoo import delete_box, edit, fill_from, own_zoo_card
from fda.ui.page import bar, command_box, theme
from fda.ui.plot import plot
from fda.ui.survey import awaited, preview, survey
from fda.ui.zoo_panels import zoo_panels
from fda.ui.zoos import choose_zoo
from fda.zoos.hub import missing_models
from fda.zoos.own_zoo import models_in
from fda.zoos.zoo import list_zoos, load_zoo, own_zoos, zoo_path

WHOLE = "all blocks"
FILL = 0.4  # share of the window's height that the maps take
RULE = (
    "A *matrix* is 2-D and not the text projection: TSV-M, Iso-C and Iso-CTS merge its singular vectors and average the "
    "task vectors of all *vectors*, the rest; WUDI moves *linear weights* only; integers stay *untouched*; methods that work "
    "entry by entry treat matrices and vectors alike."
)

top = bar(
    "Checkpoints",
    "What each finetuning changed, and where: task vectors near a right angle interfere least when they are merged.",
    "checkpoints",
)
notices.show_kept()

with top:
    reference = choose_zoo()
of_mine = reference in own_zoos()
if own_zoo_card(top):
    st.stop()
commands = [
    shlex.join(["python", "-m", "fda", "zoo", *words, reference])
    for words in (("show",), ("show", "--interference"), ("check",))
]


def stop_with(problems: list[str]) -> None:
    """What is wrong, how it is corrected, and no more."""
    first, others = (problems[0], problems[1:]) if problems else (None, [])
    if first:
        notices.problem(first)
    if others:
        with st.expander(f"{len(others)} more", icon=":material/error:"):
            st.markdown("\n".join(f"- {notices.sentence(problem)}" for problem in others))
    if of_mine:
        label = "Correct it" if first else "Change it"
        with st.container(horizontal=True):
            st.button(label, icon=":material/edit:", on_click=edit, args=(reference, first), key="own_correct")
            delete_box(reference)
    elif models_in(reference) is not None:
        st.button(
            "Fill the form in",
            icon=":material/edit_note:",
            on_click=fill_from,
            args=(reference,),
            key="own_from_folder",
        )
    command_box(commands)
    st.stop()


try:
    zoo = load_zoo(reference, roots=model_roots())
    missing = missing_models(zoo)
    if missing or reference not in list_zoos():  # what is shipped and here is known to fit
        with awaited("Reading configs and headers"):
            previewed = preview(reference)
        preview_card(previewed)
        if missing:
            download_card(reference, previewed["download_bytes"], hindered=bool(previewed["problems"]))
        if missing or previewed["problems"]:
            stop_with(previewed["problems"])
    with awaited("Reading the checkpoints"):
        surveyed = survey(reference)
except UserError as error:
    stop_with([str(error)])

tasks, blocks = surveyed["tasks"], surveyed["blocks"]
names = [task["name"] for task in tasks]
total = surveyed["base"]["bytes"] + sum(task["bytes"] for task in tasks)
inside = sum(len(block["tensors"]) for block in blocks)
facts = {
    "Tasks": str(len(tasks)),
    "Blocks": str(len(blocks)),
    "Parameters": number(surveyed["base"]["parameters"]),
    "On disk": size(total),
    "Width × tokens": f"{surveyed['width']} × {surveyed['tokens']}",
    "Layout": surveyed["layout"],
}
norms = np.array([task["norms"] for task in tasks], float)
places = [WHOLE, *(f"block {block['index']}" for block in blocks)]


def cosines(where: str) -> np.ndarray:
    chosen = surveyed["cosines"]["all"] if where == WHOLE else surveyed["cosines"]["blocks"][places.index(where) - 1]
    return np.array(chosen, float)


with st.container(horizontal=True, vertical_alignment="center", key="inline-controls"):
    where = st.selectbox("Cosines of", places, key="where", bind="query-params", width=260)
    st.caption(" · ".join(f"{label} {value}" for label, value in facts.items()), width="stretch")
left, right = st.columns(2, gap="medium")
with left:
    plot(
        cosine_map(cosines(where), theme(), tasks=names, where=where, uirevision=surveyed["path"]),
        key="cosines",
        alt=f"Cosine between the task vectors of {', '.join(names)}",
        fill=FILL,
    )
with right:
    plot(
        norm_map(norms, theme(), tasks=names, uirevision=surveyed["path"]),
        key="norms",
        alt="Norm of each task vector in each block",
        fill=FILL,
    )

counts = treatment_counts(surveyed["treatments"])
plot(
    treatment_bars(counts, theme(), uirevision=surveyed["path"]),
    key="treatments",
    alt="Tensors and parameters by treatment: "
    + ", ".join(f"{kind} {plural(tensors, 'tensor')}" for kind, (tensors, _) in counts.items()),
)
if remark := unlike_norm(dict(zip(names, np.linalg.norm(norms, axis=1).tolist(), strict=True))):
    st.markdown(notices.sentence(remark))
st.caption(RULE)
panels = zoo_panels(zoo_path(reference), zoo)
if surveyed["description"]:
    st.markdown(markdown(surveyed["description"].replace("`", "")))


def task_table() -> pd.DataFrame:
    rows = [
        {
            "task": task["name"],
            "title": task["title"] or task["name"],
            "classes": task["classes"],
            "MiB": task["bytes"] / 2**20,
            "‖τ‖ in blocks": float(np.sqrt(np.square(task["norms"]).sum())),
            "‖τ‖ elsewhere": task.get("norm_outside_blocks"),
            "splits": _splits(task["data"]),
            "about": task["description"],
            "data": _beside((task["data"] or {}).get("path")),
            "checkpoint": _beside(task["model"]),
        }
        for task in tasks
    ]
    return pd.DataFrame(rows)


def _beside(path: str | None) -> str | None:
    """A path as the zoo file may name it."""
    folder = f"{Path(surveyed['path']).parent}/"
    return path and path.removeprefix(folder)


def _splits(data: dict | None) -> str:
    if not data:
        return "no data"
    named = {"train": data["train_split"], "validation": data["validation_split"], "test": data["split"]}
    return ", ".join(f"{use}: {split}" for use, split in named.items() if split)


def tensor_table() -> pd.DataFrame:
    places_of = {block["prefix"] + tensor["name"]: block["index"] for block in blocks for tensor in block["tensors"]}
    rows = [
        {
            "block": str(places_of.get(tensor["name"], "")),
            "tensor": tensor["name"],
            "shape": " × ".join(map(str, tensor["shape"])) or "scalar",
            "parameters": math.prod(tensor["shape"]),
            "dtype": tensor["dtype"],
            "treatment": treatment_of(tensor),
        }
        for tensor in surveyed["treatments"]
    ]
    return pd.DataFrame(rows)


def cosine_table() -> pd.DataFrame:
    return pd.DataFrame(cosines(where), index=names, columns=names).rename_axis("task").reset_index()


def norm_table() -> pd.DataFrame:
    columns = [f"block {block['index']}" for block in blocks]
    return pd.DataFrame(norms, index=names, columns=columns).rename_axis("task").reset_index()


st.header("Tasks", anchor=False)
st.dataframe(
    cells(task_table()),
    hide_index=True,
    alt="Tasks of the zoo with their data and checkpoints",
    column_config={
        "MiB": st.column_config.NumberColumn(format="%.1f"),
        "‖τ‖ in blocks": st.column_config.NumberColumn(format="%.3f"),
        "‖τ‖ elsewhere": st.column_config.NumberColumn(format="%.3f"),
    },
)

every = plural(len(surveyed["treatments"]), "tensor")
with st.expander(f"{every}, {inside} of them in blocks", icon=":material/view_list:"):
    st.dataframe(
        cells(tensor_table()), hide_index=True, alt="Every tensor of the base with its block, shape and treatment"
    )

with st.container(horizontal=True, vertical_alignment="center"):
    if of_mine:
        st.button("Change it", icon=":material/edit:", on_click=edit, args=(reference, None), key="own_change")
        delete_box(reference)
    st.page_link(pages.CONSTRUCT, label="Construct anchors", icon=":material/tune:", query_params={"zoo": reference})
    export_menu(
        f"fda-{surveyed['name']}",
        tables={
            "Tasks": task_table,
            "Tensors": tensor_table,
            "Cosines": cosine_table,
            "Norms": norm_table,
            **{WORDS[panel].title: partial(frame, table) for panel, table in panels.items()},
        },
        figures={
            "Cosine map": lambda: cosine_map(cosines(where), theme(), tasks=names, where=where),
            "Norm map": lambda: norm_map(norms, theme(), tasks=names),
            "Treatment": lambda: treatment_bars(counts, theme()),
        },
    )
command_box(commands)
