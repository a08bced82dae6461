"""Run a merging method over lazily read weights: checks, dtype, and the tensors no method touches.

`merge` returns a state dict; `merge_to_file` writes a safetensors file tensor by tensor, so that peak memory follows the
largest tensor, not the model. The caller chooses the method and the path.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fda.cancel import NEVER, Cancel
from fda.checkpoints.write import Kind, kinds_of, write_tensors
from fda.errors import UserError
from fda.merging.math.sides import Transposed, TransposedInputs, transposed
from fda.merging.method import Method, TaskMoments, Weights
from fda.zoos.finite import looked_at


def merge(
    method: Method,
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    inputs: Sequence[TaskMoments] | None = None,
    in_by_out: Collection[str] = (),
    **hyperparameters: Any,
) -> dict[str, Tensor]:
    """The merged state dict, in the base's order and dtypes; computed in fp32, non-floating tensors taken from the base.

    `inputs`: one a task, for a method that needs more than weights. `in_by_out`: names of the linear weights that the
    model stores as in × out (`Model.in_by_out`). Raises UserError for an unknown hyperparameter or one out of its range.
    """
    floats = merged_floats(method, base, finetuned, inputs=inputs, in_by_out=in_by_out, **hyperparameters)
    merged = dict(storable(method.name, kinds_of(base), floats))
    return {name: merged.get(name, base[name]) for name in base}


def merge_to_file(
    method: Method,
    base: Weights,
    finetuned: Sequence[Weights],
    path: Path,
    metadata: Mapping[str, object],
    *,
    inputs: Sequence[TaskMoments] | None = None,
    in_by_out: Collection[str] = (),
    cancel: Cancel = NEVER,
    **hyperparameters: Any,
) -> None:
    """Write the result of `merge` to a safetensors file, each tensor as soon as it is merged.

    The file is written atomically. `cancel` is checked after each tensor. Raises as `merge`.
    """
    floats = merged_floats(method, base, finetuned, inputs=inputs, in_by_out=in_by_out, **hyperparameters)
    kinds = kinds_of(base)
    write_tensors(path, kinds, with_rest(base, storable(method.name, kinds, floats)), metadata, cancel=cancel)


def storable(
    method: str, kinds: Mapping[str, Kind], tensors: Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """Convert merged tensors to the dtypes of `kinds`. UserError, with the method's name, for one that is not finite then.

    Sums of finite weights can overflow: half precision ends at 65,504.
    """
    for name, tensor in tensors:
        stored = tensor.to(kinds[name][1])
        if (problem := looked_at(name, stored)) is not None:
            dtype = str(kinds[name][1]).removeprefix("torch.")
            raise UserError(
                f"{method}: of the merged model, {problem} as {dtype}: lower the method's coefficients with --set, or give the "
                "base in float32."
            )
        yield name, stored


def with_rest(base: Weights, tensors: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """`tensors`, then the base's tensors of all names that are missing among them."""
    rest = dict.fromkeys(base)
    for name, tensor in tensors:
        del rest[name]
        yield name, tensor
    for name in rest:
        yield name, base[name]


def merged_floats(
    method: Method,
    base: Weights,
    finetuned: Sequence[Weights],
    *,
    inputs: Sequence[TaskMoments] | None = None,
    in_by_out: Collection[str] = (),
    **hyperparameters: Any,
) -> Iterator[tuple[str, Tensor]]:
    """Check the hyperparameters and run the method: (name, fp32 tensor), lazily. `in_by_out`: as `merge`."""
    if method.merge is None:
        raise ValueError(f"{method.name} is not a weight-space method")
    unknown = sorted(set(hyperparameters) - set(method.defaults))
    if unknown:
        known = ", ".join(method.defaults) or "none"
        raise UserError(f"{method.name} has no hyperparameter {unknown[0]!r}: it has {known}.")
    for hyper in method.hyperparameters:
        value = hyperparameters.get(hyper.name, hyper.default)
        if isinstance(value, str):  # the method itself reads it
            continue
        if (hyper.low is not None and value < hyper.low) or (hyper.high is not None and value > hyper.high):
            bounds = f"at least {hyper.low:g}" if hyper.high is None else f"between {hyper.low:g} and {hyper.high:g}"
            raise UserError(f"{method.name}: {hyper.name} must be {bounds}, not {value:g}.")
    if method.needs != "nothing" and inputs is None:
        raise ValueError(f"{method.name} needs {method.needs}")
    if in_by_out:
        base, finetuned = Transposed(base, in_by_out), [Transposed(weights, in_by_out) for weights in finetuned]
        inputs = None if inputs is None else [TransposedInputs(task, in_by_out) for task in inputs]
    arguments = (base, finetuned) if method.needs == "nothing" else (base, finetuned, inputs)
    merged = method.merge(*arguments, **hyperparameters)
    return ((name, transposed(name, tensor, in_by_out)) for name, tensor in merged) if in_by_out else merged
