"""Watch beside the loss: similarity at any k, projection energy, tail energy, cosines; on generated numbers."""

import base64

import numpy as np
import pytest

from fda.store.store import Store
from tests.pages.test_pages import figures, page, text
from tests.support.made_anchors import TENSORS, made_run, made_zoo

LIMIT = 100_000  # bytes of an update: what the page sends each second


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("made")
        patch.setenv("FDA_HOME", str(root / "home"))
        patch.setenv("FDA_MODEL_ROOTS", str(root))
        zoo, store = made_zoo(root, ("digits", "faces")), Store(root / "home")
        return root, made_run(store, zoo, init="weight"), made_run(store, zoo, old=True, seed=1)


@pytest.fixture
def runs(shared, monkeypatch):
    root, new, old = shared
    monkeypatch.setenv("FDA_HOME", str(root / "home"))
    monkeypatch.setenv("FDA_MODEL_ROOTS", str(root))
    return new, old


def figure(at, begins: str) -> dict:
    return next(found for alt, found in figures(at).items() if alt.startswith(begins))


def values(numbers) -> np.ndarray:
    """plotly packs arrays."""
    if isinstance(numbers, dict):
        return np.frombuffer(base64.b64decode(numbers["bdata"]), numbers["dtype"])
    return np.array(numbers, float)


def curve(found: dict, uid: str) -> np.ndarray:
    return values(next(trace["y"] for trace in found["data"] if trace.get("uid") == uid))


def test_every_measure_is_drawn_with_its_line_to_compare_with(runs):
    at = page("watch", run=runs[0])
    projection = figure(at, "Projection energy")
    assert "held-out real data: 0.60" in str(projection["layout"]["annotations"])
    assert curve(projection, "curve digits 0")[[0, -1]] == pytest.approx([0.1, 0.3])
    assert curve(figure(at, "Tail energy"), "curve faces 1")[0] == pytest.approx(0.4)
    bars = figure(at, "Cosine of the induced")["data"]
    assert bars[0]["y"] == sorted(TENSORS) and values(bars[0]["x"]) == pytest.approx([0.9] * len(TENSORS))
    assert values(bars[1]["x"]) == pytest.approx([0.5] * len(TENSORS))


def test_k_moves_the_similarity_and_its_chance_line(runs):
    usual, wide = (figure(page("watch", run=runs[0], **query), "Subspace similarity") for query in ({}, {"k": "50"}))
    assert curve(usual, "curve digits 0")[-1] == pytest.approx(0.2 + 0.2 * 0.2 * 0.8, abs=1e-5)
    assert curve(wide, "curve digits 0")[-1] == pytest.approx(0.5 + 0.2 * 0.5 * 0.5, abs=1e-5)
    assert "chance k/d = 0.20" in str(usual["layout"]) and "chance k/d = 0.50" in str(wide["layout"])


def test_projection_energy_can_be_taken_at_the_merged_model(runs):
    found = figure(page("watch", run=runs[0], at="the merged model"), "Projection energy")
    assert "held-out real data: 0.50" in str(found["layout"]["annotations"])
    assert curve(found, "curve digits 0")[-1] == pytest.approx(0.2)


def test_an_older_run_shows_what_it_has(runs):
    at = page("watch", run=runs[1])
    alts = " ".join(figures(at))
    assert "Subspace similarity" in alts and "Projection energy" not in alts and "Cosine of" not in alts
    assert "Traceback" not in text(at)


def test_an_update_stays_small(runs):
    sent = sum(len(element.proto.SerializeToString()) for element in page("watch", run=runs[0]).get("bidi_component")
               if "figure" in element.proto.json)  # fmt: skip
    assert 1000 < sent < LIMIT
