"""A worker ended by SIGKILL in the middle of real work: seen as crashed, resumed, and the same anchors in the end."""

import os
import signal
import time

from fda.jobs import lifecycle as jobs
from fda.jobs.liveness import LiveStore
from fda.requests.runs import construct_settings, make_spec
from fda.store.store import Store


def wait_for(condition, seconds: float):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def anchors(store: Store, run_id: str) -> dict[str, bytes]:
    folder = store.run_dir(run_id)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("anchors/*/*.safetensors")}


def test_a_killed_worker_is_crashed_and_resumes_to_the_same_bytes(fda_home, tiny_zoo):
    store = Store(fda_home)
    settings = construct_settings("fast", anchors=16, steps=200)
    whole = jobs.start(store, make_spec(tiny_zoo, construct=settings, device="cpu"))
    wait_for(lambda: store.run(whole).state == "done", 120)

    killed = jobs.start(store, make_spec(tiny_zoo, construct=settings, device="cpu"))
    wait_for(lambda: any(unit.state == "done" for unit in store.units(killed)), 60)
    os.kill(store.run(killed).pid, signal.SIGKILL)
    wait_for(lambda: LiveStore(fda_home).run(killed).state == "crashed", 15)
    finished = {unit.key for unit in store.units(killed) if unit.state == "done"}
    assert 0 < len(finished) < 4
    jobs.resume(store, killed)
    wait_for(lambda: LiveStore(fda_home).run(killed).state == "done", 60)

    assert len(anchors(store, whole)) == 4
    assert anchors(store, killed) == anchors(store, whole)
