"""Ends workers, starters and the server at random moments, and compares every run with one that was left alone.

After each death the store is repaired by the doctor, checked against the files, and the run is resumed: no finished unit may
be lost, and the finished run must have the bytes and scores of the undisturbed one.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fda.bench.dashboard import Server
from fda.clock import stamp
from fda.jobs import lifecycle, liveness
from fda.jobs.doctor import repair
from fda.jobs.liveness import LiveStore
from fda.requests.runs import construct_settings, make_spec
from fda.store.spec import RunSpec
from fda.store.store import Store
from tests.chaos.deaths import PLACES, Death
from tests.chaos.processes import Process, start_fork_server, start_starter, start_worker
from tests.chaos.state import Result, faults, finished_units, result_of
from tests.support.runs import sql, wait_for

PATIENCE = 300.0  # seconds for a run to end
WORKER, STARTER = 0.85, 0.95  # of ten deaths so many are workers', then starters', then the server's


@dataclass
class Campaign:
    """One FDA_HOME under attack. `tell` gets a line a death."""

    home: Path
    zoo: Path
    seed: int = 0
    methods: tuple[str, ...] = ("ta", "fda:ta")
    steps: int = 60
    tell: Callable[[str], None] = lambda line: None
    deaths: Counter = field(default_factory=Counter)
    compared: int = 0

    def __post_init__(self) -> None:
        start_fork_server()
        self.store, self.random = Store(self.home), random.Random(self.seed)
        lifecycle._spawn = lambda store, run_id: None  # the kit starts the workers itself
        self.seconds, self.writes, self.expected = self._undisturbed()

    def spec(self) -> RunSpec:
        settings = construct_settings("fast", anchors=16, steps=self.steps)
        return make_spec(self.zoo, construct=settings, methods=self.methods, device="cpu")

    def run(self, kills: int) -> None:
        """End `kills` processes. AssertionError for the first fault."""
        while self.deaths.total() < kills:
            run_id = lifecycle.start(self.store, self.spec())
            self._until_done(run_id, kills)
            self.require_equal(self.store, run_id)
            self.compared += 1
            lifecycle.delete(self.store, run_id, now=True)

    def _undisturbed(self) -> tuple[float, int, Result]:
        """(seconds of its worker, writes to the store, result) of a run that is left alone."""
        run_id = lifecycle.start(self.store, self.spec())
        start_worker(self.store, run_id).join(PATIENCE)
        run = self.store.run(run_id)
        assert run.state == "done" and run.finished and run.started, run.message
        return run.finished - run.started, self.store.version(run_id), result_of(self.store, run_id)

    def require_equal(self, store: Store, run_id: str) -> None:
        """AssertionError unless the run is done, equals the undisturbed one, and the store has no fault."""
        run = store.run(run_id)
        assert run.state == "done", run.message
        assert result_of(store, run_id) == self.expected, f"run {run_id} differs from the undisturbed one"
        assert (found := faults(store)) == [], found

    def _until_done(self, run_id: str, kills: int) -> None:
        finished = set()
        while self.store.run(run_id).state != "done":
            if self.deaths.total() >= kills:
                start_worker(self.store, run_id).join(PATIENCE)
                assert self.store.run(run_id).state == "done", self.store.run(run_id).message
                return
            which = self.random.random()
            if which < WORKER:
                self._kill_worker(run_id)
            elif which < STARTER:
                self._kill_starter()
            else:
                self._kill_server(run_id)
            finished = self.check(run_id, finished)
            if self.store.run(run_id).state != "done" and LiveStore(self.home).run(run_id).state not in ("queued",):
                lifecycle.resume(self.store, run_id)

    def check(self, run_id: str, finished: set) -> set:
        """The run's finished units, which must include those that were; AssertionError also for any fault of the store."""
        for line in repair(self.store):
            self.tell(f"  doctor: {line}")
        now = finished_units(self.store, run_id)
        assert finished <= now, f"units of {run_id} were lost: {finished - now}"
        assert (found := faults(self.store)) == [], found
        return now

    # deaths ----------------------------------------------------------------------------------------------------------

    def _kill_worker(self, run_id: str) -> None:
        place = self.random.choice(("moment", "moment", *PLACES))
        death = None
        if place != "moment":
            death = Death(place, self.random.randint(1, self.writes // 2 if "commit" in place else 9))
        process = start_worker(self.store, run_id, death)
        process.join(self.random.uniform(0, 0.8 * self.seconds) if death is None else PATIENCE)
        self._count("worker", place, process)
        if LiveStore(self.home).run(run_id).state == "queued":  # it died before it claimed the run
            self._age(run_id)

    def _kill_starter(self) -> None:
        action = self.random.choice(("start", "delete", "resume"))
        place = self.random.choice(PLACES[:2] if action == "resume" else PLACES[:3])
        other = self.store.create_run(self.spec().model_copy(update={"seed": 7})) if action != "start" else None
        if other is not None:
            self.store.set_state(other, "cancelled")
        argument = self.spec().model_copy(update={"seed": 8}) if other is None else other
        process = start_starter(self.store, action, argument, Death(place, 1))
        process.join(PATIENCE)
        self._count(f"starter ({action})", place, process)
        for one in self.store.all_stored():
            if one.state == "queued" and self._is_other(one.run_id):
                self._age(one.run_id)
        for line in repair(self.store):
            self.tell(f"  doctor: {line}")
        assert (found := faults(self.store)) == [], found
        for one in LiveStore(self.home).all_stored():
            if self._is_other(one.run_id):
                lifecycle.delete(self.store, one.run_id, now=True)

    def _is_other(self, run_id: str) -> bool:
        return self.store.run(run_id).spec.seed in (7, 8)

    def _kill_server(self, run_id: str) -> None:
        """The server dies while a run works: the run goes on to its end."""
        worker, server = start_worker(self.store, run_id), Server(self.home)
        server.start()
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        self.deaths["server"] += 1
        self.tell(f"{self.deaths.total():>4} server")
        worker.join(PATIENCE)
        assert self.store.run(run_id).state == "done", self.store.run(run_id).message

    def _count(self, who: str, place: str, process: Process) -> None:
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join(PATIENCE)
        died = process.exitcode == -signal.SIGKILL
        if died:
            self.deaths[f"{who} {place}"] += 1
        self.tell(f"{self.deaths.total():>4} {who} {place}{'' if died else ': ended before'}")

    def _age(self, run_id: str) -> None:
        """A run whose worker never came counts as crashed after half a minute: make it that old."""
        boot, moment = stamp().split()
        old = f"{boot} {float(moment) - liveness.START_SECONDS - 1:.3f}"
        sql(self.store, "UPDATE runs SET queued_clock = ? WHERE run_id = ?", old, run_id)
        wait_for(lambda: LiveStore(self.home).run(run_id).state != "queued", 15)
