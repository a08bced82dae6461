"""Commands in the background: whether one lives, what it said, and that an ended one leaves nothing behind."""

import os
import re
import sys
import threading
import time

import psutil
import pytest

from fda.jobs import background
from fda.jobs.background import Background, one_at_a_time
from fda.processes import is_alive
from fda.store.store import Store
from tests.support.runs import wait_for

PROGRESS = re.compile(r"^fda: \d+ %$")


@pytest.fixture
def begun(tmp_path, fda_home):
    """`begun(code, **noted)`: a Python in the background that runs `code`. None outlives the test."""
    started = []

    def begin(code: str, **noted: object) -> Background:
        fda_home.mkdir(exist_ok=True)
        one = Background(tmp_path / "place" / "log", tmp_path / "place" / "note.json")
        one.start([sys.executable, "-c", f"import os, sys, time; {code}"], fda_home, **noted)
        started.append(one)
        return one

    yield begin
    for one in started:
        one.end()


def test_it_lives_says_and_ends(begun):
    one = begun("print('fda: 10 %', flush=True); time.sleep(0.3); sys.exit('fda: no room')")
    assert one.alive
    wait_for(lambda: not one.alive, 15)
    assert one.said.split("\n") == ["fda: 10 %", "fda: no room", ""]
    assert one.sentence(but=PROGRESS) == "no room"


def test_of_what_it_says_the_last_sentence_counts_and_progress_is_none(begun):
    one = begun("print('Traceback\\nfda: first\\nfda: second\\nother\\nfda: 90 %')")
    wait_for(lambda: not one.alive, 15)
    assert one.sentence(but=PROGRESS) == "second"
    again = begun("print('fda: 20 %')")
    wait_for(lambda: not again.alive, 15)
    assert again.sentence(but=PROGRESS) is None, "a second start begins with an empty log"


def test_what_was_noted_is_known_to_every_server_and_so_is_that_it_lives(begun):
    one = begun("time.sleep(60)", total=7)
    background._children.clear()  # as in a server that started later
    assert one.alive and one.noted["total"] == 7
    process = (one.noted["pid"], one.noted["started"])
    one.end()
    assert not is_alive(*process) and not one.alive and one.noted is None
    assert list(one.log.parent.iterdir()) == []


def test_an_ended_one_is_no_zombie(begun):
    one = begun("time.sleep(60)")
    pid = one.noted["pid"]
    one.end()
    assert not psutil.pid_exists(pid)
    one.end()  # a second click


def test_its_own_processes_end_with_it(begun):
    code = "import subprocess; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)"
    one = begun(f"{code}; time.sleep(60)")
    wait_for(lambda: one.said.endswith("\n"), 15)
    child = int(one.said)
    assert psutil.pid_exists(child)
    one.end()
    wait_for(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE, 5)


def test_it_is_a_session_of_its_own_with_the_home_it_was_given(begun, fda_home):
    one = begun("print(os.getsid(0) == os.getpid(), os.environ['FDA_HOME'], sys.stdin.read() == '', flush=True)")
    wait_for(lambda: not one.alive, 15)
    assert one.said.split() == ["True", str(fda_home), "True"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "started": 1}', '{"pid": 1}', "\udce4"])
def test_a_note_that_is_damaged_is_none(tmp_path, text):
    one = Background(tmp_path / "log", tmp_path / "note")
    one.note.write_text(text, encoding="utf-8", errors="surrogateescape")
    assert one.noted is None and not one.alive
    one.end()
    assert not one.note.exists()


def test_one_that_never_was_says_nothing(tmp_path):
    one = Background(tmp_path / "log", tmp_path / "note")
    assert (one.noted, one.alive, one.said, one.sentence(but=PROGRESS)) == (None, False, "", None)


def test_a_process_that_got_its_number_is_not_taken_for_it_and_not_killed(tmp_path):
    one = Background(tmp_path / "log", tmp_path / "note")
    one.note.write_text(f'{{"pid": {os.getppid()}, "started": 1.0}}')
    assert not one.alive
    one.end()
    assert psutil.pid_exists(os.getppid())


def test_under_one_name_one_waits_for_the_other(fda_home):
    store, order = Store(fda_home), []

    def second() -> None:
        with one_at_a_time(store, "place"):
            order.append("second")

    thread = threading.Thread(target=second)
    with one_at_a_time(store, "place"):
        thread.start()
        with one_at_a_time(store, "another"):
            time.sleep(0.2)
            order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
