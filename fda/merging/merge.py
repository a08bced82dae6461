"""Run a merging method over lazily read weights: checks, dtype, and the tensors no method touches."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fda.errors import UserError
from fda.merging.method import Method, Weights


def merge(method: Method, base: Weights, finetuned: Sequence[Weights], **hyperparameters: Any) -> dict[str, Tensor]:
    """The merged state dict, in the base's order and dtypes; computed in fp32, non-floating tensors taken from the base.

    Raises UserError for a hyperparameter the method does not have.
    """
    if method.merge is None:
        raise ValueError(f"{method.name} is not a weight-space method")
    unknown = sorted(set(hyperparameters) - set(method.defaults))
    if unknown:
        known = ", ".join(method.defaults) or "none"
        raise UserError(f"{method.name} has no hyperparameter {unknown[0]!r}: it has {known}.")
    floats = dict(method.merge(base, finetuned, **hyperparameters))
    return {name: floats[name].to(base[name].dtype) if name in floats else base[name] for name in base}
