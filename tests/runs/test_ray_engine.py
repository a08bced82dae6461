"""The engine ray on real nodes of this machine: the bytes of the local engine though a node is lost, a stop, no cluster."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.stages.ray_node import moved
from fda.store.store import Store
from tests.support.runs import wait_for

pytest.importorskip("ray", reason="ray is an extra")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
SOON = {"health_check_period_ms": 300, "health_check_failure_threshold": 3}  # until a silent node counts as lost
STEPS = 400


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without places and two nodes with one each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0, "_system_config": SOON})
    try:
        for _ in range(2):
            cluster.add_node(wait=False, **NODE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def queued(zoo: Path, steps: int = STEPS, **engine: Any) -> str:
    construct = construct_settings("fast", anchors=4, steps=steps, tolerance=0.0)
    return Store().create_run(make_spec(zoo, construct=construct, device="cpu", **engine))


def test_a_lost_node_costs_its_running_unit_only_and_changes_no_byte(cluster, tiny_zoo):
    store, here = Store(), queued(tiny_zoo)
    there = queued(tiny_zoo, engine="ray", address=cluster.address)
    lost: list[str] = []

    def lose_a_node() -> bool:
        """Kill one when both have a unit in its middle. The run at work asks several times a second."""
        middle = sorted({str(u.node) for u in store.units(there) if u.state == "running" and 20 < u.step < STEPS})
        if len(middle) == 2 and not lost:
            lost.append(middle[0])
            (node,) = (one for one in cluster.worker_nodes if middle[0].endswith(one.node_id[:6]))
            cluster.remove_node(node, allow_graceful=False)
        return False

    execute(store, here, NEVER)
    execute(store, there, Cancel(lose_a_node))
    assert lost
    files = sorted(store.files(here))
    assert files == sorted(store.files(there)) and len(files) == 4
    for file in files:
        assert (store.run_dir(there) / file).read_bytes() == (store.run_dir(here) / file).read_bytes()
    for name in store.scalar_names(here):
        series, others = (store.scalars(run, name, points=None) for run in (here, there))
        assert {k: [v.tolist() for v in one] for k, one in series.items()} == {
            k: [v.tolist() for v in one] for k, one in others.items()
        }
    assert store.snapshots(there, "map").keys() == store.snapshots(here, "map").keys()
    assert {unit.node for unit in store.units(here)} == {None}
    ended = store.units(there)
    assert {unit.state for unit in ended} == {"done"} and {unit.node for unit in ended} - set(lost)


def test_a_stop_ends_the_tasks_and_leaves_nothing_half_done(cluster, tiny_zoo):
    store, run_id = Store(), queued(tiny_zoo, steps=100_000, engine="ray", address=cluster.address)
    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(lambda: any(unit.step for unit in store.units(run_id))))
    assert {unit.state for unit in store.units(run_id)} == {"pending"}
    assert store.scalars(run_id, "angle_loss") == {}
    wait_for(lambda: not [one for one in psutil.process_iter(["cmdline"]) if _works(one)], 20)


def _works(process: psutil.Process) -> bool:
    """Whether it is a process of this test's nodes that carries out a unit."""
    try:
        return "ray::_unit_task" in " ".join(process.cmdline()) and os.getpid() in {p.pid for p in process.parents()}
    except psutil.Error:
        return False


def test_the_command_constructs_on_the_cores_of_this_machine(fda, tiny_zoo, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = ("--tasks", "red", "--blocks", "0", "--anchors", "4", "--steps", "5", "--device", "cpu", "--engine", "ray")
    done = fda("construct", "--zoo", tiny_zoo, *words)
    assert done.returncode == 0, done.stderr
    (run,) = Store().runs()
    (unit,) = Store().units(run.run_id)
    assert (unit.state, unit.node) == ("done", socket.gethostname())


def test_a_cluster_that_is_not_there_is_one_sentence(tiny_zoo, monkeypatch):
    run_id = queued(tiny_zoo, engine="ray", address="auto")
    monkeypatch.setenv("FDA_RAY_RUNTIME_ENV", "working_dir")
    with pytest.raises(UserError, match="FDA_RAY_RUNTIME_ENV is not a JSON object"):
        execute(Store(), run_id, NEVER)


def test_what_ray_has_copied_is_looked_for_where_it_is():
    spec = {"zoo": {"base": "/data/zoo/base", "tasks": [{"model": "/data/zoo/red"}, {"model": "/data/zoo2/red"}]}}
    there = {"zoo": {"base": "/node/base", "tasks": [{"model": "/node/red"}, {"model": "/data/zoo2/red"}]}}
    assert moved(spec, "/data/zoo", "/node") == there
