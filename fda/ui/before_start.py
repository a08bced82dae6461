"""What a zoo's headers tell before anything is downloaded or started: what was found, what does not fit, what a run will need.

And the download of what is still on the hub. What is told comes from `fda.ui.survey.preview`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from fda.errors import UserError
from fda.escape import cells, markdown
from fda.home import model_roots
from fda.report.format import duration, number, size
from fda.requests import downloads
from fda.requests.downloads import download_of
from fda.store.store import Store
from fda.ui import notices
from fda.ui.actions import action_button
from fda.ui.runs import store
from fda.zoos.own_zoo import shown
from fda.zoos.zoo import load_zoo, zoo_path

TICK = 1.0


def preview_card(preview: Mapping[str, Any]) -> None:
    """What was found of every model, and what a run will need."""
    facts = {
        "To download": size(preview["download_bytes"]) if preview["download_bytes"] else "nothing",
        **({"Data, unpacked": size(preview["data_bytes"])} if preview["data_bytes"] else {}),
        "Memory, about": size(preview["memory_bytes"]) if preview["memory_bytes"] else "not known",
        "Anchors, paper's settings": duration(preview["seconds"]) if preview["seconds"] else "not known",
        "Disk": f"{size(preview['disk_bytes'])} of {size(preview['disk_free_bytes'])} free",
    }
    base = preview["models"][0]
    if base["blocks"]:
        facts = {
            "Blocks": f"{base['blocks']} × {base['tensors_per_block']} tensors",
            "Width": str(base["width"]),
        } | facts
    with st.container(horizontal=True, gap="medium"):
        for label, value in facts.items():
            st.metric(label, value, width="content")
    st.caption(
        "Told by listings, configs and headers alone; no tensor was read. Disk is for what is still to come, the anchors and a "
        "model of every main method. Memory, disk and time are those of a run with the paper's settings, time by how fast this "
        "machine multiplies matrices; **Construct** measures it, and its preset *fast* takes far fewer steps."
    )
    st.dataframe(
        cells(model_table(preview)),
        hide_index=True,
        alt="Models of the zoo with what their configs and headers tell of them",
    )
    for note in preview["notes"]:
        st.caption(notices.sentence(note))


def model_table(preview: Mapping[str, Any]) -> pd.DataFrame:
    rows = [
        {
            "role": one["role"],
            "model": shown(Path(one["model"])) if one["where"] == "here" else one["model"],
            "architecture": one["architecture"] or "no config",
            "parameters": number(one["parameters"]) if one["parameters"] else "known after the download",
            "dtype": one["dtype"] or "",
            "blocks": ""
            if not one["blocks"]
            else f"{one['blocks']} × {one['tensors_per_block']}, width {one['width']}",
            "size": size(one["bytes"]),
            "where": "here" if one["where"] == "here" else f"on the hub, {size(one['to_download'])} to come",
        }
        for one in preview["models"]
    ]
    return pd.DataFrame(rows)


def download_card(reference: str, total: int, *, hindered: bool) -> None:
    """Bring what is still on the hub. `hindered`: what was seen does not fit together, so nothing is started."""
    state = _state(reference).state
    if state == "done":  # since the page asked what is missing
        st.rerun()
    pace = TICK if state == "running" else None
    st.fragment(_download, run_every=pace)(reference, total, state, hindered=hindered)


def _download(reference: str, total: int, before: str, *, hindered: bool) -> None:
    """`before`: the state when the page was made; at another the page is made anew, for that has another pace."""
    download = _state(reference)
    if download.state != before:
        st.rerun()
    notices.show_kept()
    if download.state == "failed":
        notices.problem(f"the download ended: {download.message}")
    if download.state == "running":
        st.progress(
            download.share, f"{download.share:.0%}, {markdown(download.file)}" if download.file else "asking the hub"
        )
        action_button(
            "Stop", "stop", icon=":material/stop:", on_click=_noting, args=(_stop, reference), key="download_stop"
        )
        st.caption("It goes on when this page is closed.")
    elif not hindered:
        action_button(
            f"Download {size(total)}" if download.state == "none" else "Try again",
            "start",
            type="primary",
            icon=":material/cloud_download:",
            on_click=_noting,
            args=(_start, reference),
            key="download_start",
        )
        st.caption("Into the hub's cache on the machine that the dashboard runs on. What came stays, if it breaks off.")


def _state(reference: str) -> downloads.Download:
    return download_of(store(), zoo_path(reference), load_zoo(reference, roots=model_roots()))


def _start(reference: str) -> None:
    downloads.start_download(Store(), zoo_path(reference), load_zoo(reference, roots=model_roots()))


def _stop(reference: str) -> None:
    downloads.stop_download(Store(), zoo_path(reference), load_zoo(reference, roots=model_roots()))


def _noting(action: Callable[..., None], *arguments: Any) -> None:
    """Callback: do it, and keep what went wrong for the next time the card is drawn."""
    try:
        action(*arguments)
    except UserError as error:
        notices.keep_problem(str(error))
