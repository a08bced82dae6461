"""The engine `ray`: the units of a run as tasks of a Ray cluster, and what they send written to the store as it comes.

Ray places the tasks, one CPU core or one GPU each, and carries block inputs and updates. A unit whose node or process is lost
begins anew elsewhere; Ray's own retry would run a task's generator again and refuse an order of updates that differs.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fda import __version__
from fda.errors import UserError, first_line
from fda.jobs.lanes import lane_count
from fda.requests.runs import require_ray
from fda.stages.ray_node import NodeUnit, compute_unit
from fda.stages.real_inputs import RealBlockInputs
from fda.stages.unit_update import UnitUpdate, write_update
from fda.stages.work import Work
from fda.store.records import UnitKey

WAIT_SECONDS = 0.2  # for news of any unit, before a look at whether the run should stop
MOST_TRIES = 4  # of a unit, after which the fault is probably the unit's
ADVANCE = 2  # tasks handed to Ray for each place, so that a place which becomes free has the next one at once
STORE_BYTES = 2**30  # Ray's store of objects where this process starts Ray: inputs of the tasks handed over, updates


def construct_on_ray(work: Work, keys: Sequence[UnitKey], real: Mapping[str, RealBlockInputs | None]) -> None:
    """Construct these units on the cluster that the spec names. `real`: task → its real block inputs.

    Waits while no node has a place. Cancelled soon after `work.cancel` asks for it. UserError if there is no such cluster, for
    what a user can mend on a node, and if a unit was lost MOST_TRIES times.
    """
    with _connected(work.spec.address) as ray:
        _Cluster(work, real, ray).construct(keys)


class _Cluster:
    """The units of one run on a cluster to which this process is connected."""

    def __init__(self, work: Work, real: Mapping[str, RealBlockInputs | None], ray: Any) -> None:
        self.work, self.real, self.ray = work, real, ray
        asked = work.spec.device
        gpu = asked.startswith("cuda") or (asked == "auto" and self._places("GPU") > 0)
        self.resource, self.device = ("GPU", "cuda:0") if gpu else ("CPU", "cpu")  # Ray shows a task its own GPU only
        needs = {"num_gpus": 1} if gpu else {"num_cpus": 1}
        self.task = ray.remote(**needs, num_returns="streaming", max_retries=0)(_unit_task)
        tokens = work.construction.tokens or work.opened.model.tokens  # counted on data, which nodes need not have
        construction = work.construction.model_copy(update={"tokens": tokens})
        self.spec = work.spec.model_copy(update={"construction": construction}).model_dump_json()
        self.done: set[UnitKey] = set()

    def construct(self, keys: Sequence[UnitKey]) -> None:
        if self._places(self.resource) == 0:
            _tell(f"no node of the Ray cluster has a {self.resource}: the run waits for one.")
        waiting, running, tries = deque(keys), {}, Counter[UnitKey]()
        try:
            while waiting or running:
                while waiting and len(running) < ADVANCE * max(1, self._places(self.resource)):
                    key = waiting.popleft()
                    running[self._submit(key)] = key
                self.work.cancel.check()
                ready, _ = self.ray.wait(list(running), num_returns=len(running), timeout=WAIT_SECONDS)
                for task in ready:
                    key = running[task]
                    try:
                        over = not self._receive(task, key)
                    except _Lost as lost:
                        over = True
                        if key not in self.done:
                            waiting.appendleft(key)
                            self._forget(key)
                            tries[key] += 1
                            if tries[key] == MOST_TRIES:
                                raise UserError(
                                    f"{_name(key)} was lost {MOST_TRIES} times, lastly as {lost}."
                                ) from None
                            _tell(f"{_name(key)} begins anew: {lost}.")
                    if over:
                        del running[task]
        finally:
            for task, key in running.items():
                with suppress(Exception):  # the cluster may be gone
                    self.ray.cancel(task, force=True)
                if key not in self.done:
                    self._forget(key)

    def _submit(self, key: UnitKey) -> Any:
        opened, inputs = self.work.opened, self.real[key.name]
        unit = NodeUnit(
            self.spec,
            key,
            self.device,
            __version__,
            opened.base.fingerprint,
            opened.tasks[key.name].fingerprint,
            _runtime_env().get("working_dir"),
        )
        return self.task.remote(unit, None if inputs is None else inputs[key.block].numpy())

    def _receive(self, task: Any, key: UnitKey) -> bool:
        """Write the next updates of a unit; False at its end. _Lost if they will never come."""
        errors = self.ray.exceptions
        try:
            node, updates = self.ray.get(next(task))
        except StopIteration:
            if key not in self.done:
                raise _Lost("its task ended early") from None
            return False
        except errors.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise UserError(str(error.cause)) from None
            raise
        except errors.RuntimeEnvSetupError as error:
            why = first_line(error)
            raise UserError(
                f"the nodes could not be prepared as FDA_RAY_RUNTIME_ENV says ({why}): correct it."
            ) from None
        except errors.RayError as error:
            raise _Lost(first_line(error).split(". ")[0].rstrip(".")) from None
        for update in updates:
            if update.anew:
                update.columns["node"] = self._node_name(node)
            write_update(self.work, update)
            if update.columns.get("state") == "done":
                self.done.add(key)
        return True

    def _forget(self, key: UnitKey) -> None:
        write_update(self.work, UnitUpdate(key, anew=True))

    def _places(self, resource: str) -> int:
        """How many tasks the nodes that are alive now can run at once."""
        return int(self.ray.cluster_resources().get(resource, 0))

    def _node_name(self, node_id: str) -> str:
        """The node's host name, with the beginning of its id where several nodes are on one machine."""
        hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in self.ray.nodes()}
        host = hosts.get(node_id, "?")
        return host if list(hosts.values()).count(host) == 1 else f"{host} {node_id[:6]}"


class _Lost(Exception):
    """A unit's task will send nothing more, through no fault of the unit; says why."""


def _unit_task(unit: NodeUnit, real: Any) -> Iterator[tuple[str, list[UnitUpdate]]]:
    """What a node carries out: (id of the node, updates)."""
    import ray  # pyright: ignore[reportMissingImports] (of an extra)

    node = ray.get_runtime_context().get_node_id()
    for updates in compute_unit(unit, real):
        yield node, updates


def _tell(sentence: str) -> None:
    print(f"fda: {sentence}", file=sys.stderr, flush=True)


def _name(key: UnitKey) -> str:
    return f"unit {key.name}, block {key.block}"


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster at `address`, by default RAY_ADDRESS, else to one of this machine alone that ends here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    require_ray()
    import ray  # pyright: ignore[reportMissingImports] (of an extra)
    from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UserError(f"{address} is for Ray's client: start the run on a node of the cluster, with --address auto.")
    own = {"num_cpus": lane_count("cpu"), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with _signals_kept():
        try:
            ray.init(
                address,
                **(own if address == "local" else {}),
                runtime_env=_runtime_env(),
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise UserError(
                f"the Ray cluster {address} could not be reached ({first_line(error)}): look with `ray status`, start it "
                "with `ray start --head`, or leave --address out."
            ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep this process's handlers: `ray.init` replaces the one of SIGTERM, which asks the run to stop."""
    main = threading.current_thread() is threading.main_thread()
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)} if main else {}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _runtime_env() -> dict[str, Any]:
    """What FDA_RAY_RUNTIME_ENV says that Ray prepares on each node. UserError if it is no JSON object."""
    text = os.environ.get("FDA_RAY_RUNTIME_ENV") or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError('FDA_RAY_RUNTIME_ENV is not a JSON object: write it as {"working_dir": "/data/my-zoo"}.')
    return found
