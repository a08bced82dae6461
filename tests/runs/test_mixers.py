"""The mixer's processes: started when asked, one for each visitor, ended by idleness, by another visitor or with the server."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from fda.errors import UserError
from fda.home import REPO
from fda.jobs import mixers
from fda.jobs.mixer_messages import MixRequest, Progress
from fda.jobs.mixers import MixerEnded, Superseded, end_mixer, mixer_for
from fda.zoos.zoo import load_zoo
from tests.support.runs import wait_for

SECONDS = 120  # that a process may take to start on a busy machine


@pytest.fixture
def zoo(tiny_zoo):
    return load_zoo(tiny_zoo)


@pytest.fixture(autouse=True)
def _no_process_stays():
    yield
    for visitor in list(mixers._mixers):
        end_mixer(visitor)


def request(scale: float = 0.3, method: str = "ta") -> MixRequest:
    part = {"blocks": "all", "method": method, "settings": {"scale": scale}}
    return MixRequest(recipe={"zoo": "tiny", "parts": [part]}, samples=20)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_process_answers_is_superseded_is_killed_comes_again_and_ends_when_idle(zoo, monkeypatch):
    mixer, told = mixer_for("ann", zoo), []
    about = mixer.about(told.append)
    assert {"opening the checkpoints", "reading the samples"} <= {progress.text for progress in told}
    assert [task.name for task in about.tasks] == ["red", "bright"] and len(about.blocks) == 2
    first = mixer.ask(request())
    assert first.samples == {"red": 20, "bright": 20} and mixer.pid is not None
    assert mixer_for("ann", zoo) is mixer  # a tab that is reloaded finds its process
    with pytest.raises(UserError, match="there is no merging method 'tb'"):
        mixer.ask(request(method="tb"))
    pictures = mixer.pictures({"red": [3, 1]})["red"]
    assert [*pictures.decoded()] == [1, 3] and all(one[:4] == b"RIFF" for one in pictures.decoded().values())

    process = psutil.Process(mixer.pid)
    process.suspend()  # so that both requests are there before the first is answered
    ends: list[str] = []

    def older() -> None:
        try:
            mixer.ask(request(0.9))
        except Superseded:
            ends.append("superseded")

    thread = threading.Thread(target=older)
    thread.start()
    time.sleep(0.3)
    newer = threading.Timer(0.5, process.resume)
    newer.start()
    last = mixer.ask(request(0.5))
    thread.join(SECONDS)
    assert ends == ["superseded"] and last.generation > first.generation

    monkeypatch.setattr(mixers, "IDLE_SECONDS", 0.5)  # of the next process
    threading.Timer(0.5, lambda: os.kill(process.pid, signal.SIGKILL)).start()
    process.suspend()
    with pytest.raises(MixerEnded, match="was ended by SIGKILL"):
        mixer.ask(request(0.7))
    again: list[Progress] = []
    assert mixer.ask(request(), again.append).mix == first.mix  # a new one answers as the old one did
    assert again[0].text == "the mixer's process had ended: starting a new one"
    wait_for(lambda: not mixer.running, SECONDS)  # nobody asks it any more
    assert mixer.pid is None


SERVER = """
import sys, time
from fda.jobs.mixers import mixer_for
from fda.zoos.zoo import load_zoo
mixer = mixer_for("bob", load_zoo(sys.argv[1]))
mixer.about()
print(mixer.pid, flush=True)
time.sleep(600)
"""


def test_a_process_ends_with_its_server(tiny_zoo):
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tiny_zoo)], cwd=REPO, stdout=subprocess.PIPE, text=True
    )
    try:
        child = int(server.stdout.readline())
        assert not gone(child)
    finally:
        server.kill()
        server.wait()
    wait_for(lambda: gone(child), SECONDS)


def test_there_are_no_more_processes_than_allowed(zoo, monkeypatch):
    """Two that wait are enough: `_Process` needs no answer to be alive."""
    monkeypatch.setenv("FDA_MIXERS", "1")
    first, second = mixer_for("ann", zoo), mixer_for("bob", zoo)
    with pytest.raises(KeyboardInterrupt):
        first.about(_leave)
    with pytest.raises(UserError, match="1 mixers are in use, and no more run at once here"):
        second.about()
    assert first.running and not second.running
    pid = first.pid
    monkeypatch.setattr(mixers, "YIELD_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        second.about(_leave)
    assert second.running and not first.running and gone(pid)
    mixer_for("bob", zoo, "20261129-082329-6871")  # another run: another mixer
    assert not second.running


def test_a_zoo_that_does_not_fit_into_memory_is_refused_with_its_size(zoo, monkeypatch):
    monkeypatch.setenv("FDA_MIXER_GB", "0.5")
    with pytest.raises(UserError, match=r"a mixer of zoo tiny needs 1\.3 GB of memory, and 0\.5 GB are allowed"):
        mixer_for("ann", zoo).about()
    base = zoo.base.model_copy(update={"model": "nobody/has-this"})
    with pytest.raises(UserError, match="nobody/has-this is not downloaded"):
        mixer_for("ann", zoo.model_copy(update={"base": base})).about()


def _leave(_: object) -> None:
    raise KeyboardInterrupt
