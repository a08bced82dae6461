"""Measuring pages: the run that is watched is a real one, the socket is read rightly, one round in a real browser."""

import base64
import os

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from fda.bench import dashboard
from fda.bench.page import Measured, Socket, bench_page, make_run
from fda.errors import UserError
from fda.runs.store import Store


def test_the_watched_run_has_the_points_it_is_asked_for_and_lives(tmp_path):
    store = Store(tmp_path)
    run = store.run(make_run(store, 1_000))
    series = store.scalars(run.run_id, "angle_loss", points=None)
    assert run.state == "running" and run.pid == os.getpid()
    assert len(series) == 20 and sum(len(steps) for steps, _ in series.values()) == 1_000
    assert all(values[0] > values[-1] > 0 for _, values in series.values())


class Session:
    """Stands in for Chromium's log: the test says what went over the socket."""

    def __init__(self) -> None:
        self.listeners = {}

    def send(self, command: str) -> None: ...

    def on(self, event: str, listener) -> None:
        self.listeners[event] = listener

    def tell(self, event: str, moment: float, frame: bytes) -> None:
        payload = base64.b64encode(frame).decode()
        self.listeners[f"Network.webSocketFrame{event}"](
            {"timestamp": moment, "response": {"payloadData": payload, "opcode": 2}}
        )


def test_an_update_is_from_the_question_for_a_fragment_to_the_end_of_the_script():
    question, whole, part, end = BackMsg(), BackMsg(), ForwardMsg(), ForwardMsg()
    question.rerun_script.fragment_id = "show"
    whole.rerun_script.query_string = ""
    part.delta.new_element.text.body = "x" * 1_000
    end.script_finished = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
    session = Session()
    socket = Socket(session)
    for event, moment, message in (
        ("Received", 0.0, part),
        ("Sent", 0.5, whole),
        ("Sent", 1.0, question),
        ("Received", 1.02, part),
        ("Received", 1.08, end),
        ("Received", 1.5, part),
    ):
        session.tell(event, moment, message.SerializeToString())
    (update,) = socket.updates
    assert update.server_ms == pytest.approx(80)
    assert update.bytes == len(part.SerializeToString()) + len(end.SerializeToString())


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
    found = bench_page(points=400, starts=1, rounds=1, updates=1, pages=("Compare", "Home"))
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == 6 and all(0 < row["least"] <= row["typical"] <= row["most"] for row in rows.values())
    assert {row["unit"] for row in rows.values()} == {"s", "ms", "KB"}
