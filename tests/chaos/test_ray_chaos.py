"""Workers of a Ray cluster that are killed at random moments: the run ends at the bytes of one that was left alone."""

import os
import random
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fda.cancel import NEVER
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.records import UnitKey
from fda.store.store import Store
from tests.chaos.state import faults, finished_units, result_of

pytest.importorskip("ray", reason="ray is an extra")
KILLS = {"units": 6, "methods": 4}  # at most


class Killer(threading.Thread):
    """Ends processes of this test's nodes that carry out a job, and looks at the store after each."""

    def __init__(self, store: Store, run_id: str) -> None:
        super().__init__(daemon=True)
        self.store, self.run_id, self.over = store, run_id, threading.Event()
        self.killed, self.lost, self.random = Counter[str](), set[UnitKey](), random.Random(0)

    def run(self) -> None:
        finished: set[UnitKey] = set()
        while not self.over.wait(self.random.uniform(0.2, 1.5)):
            now = finished_units(self.store, self.run_id)
            self.lost |= finished - now
            finished = now
            with suppress(psutil.Error):
                if workers := [one for one in psutil.Process().children(recursive=True) if _works(one)]:
                    units = self.store.units(self.run_id, "construct")
                    stage = "methods" if all(unit.state == "done" for unit in units) else "units"
                    if self.killed[stage] < KILLS[stage]:
                        self.random.choice(workers).kill()
                        self.killed[stage] += 1


def _works(process: psutil.Process) -> bool:
    return "ray::_on_node" in " ".join(process.cmdline())


@pytest.mark.chaos
def test_workers_of_a_cluster_that_are_killed_lose_nothing(tiny_zoo: Path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("fda.stages.ray_cluster.MOST_TRIES", sum(KILLS.values()) + 1)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    store, construct = Store(), construct_settings("fast", anchors=4, steps=600, tolerance=0.0)
    runs = {
        engine: store.create_run(
            make_spec(tiny_zoo, construct=construct, methods=("ta", "tsv", "fda:ta"), device="cpu", engine=engine)
        )
        for engine in ("local", "ray")
    }
    execute(store, runs["local"], NEVER)
    killer = Killer(store, runs["ray"])
    killer.start()
    execute(store, runs["ray"], NEVER)
    killer.over.set()
    killer.join()
    print(dict(killer.killed))
    assert min(killer.killed[stage] for stage in KILLS) >= 1 and not killer.lost
    for run_id in runs.values():
        store.set_state(run_id, "done")
    assert result_of(store, runs["ray"]) == result_of(store, runs["local"])
    assert faults(store) == []
