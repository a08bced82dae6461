"""Carry out one run, from its spec to its numbers in the store. Runs inside a worker; knows no process and no page."""

from contextlib import AbstractContextManager, nullcontext

import torch

from fda.cancel import Cancel
from fda.errors import UserError
from fda.stages.compare import compare_methods
from fda.stages.construct import construct_units
from fda.stages.landscape import compute_landscape
from fda.stages.published import import_units
from fda.stages.work import Work
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.tasks.image_sizes import counted_on_data
from fda.zoos.finite import require_finite
from fda.zoos.survey import OpenZoo, open_zoo

__all__ = ["check_spec", "execute"]


def execute(store: Store, run_id: str, cancel: Cancel) -> None:
    """Construct (or import), compare and compute the landscape as the spec says, skipping finished work.

    Raises Cancelled soon after `cancel` asks for it, and UserError for a request that cannot be carried out.
    """
    spec = store.run(run_id).spec
    device = worker_device(spec)
    opened = counted_on_data(open_zoo(spec.zoo, spec.tasks))
    check_spec(spec, opened)
    work = Work(store, run_id, spec, opened, device, cancel)
    with store.held_open(), _cluster_of(spec):
        if spec.published is not None:
            import_units(work)
        elif spec.construction is not None:
            construct_units(work)
        if spec.methods:
            work.phases.finish("start")
            compare_methods(work)
        if spec.landscape is not None:
            compute_landscape(work)


def _cluster_of(spec: RunSpec) -> AbstractContextManager[None]:
    """The Ray cluster of a run with the engine ray: one connection for all stages, whose nodes begin once."""
    if spec.engine != "ray":
        return nullcontext()
    from fda.stages.ray_cluster import connected  # Ray is an extra

    return connected(spec.address)


def check_spec(spec: RunSpec, opened: OpenZoo) -> None:
    """UserError if the spec names a missing block, or if a checkpoint holds NaN or infinity."""
    count = len(opened.model.blocks)
    missing = [block for block in spec.blocks if not 0 <= block < count]
    if missing:
        raise UserError(f"there is no block {missing[0]}: this model has blocks 0 to {count - 1}.")
    require_finite(opened)


def worker_device(spec: RunSpec) -> str:
    """The device of the run's own process: with the engine ray, units may be on GPUs of other machines and this has none."""
    return resolve_device("auto" if spec.engine == "ray" and spec.device != "cpu" else spec.device)


def resolve_device(name: str) -> str:
    """Resolve `auto` to the best device of this machine; UserError for a device that it lacks.

    Convolutions on a GPU then keep float32, as matrix products do, instead of cuDNN's default of ten bits (TF32).
    """
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"there is no device {name!r} here: use auto, cpu, or one that torch finds.") from None
    return name
