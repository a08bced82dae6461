"""A sweep over a method's coefficient: one merge serves all values, because the update θ − θ0 is linear in it.

The caller chooses the best value on the validation split.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fda.cancel import NEVER, Cancel
from fda.checkpoints.write import kinds_of, write_tensors
from fda.merging.merge import merged_floats
from fda.merging.method import Method, Weights
from fda.merging.views import View


def unit_update_to_file(
    method: Method,
    base: Weights,
    finetuned: Sequence[Weights],
    path: Path,
    *,
    in_by_out: Collection[str] = (),
    cancel: Cancel = NEVER,
    **hyperparameters: Any,
) -> None:
    """Write θ(1) − θ0 of every floating-point tensor, in fp32: the update at coefficient 1. `in_by_out`: as `merge`.

    ValueError for a method without a coefficient.
    """
    if method.coefficient is None:
        raise ValueError(f"{method.name} has no coefficient to sweep")
    kinds = {name: (shape, torch.float32) for name, (shape, dtype) in kinds_of(base).items() if dtype.is_floating_point}
    unit: dict[str, Any] = hyperparameters | {method.coefficient.name: 1.0}
    floats = merged_floats(method, base, finetuned, in_by_out=in_by_out, **unit)
    write_tensors(
        path,
        kinds,
        ((name, theta - base[name].float()) for name, theta in floats),
        {"method": method.name},
        cancel=cancel,
    )


class Scaled(View):
    """θ0 + value · update, read tensor by tensor, in the base's dtypes. Tensors without an update stay the base's."""

    def __init__(self, base: Weights, update: Weights, value: float) -> None:
        self.base, self.update, self.value = base, update, value

    def __getitem__(self, name: str) -> Tensor:
        theta0 = self.base[name]
        if name not in self.update:
            return theta0
        return (theta0.float() + self.value * self.update[name]).to(theta0.dtype)
