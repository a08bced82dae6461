"""Where the dials of the Anchors page stand, from the URL and into it; what is usual needs no word there."""

from collections.abc import Sequence

import streamlit as st

from fda.figures.anchors import SHARE, STEP
from fda.figures.neighbours import ANCHOR
from fda.measures import SHARES, TOP_SHARE

USUAL_SHARE = SHARES.index(TOP_SHARE)


def positions(steps: Sequence[int], count: int = 0) -> dict[str, int]:
    """Dial → position, as the URL says; without a word the last of `steps`, 20 % and the first of `count` anchors."""
    asked = {name: st.query_params.get(name, "") for name in (STEP, SHARE, ANCHOR)}
    shares, texts = [f"{share:g}" for share in SHARES], [str(step) for step in steps]
    return {
        STEP: texts.index(asked[STEP]) if asked[STEP] in texts else max(0, len(steps) - 1),
        SHARE: shares.index(asked[SHARE]) if asked[SHARE] in shares else USUAL_SHARE,
        ANCHOR: int(asked[ANCHOR]) if asked[ANCHOR] in map(str, range(count)) else 0,
    }


def settle(steps: Sequence[int], found: dict[str, int]) -> None:
    """Callback: where the reader let go of the dials."""
    if (place := found.get(STEP)) is not None and 0 <= place < len(steps):
        in_url(STEP, "" if place == len(steps) - 1 else str(steps[place]))
    if (place := found.get(SHARE)) is not None and 0 <= place < len(SHARES):
        in_url(SHARE, "" if place == USUAL_SHARE else f"{SHARES[place]:g}")
    if (place := found.get(ANCHOR)) is not None and place >= 0:
        in_url(ANCHOR, str(place) if place else "")


def in_url(name: str, text: str) -> None:
    """Say `text` there; nothing removes the name."""
    if text:
        st.query_params[name] = text
    else:
        st.query_params.pop(name, None)
