"""The engine ray on real nodes of this machine: the bytes of the local engine though a node is lost, a stop, no cluster."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.merging.registry import METHODS
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.stages.node_method import Piece
from fda.stages.ray_engine import _Anchors, _Method
from fda.stages.ray_node import moved
from fda.store.store import Store
from tests.support.runs import wait_for

pytest.importorskip("ray", reason="ray is an extra")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
SOON = {"health_check_period_ms": 300, "health_check_failure_threshold": 10}  # until a silent node counts as lost
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
        return "ray::_on_node" in " ".join(process.cmdline()) and os.getpid() in {p.pid for p in process.parents()}
    except psutil.Error:
        return False


def test_half_a_file_of_a_lost_node_is_gone(tmp_path):
    kept: list[Path] = []
    work: Any = SimpleNamespace(folder=tmp_path, keep=kept.append)
    job = _Method(work, METHODS["ta"], (), _Anchors(work, None), "cpu")
    job.receive("first", Piece("merged/ta.safetensors", b"half", last=False, kept=True))
    job.forget()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    for content, last in ((b"who", False), (b"le", True)):
        assert not job.receive("second", Piece("merged/ta.safetensors", content, last=last, kept=True))
    assert kept == [tmp_path / "merged" / "ta.safetensors"] and kept[0].read_bytes() == b"whole"


# these before the tests that start Ray anew, after which its nodes refuse this process
def test_methods_are_merged_and_scored_on_the_nodes_as_here(cluster, tiny_zoo):
    store, methods = Store(), ("individual", "ta", "tsv", "fda:ta", "fda:tsv", "regmean")
    here = queued(tiny_zoo, steps=20, methods=methods)
    there = queued(tiny_zoo, steps=20, methods=methods, engine="ray", address=cluster.address)
    for run_id in (here, there):
        execute(store, run_id, NEVER)
    files = sorted(store.files(here))
    assert files == sorted(store.files(there)) and any(file.startswith("merged/fda:tsv") for file in files)
    for file in [*files, *(f"predictions/{name}.safetensors" for name in ("pretrained", *methods))]:
        assert (store.run_dir(there) / file).read_bytes() == (store.run_dir(here) / file).read_bytes(), file
    results, others = ({one.method: one for one in store.results(run)[0]} for run in (here, there))
    assert set(results) == set(others) == {*methods, "pretrained"}
    for name, result in results.items():
        assert others[name].state == result.state == "done", others[name].message
        assert others[name].settings.keys() == result.settings.keys()
    assert sorted(map(str, store.results(here)[1])) == sorted(map(str, store.results(there)[1]))
    units = {unit.key: unit for unit in store.units(there) if unit.key.stage != "construct"}
    assert {unit.state for unit in units.values()} == {"done"} and None not in {unit.node for unit in units.values()}
    losses, again = (store.scalars(run, "adapt_loss", points=None) for run in (here, there))
    assert {k: [v.tolist() for v in one] for k, one in losses.items()} == {
        k: [v.tolist() for v in one] for k, one in again.items()
    }


def test_methods_are_scored_here_where_the_nodes_have_no_data(cluster, tiny_zoo, monkeypatch, capfd):
    copied = {"working_dir": str(tiny_zoo.parent), "excludes": ["data"]}
    monkeypatch.setenv("FDA_RAY_RUNTIME_ENV", json.dumps(copied))
    store = Store()
    run_id = queued(tiny_zoo, steps=2, methods=("ta",), engine="ray", address=cluster.address)
    execute(store, run_id, NEVER)
    assert {result.state for result in store.results(run_id)[0]} == {"done"}
    assert {unit.node for unit in store.units(run_id) if unit.key.stage == "evaluate"} == {None}
    assert "is computed here" in capfd.readouterr().err


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
