"""Measuring pages: the run that is watched is a real one, the browser's log is read rightly, one round in a real browser."""

import os

import pytest

from fda.bench import dashboard
from fda.bench.page import Asked, Measured, bench_page, make_run
from fda.errors import UserError
from fda.store.store import Store


def test_the_watched_run_has_the_points_it_is_asked_for_and_lives(tmp_path):
    store = Store(tmp_path)
    run = store.run(make_run(store, 1_000))
    series = store.scalars(run.run_id, "angle_loss", points=None)
    assert run.state == "running" and run.pid == os.getpid()
    assert len(series) == 20 and sum(len(steps) for steps, _ in series.values()) == 1_000
    assert all(values[0] > values[-1] > 0 for _, values in series.values())


class Session:
    """Stands in for Chromium's log: the test says what was asked and answered."""

    def __init__(self) -> None:
        self.listeners = {}

    def send(self, command: str) -> None: ...

    def on(self, event: str, listener) -> None:
        self.listeners[event] = listener

    def asks(self, request: str, moment: float, url: str) -> None:
        event = {"requestId": request, "timestamp": moment, "request": {"url": url}}
        self.listeners["Network.requestWillBeSent"](event)

    def answers(self, request: str, moment: float, size: int) -> None:
        event = {"requestId": request, "timestamp": moment, "encodedDataLength": size}
        self.listeners["Network.loadingFinished"](event)


def test_an_update_is_from_its_question_to_the_end_of_its_answer():
    session = Session()
    asked = Asked(session)
    session.asks("a", 0.5, "http://127.0.0.1/static/page.js")
    session.asks("b", 1.0, "http://127.0.0.1/updates/secret?seen=")
    session.answers("a", 1.05, 5_000)
    session.answers("b", 1.08, 300)
    (update,) = asked.updates.values()
    assert update.server_ms == pytest.approx(80) and update.bytes == 300


def test_a_limit_is_kept_by_the_median():
    assert Measured("x", "ms", 99.0, 50.0, 300.0, 100.0).kept
    assert not Measured("x", "ms", 101.0, 50.0, 300.0, 100.0).kept


def test_without_a_chromium_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(dashboard, "CHROMIUM", None)
    with pytest.raises(UserError, match="there is no Chromium"):
        bench_page(points=20, starts=1, rounds=1, updates=1)


@pytest.mark.browser
@pytest.mark.timeout(240)
@pytest.mark.skipif(dashboard.CHROMIUM is None, reason="there is no Chromium")
def test_it_measures_a_start_a_switch_and_an_update():
    found = bench_page(points=400, starts=1, rounds=1, updates=1, runs=6, pages=("Run", "Scores", "Home"))
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == 10 and all(0 < row["least"] <= row["typical"] <= row["most"] for row in rows.values())
    assert {row["unit"] for row in rows.values()} == {"s", "ms", "KB"}
