"""Views of weights that a layer stores as in × out (GPT-2's do), transposed to the out × in that methods expect.

So for every method the rows of a linear weight are its outputs. `Model.in_by_out` names the weights to transpose.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from fda.merging.method import TaskMoments, Weights
from fda.merging.views import View

if TYPE_CHECKING:
    from torch import Tensor


class Transposed(View):
    """A view of weights with the tensors called `names` transposed."""

    def __init__(self, weights: Weights, names: Collection[str]) -> None:
        self.base, self.names = weights, names
        self.path = getattr(weights, "path", "a model")

    def __getitem__(self, name: str) -> "Tensor":
        return transposed(name, self.base[name], self.names)


class TransposedInputs:
    """A task's inputs that transpose weights back before its model computes logits. Moments are symmetric: no transpose."""

    def __init__(self, inputs: TaskMoments, names: Collection[str]) -> None:
        self._inputs: Any = inputs  # anchors have only moments, real inputs are a whole TaskInputs
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inputs, name)

    def moments(self, examples: int | None = None) -> Mapping[str, "Tensor"]:
        return self._inputs.moments(examples)

    def block_moments(self, block: int, weights: Weights, examples: int | None = None) -> Mapping[str, "Tensor"]:
        return self._inputs.block_moments(block, Transposed(weights, self._names), examples)

    def logits(self, weights: Weights, inputs: Any) -> "Tensor":
        stored = {name: transposed(name, tensor, self._names) for name, tensor in weights.items()}
        return self._inputs.logits(stored, inputs)


def transposed(name: str, tensor: "Tensor", names: Collection[str]) -> "Tensor":
    """The tensor, transposed if its name is among `names`."""
    return tensor.T.contiguous() if name in names else tensor
