"""The engine ray on real nodes of this machine: the bytes of the local engine, a lost node, a stop, wrong clusters."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.requests.runs import construct_settings, make_spec
from fda.stages.execute import execute
from fda.store.store import Store

pytest.importorskip("ray", reason="ray is an extra")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without places, and two nodes with one each."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 0})
    try:
        nodes.workers = [nodes.add_node(wait=False, **NODE) for _ in range(2)]
        nodes.wait_for_nodes()
        yield nodes
    finally:
        nodes.shutdown()


def constructed(zoo: Path, **changes: Any) -> str:
    """The id of a run that constructs, on the store of FDA_HOME."""
    stop = changes.pop("stop", NEVER)
    steps = changes.pop("steps", 40)
    spec = make_spec(zoo, construct=construct_settings("fast", anchors=4, steps=steps), device="cpu", **changes)
    store = Store()
    run_id = store.create_run(spec)
    execute(store, run_id, stop)
    return run_id


def test_two_nodes_make_the_bytes_and_numbers_of_this_machine(cluster, tiny_zoo):
    here = constructed(tiny_zoo)
    there = constructed(tiny_zoo, engine="ray", address=cluster.address)
    store = Store()
    files = sorted(store.files(here))
    assert files == sorted(store.files(there)) and len(files) == 4
    for file in files:
        assert (store.run_dir(there) / file).read_bytes() == (store.run_dir(here) / file).read_bytes()
    for name in store.scalar_names(here):
        for key, (steps, values) in store.scalars(here, name, points=None).items():
            others = store.scalars(there, name, points=None)[key]
            assert others[0].tolist() == steps.tolist() and others[1].tolist() == values.tolist()
    assert {u.node for u in store.units(here)} == {None}
    assert len({u.node for u in store.units(there)}) == 2
