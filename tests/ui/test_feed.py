"""What pages fetch by themselves: the secret address, and what Watch is told at it."""

import json

import pytest
from starlette.requests import Request
from streamlit.testing.v1 import AppTest

from fda.errors import UserError
from fda.report import live
from fda.store.store import Store
from fda.ui import feed
from fda.ui.run import live as run_live
from tests.pages.test_pages import at_work, page, status


@pytest.fixture
def store(fda_home) -> Store:
    return Store()


@pytest.fixture(autouse=True)
def no_feeds(monkeypatch):
    """No feeds of other tests; a question at once after another is answered with what is new."""
    monkeypatch.setattr(run_live, "FRESH", 0.0)
    monkeypatch.setattr(feed, "_feeds", type(feed._feeds)())


def ask(address: str, seen: str = "") -> dict:
    """What the server answers at an address."""
    secret = address.rsplit("/", 1)[1]
    scope = {"type": "http", "path_params": {"secret": secret}, "query_string": f"seen={seen}".encode(), "headers": []}
    answer = feed.answer(Request(scope))
    assert answer.headers["cache-control"] == "no-store"
    return json.loads(answer.body)


def script() -> None:
    import streamlit as st

    from fda.ui import feed

    st.session_state["address"] = feed.offer(lambda seen: {"seen": seen}, "one")
    st.session_state["other"] = feed.offer(lambda seen: {"seen": f"other {seen}"}, "other")


def visit() -> AppTest:
    at = AppTest.from_function(script).run()
    assert not at.exception
    return at


def test_a_session_keeps_its_address_and_no_two_share_one():
    first, second = visit(), visit()
    address = first.session_state["address"]
    assert len({address, first.session_state["other"], second.session_state["address"]}) == 3
    assert first.run().session_state["address"] == address and len(address.rsplit("/", 1)[1]) > 40
    assert ask(address, "a word") == {"seen": "a word"} and ask(first.session_state["other"]) == {"seen": "other "}


def test_who_asks_for_what_is_not_there_is_told_to_begin_anew():
    def fails(_: str) -> dict:
        raise UserError("there is no such run.")

    feed._feeds["known"] = feed._Offered("a session", fails)
    assert ask("/updates/unknown") == ask("/updates/known") == feed.BEGIN_ANEW


def test_the_feed_not_asked_for_longest_goes_first(monkeypatch):
    monkeypatch.setattr(feed, "MOST", 2)
    one = visit().session_state["address"]
    assert ask(one, "1") == {"seen": "1"}
    two = visit()
    assert ask(one) == feed.BEGIN_ANEW and ask(two.session_state["address"], "2") == {"seen": "2"}


def test_the_address_is_below_the_path_that_the_server_is_at(monkeypatch):
    monkeypatch.setattr(feed.st, "get_option", lambda name: {"server.baseUrlPath": "/below/it/"}[name])
    assert feed.route().path == "/below/it/updates/{secret}"


def test_visitors_who_look_at_the_same_share_a_picture(store, tiny_zoo, monkeypatch):
    """Each is told what is new to them, by a picture that is made once while it is fresh."""
    run_id = at_work(store, tiny_zoo)
    first, second = status(page("watch", run=run_id)), status(page("watch", run=run_id))
    made = []
    draw = live.picture
    monkeypatch.setattr(run_live.live, "picture", lambda *given: made.append(1) or draw(*given))
    (unit,) = [unit for unit in store.units(run_id, "construct") if unit.state == "running"]
    store.add_scalars(run_id, unit.key, [("angle_loss", unit.step + 1, 0.125)])
    store.update_unit(run_id, unit.key, step=unit.step + 2)
    news = ask(first["feed"], first["seen"])["figures"]
    monkeypatch.setattr(run_live, "FRESH", 60.0)
    store.update_unit(run_id, unit.key, step=unit.step + 3)
    assert ask(second["feed"], second["seen"])["figures"] == news != {} and len(made) == 1


def test_watch_is_told_what_is_new_since_what_it_saw(store, tiny_zoo):
    run_id = at_work(store, tiny_zoo)
    at = page("watch", run=run_id)
    told = status(at)
    nothing = ask(told["feed"], told["seen"])
    assert nothing["figures"] == {} and nothing["state"] == "running" and "left in all" in nothing["line"]

    (unit,) = [unit for unit in store.units(run_id, "construct") if unit.state == "running"]
    store.add_scalars(run_id, unit.key, [("angle_loss", unit.step + 1, 0.125)])
    store.update_unit(run_id, unit.key, step=unit.step + 2)
    news = ask(told["feed"], nothing["seen"])
    assert set(news["figures"]) == {"run-progress", "run-loss"}
    assert "run-similarity" in ask(told["feed"], nothing["seen"])["figures"], "the answer before was lost: all of it"

    store.set_state(run_id, "failed", "it ended.")
    assert ask(told["feed"], "any") == feed.BEGIN_ANEW
    assert status(page("watch", run=run_id))["feed"] is None, "nothing more to come"


def test_a_watched_run_that_is_deleted_has_the_page_begin_anew(store, tiny_zoo):
    run_id = at_work(store, tiny_zoo)
    told = status(page("watch", run=run_id))
    store.set_state(run_id, "failed", "it ended.")
    store.delete_run(run_id)
    assert ask(told["feed"], told["seen"]) == feed.BEGIN_ANEW
