"""Weights that a layer keeps as in × out, as GPT-2's does, shown to a method as out × in, as it finds all others.

So a method may take rows for outputs whatever the architecture. Which weights these are the model tells (`Model.in_by_out`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fda.merging.method import TaskMoments, Weights

if TYPE_CHECKING:
    from torch import Tensor


class Turned(Mapping[str, "Tensor"]):
    """A view of weights in which the tensors called `names` are transposed."""

    def __init__(self, weights: Weights, names: Collection[str]) -> None:
        self.weights, self.names = weights, names
        self.path = getattr(weights, "path", "a model")

    def __getitem__(self, name: str) -> "Tensor":
        return turned(name, self.weights[name], self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


class TurnedInputs:
    """A task's inputs, whose model takes its weights as it keeps them; moments (in × in) know no side."""

    def __init__(self, inputs: TaskMoments, names: Collection[str]) -> None:
        self._inputs, self._names = inputs, names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inputs, name)

    def logits(self, weights: Weights, inputs: Any) -> "Tensor":
        own = {name: turned(name, tensor, self._names) for name, tensor in weights.items()}
        return self._inputs.logits(own, inputs)


def turned(name: str, tensor: "Tensor", names: Collection[str]) -> "Tensor":
    return tensor.T.contiguous() if name in names else tensor


def turned_inputs(inputs: Sequence[TaskMoments] | None, names: Collection[str]) -> list[TurnedInputs] | None:
    return None if inputs is None else [TurnedInputs(one, names) for one in inputs]
