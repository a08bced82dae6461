"""A Ray cluster at work for a run: hands it jobs, reads what they send, and gives a job that was lost to another node.

Ray places the jobs, one CPU core or one GPU each. A job whose node or process is lost begins anew elsewhere; Ray's own retry
would run a task's generator again and refuse an order of messages that differs.
"""

import json
import logging
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from fda.errors import UserError, first_line
from fda.jobs.lanes import lane_count
from fda.requests.runs import require_ray
from fda.stages.work import Work
from fda.zoos.hub import tell_on_stderr

WAIT_SECONDS = 0.2  # for news of any job, before a look at whether the run should stop
MOST_TRIES = 4  # of a job, after which the fault is probably the job's
ADVANCE = 2  # jobs handed to Ray for each place, so that a place which becomes free has the next one at once
STORE_BYTES = 2**30  # Ray's store of objects where this process starts Ray: inputs of the jobs handed over, updates


class Job(Protocol):
    """A piece of the run for one place of the cluster. `name` begins a sentence on it."""

    name: str

    def order(self) -> tuple[Any, ...]:
        """The arguments of the function that a node carries out."""
        ...

    def receive(self, node: str, message: Any) -> bool:
        """Write down what a node has sent; whether the job is done with that."""
        ...

    def forget(self) -> None:
        """Put back what was written of a job that is not done."""
        ...


class Cluster:
    """The cluster to which this process is connected, for one run. `device`: of a job on its node."""

    def __init__(self, work: Work) -> None:
        import ray  # pyright: ignore[reportMissingImports] (of an extra)

        self.work, self.ray = work, ray
        asked = work.spec.device
        gpu = asked.startswith("cuda") or (asked == "auto" and self._places("GPU") > 0)
        self.resource, self.device = ("GPU", "cuda:0") if gpu else ("CPU", "cpu")  # Ray shows a job its own GPU only

    def carry_out(self, function: Callable[..., Iterator[Any]], jobs: Sequence[Job]) -> None:
        """Have nodes call `function` with each job's order and pass on what it yields.

        Waits while no node has a place. Cancelled soon after the run's token asks for it. UserError for what a user can mend
        on a node, and if a job was lost MOST_TRIES times.
        """
        if self._places(self.resource) == 0:
            tell_on_stderr(f"no node of the Ray cluster has a {self.resource}: the run waits for one.")
        needs = {"num_gpus": 1} if self.resource == "GPU" else {"num_cpus": 1}
        task = self.ray.remote(**needs, num_returns="streaming", max_retries=0)(_on_node)
        waiting, running, tries, done = deque(jobs), {}, Counter[str](), set[str]()
        try:
            while waiting or running:
                while waiting and len(running) < ADVANCE * max(1, self._places(self.resource)):
                    job = waiting.popleft()
                    running[task.remote(function, *job.order())] = job
                self.work.cancel.check()
                ready, _ = self.ray.wait(list(running), num_returns=len(running), timeout=WAIT_SECONDS)
                for one in ready:
                    job = running[one]
                    try:
                        over = not self._receive(one, job, done)
                    except _Lost as lost:
                        over = True
                        if job.name not in done:
                            waiting.appendleft(job)
                            job.forget()
                            tries[job.name] += 1
                            if tries[job.name] == MOST_TRIES:
                                raise UserError(f"{job.name} was lost {MOST_TRIES} times, lastly as {lost}.") from None
                            tell_on_stderr(f"{job.name} begins anew: {lost}.")
                    if over:
                        del running[one]
        finally:
            for one, job in running.items():
                with suppress(Exception):  # the cluster may be gone
                    self.ray.cancel(one, force=True)
                if job.name not in done:
                    job.forget()

    def _receive(self, task: Any, job: Job, done: set[str]) -> bool:
        """Pass the job what it sent next; False at its end. _Lost if that will never come."""
        errors = self.ray.exceptions
        try:
            node, message = self.ray.get(next(task))
        except StopIteration:
            if job.name not in done:
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
        if job.receive(self._node_name(node), message):
            done.add(job.name)
        return True

    def _places(self, resource: str) -> int:
        """How many tasks the nodes that are alive now can run at once."""
        return int(self.ray.cluster_resources().get(resource, 0))

    def _node_name(self, node_id: str) -> str:
        """The node's host name, with the beginning of its id where several nodes are on one machine."""
        hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in self.ray.nodes()}
        host = hosts.get(node_id, "?")
        return host if list(hosts.values()).count(host) == 1 else f"{host} {node_id[:6]}"


class _Lost(Exception):
    """A job will send nothing more, through no fault of its own; says why."""


def _on_node(function: Callable[..., Iterator[Any]], *order: Any) -> Iterator[tuple[str, Any]]:
    """What a node carries out: (id of the node, message)."""
    import ray  # pyright: ignore[reportMissingImports] (of an extra)

    node = ray.get_runtime_context().get_node_id()
    for message in function(*order):
        yield node, message


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the Ray cluster at `address`, by default RAY_ADDRESS, else to one of this machine alone that ends here.

    UserError if there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    require_ray()
    import ray  # pyright: ignore[reportMissingImports] (of an extra)
    from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address.startswith("ray://"):
        raise UserError(f"{address} is for Ray's client: start the run on a node of the cluster, with --address auto.")
    local_options = {"num_cpus": lane_count("cpu"), "object_store_memory": STORE_BYTES, "include_dashboard": False}
    with _signals_kept():
        try:
            ray.init(
                address,
                **(local_options if address == "local" else {}),
                runtime_env=runtime_env(),
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise UserError(
                f"the Ray cluster {address} could not be reached ({first_line(error)}): look with `ray status`, start it "
                "with `ray start --head`, or leave --address out."
            ) from None
    try:
        yield
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


def runtime_env() -> dict[str, Any]:
    """What FDA_RAY_RUNTIME_ENV says that Ray prepares on each node. UserError if it is no JSON object."""
    text = os.environ.get("FDA_RAY_RUNTIME_ENV") or "{}"
    try:
        environment = json.loads(text)
    except ValueError:
        environment = None
    if not isinstance(environment, dict):
        raise UserError('FDA_RAY_RUNTIME_ENV is not a JSON object: write it as {"working_dir": "/data/my-zoo"}.')
    return environment
