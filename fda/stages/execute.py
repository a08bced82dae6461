"""The work of one run, from its spec to its numbers in the store. Runs inside a worker; knows no process and no page."""

from collections.abc import Callable

import torch

from fda.errors import UserError
from fda.jobs.stopped import Stopped
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

__all__ = ["Stopped", "check_spec", "execute"]


def execute(store: Store, run_id: str, should_stop: Callable[[], bool]) -> None:
    """Construct (or import), compare and look at the landscape as the run's spec asks, leaving out what is already done.

    Raises Stopped as soon as `should_stop()` is true, and UserError for a request that cannot be carried out.
    """
    spec = store.run(run_id).spec
    device = resolve_device(spec.device)
    opened = counted_on_data(open_zoo(spec.zoo, spec.tasks))
    check_spec(spec, opened)
    work = Work(store, run_id, spec, opened, device, should_stop)
    if spec.published is not None:
        import_units(work)
    elif spec.construction is not None:
        construct_units(work)
    if spec.methods:
        compare_methods(work)
    if spec.landscape is not None:
        compute_landscape(work)


def check_spec(spec: RunSpec, opened: OpenZoo) -> None:
    """UserError if the spec names a block that the model lacks an engine that does not work, or if a number is not finite."""
    if spec.engine == "ray":  # stored before it was refused
        raise UserError("the run asks for the engine ray, which does not work yet: start it again without --engine.")
    count = len(opened.model.blocks)
    wrong = [block for block in spec.blocks if not 0 <= block < count]
    if wrong:
        raise UserError(f"there is no block {wrong[0]}: this model has blocks 0 to {count - 1}.")
    require_finite(opened)


def resolve_device(name: str) -> str:
    """`auto` becomes the best device there is; UserError for one that is not there."""
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"there is no device {name!r} here: use auto, cpu, or one that torch finds.") from None
    return name
