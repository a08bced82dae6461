"""Commands and pages over a store that is damaged, lost, locked or has a bad row: one sentence, no traceback, no write."""

import json
import sqlite3
from contextlib import closing

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from fda.cli.app import app
from fda.errors import UserError
from fda.home import REPO
from fda.store.store import Store
from tests.support.runs import spec, sql


@pytest.fixture
def store(fda_home) -> Store:
    return Store(fda_home)


def said(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    return done.output


def home_page() -> AppTest:
    page = AppTest.from_file(str(REPO / "pages" / "frame.py"), default_timeout=60).switch_page("home.py").run()
    assert not page.exception
    return page


def test_runs_list_shows_the_bad_row_beside_the_good_and_deletes_it(store):
    good, bad = store.create_run(spec()), store.create_run(spec(seed=1))
    sql(store, "UPDATE runs SET spec = '{}', state = 'failed' WHERE run_id = ?", bad)
    listed = said("runs", "list")
    assert (
        f"{good}  queued" in listed and f"{bad}  unreadable: Run {bad} cannot be read (zoo: field required)" in listed
    )
    entries = {entry["run_id"]: entry for entry in json.loads(said("runs", "list", "--json"))}
    assert entries[good]["spec"]["device"] == "cpu" and "zoo: field required" in entries[bad]["problem"]
    assert said("runs", "delete", bad).startswith(f"deleted {bad}\n")
    assert [run.run_id for run in store.all_stored()] == [good]


def test_numbers_that_cannot_be_read_do_not_break_the_list(store):
    good, bad = store.create_run(spec()), store.create_run(spec(seed=1))
    sql(store, "INSERT INTO results (run, method, state, settings) VALUES (2, 'ta', 'done', 'no json')")
    entries = {entry["run_id"]: entry for entry in json.loads(said("runs", "list", "--json"))}
    assert "units" in entries[good] and "cannot be read" in entries[bad]["problem"]


def test_the_home_page_shows_the_bad_row_with_its_sentence_and_a_button(store):
    good, bad = store.create_run(spec()), store.create_run(spec(seed=1))
    sql(store, "UPDATE runs SET spec = '{}', state = 'failed' WHERE run_id = ?", bad)
    page = home_page()
    texts = " ".join(caption.value for caption in page.caption)
    assert list(page.dataframe[0].value["id"]) == [good] and f"Run {bad} cannot be read" in texts
    page.button(key=f"sure-{bad}").click().run()
    assert not page.exception and [run.run_id for run in store.all_stored()] == [good]


def test_pages_and_lists_read_a_locked_store(store):
    run_id = store.create_run(spec())
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert run_id in said("runs", "list")
        assert run_id in " ".join(caption.value for caption in home_page().caption)


@pytest.mark.parametrize("harm", ["damaged", "lost"])
def test_a_store_that_cannot_be_used_is_a_sentence_on_a_page_and_doctor_repairs_it(store, harm):
    run_id = store.create_run(spec())
    for path in store.home.glob("fda.db*"):
        path.unlink()
    if harm == "damaged":
        store.path.write_bytes(b"no database at all" * 100)
    told = " ".join(str(error.value) for error in home_page().error)
    assert "`python -m fda doctor --repair`" in told
    with pytest.raises(UserError, match="doctor --repair"):
        said("runs", "list")
    faulty = CliRunner().invoke(app, ["doctor"])
    assert faulty.exit_code == 1 and "FAULT: " in faulty.output and "doctor --repair" in faulty.output
    assert f"repaired: run {run_id} (tiny) is listed again with 0 finished units." in said("doctor", "--repair")
    assert run_id in said("runs", "list")
