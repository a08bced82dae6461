"""The dial positions of a unit's anchors, read from and written to the URL, which omits defaults."""

from collections.abc import Sequence

import streamlit as st

from fda.figures.anchors import SHARE, STEP
from fda.figures.neighbours import ANCHOR
from fda.measures import SHARES, TOP_SHARE

DEFAULT_SHARE = SHARES.index(TOP_SHARE)


def positions(steps: Sequence[int], count: int = 0) -> dict[str, int]:
    """Dial → position from the URL; by default the last of `steps`, 20 % of d and the first of `count` anchors."""
    asked = {name: st.query_params.get(name, "") for name in (STEP, SHARE, ANCHOR)}
    shares, texts = [f"{share:g}" for share in SHARES], [str(step) for step in steps]
    return {
        STEP: texts.index(asked[STEP]) if asked[STEP] in texts else max(0, len(steps) - 1),
        SHARE: shares.index(asked[SHARE]) if asked[SHARE] in shares else DEFAULT_SHARE,
        ANCHOR: int(asked[ANCHOR]) if asked[ANCHOR] in map(str, range(count)) else 0,
    }


def asked_step(last: int) -> int | None:
    """The step of the URL, at which the reader let go of a dial; None by default and beyond the step `last`."""
    asked = st.query_params.get(STEP, "")
    return int(asked) if asked in map(str, range(last + 1)) else None


def settle(steps: Sequence[int], released: dict[str, int]) -> None:
    """Callback: write the positions at which the reader let go of the dials to the URL."""
    if (position := released.get(STEP)) is not None and 0 <= position < len(steps):
        in_url(STEP, "" if position == len(steps) - 1 else str(steps[position]))
    if (position := released.get(SHARE)) is not None and 0 <= position < len(SHARES):
        in_url(SHARE, "" if position == DEFAULT_SHARE else f"{SHARES[position]:g}")
    if (position := released.get(ANCHOR)) is not None and position >= 0:
        in_url(ANCHOR, str(position) if position else "")


def in_url(name: str, text: str) -> None:
    """Set the query parameter `name` to `text`; an empty text removes it."""
    if text:
        st.query_params[name] = text
    else:
        st.query_params.pop(name, None)
