"""What a merging method is, and the decorator that makes one from a function.

A method is a function `merge(base, finetuned, *, hyperparameters)` over lazily read weights that yields (name, fp32 tensor)
for every floating-point tensor, one at a time, so that peak memory follows the largest tensor. Its hyperparameters are its
keyword-only arguments, each annotated with `Hyper`. Method files import torch inside their functions: pages list methods
without loading it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from torch import Tensor

Needs = Literal["nothing", "inputs", "labels", "anchors"]
Weights = Mapping[str, "Tensor"]
Merge = Callable[..., Iterator[tuple[str, "Tensor"]]]


@dataclass(frozen=True)
class Hyper:
    """Annotation of a hyperparameter: what it is, its sensible range, and where its default comes from."""

    help: str
    low: float | None = None
    high: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Hyperparameter:
    name: str
    type: type
    default: Any
    help: str
    low: float | None
    high: float | None
    source: str


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    `needs`: what it reads beside the checkpoints. `merge` is None for `individual` (every task its own checkpoint) and for
    FDA from a `start`, which adapts the start's result on anchors.
    """

    name: str
    title: str
    idea: str
    paper: str
    year: int
    needs: Needs = "nothing"
    merge: Merge | None = None
    hyperparameters: tuple[Hyperparameter, ...] = ()
    start: str | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        return {hyper.name: hyper.default for hyper in self.hyperparameters}


def merging_method(
    *, name: str, title: str, idea: str, paper: str, year: int, needs: Needs = "nothing"
) -> Callable[[Merge], Method]:
    """Turn a merge function into a `Method`; the schema of its hyperparameters comes from its signature."""

    def wrap(merge: Merge) -> Method:
        hypers = tuple(
            _hyperparameter(parameter)
            for parameter in inspect.signature(merge).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and get_origin(parameter.annotation) is Annotated
        )
        return Method(name, title, idea, paper, year, needs, merge, hypers)

    return wrap


def _hyperparameter(parameter: inspect.Parameter) -> Hyperparameter:
    kind, hyper = get_args(parameter.annotation)
    return Hyperparameter(parameter.name, kind, parameter.default, hyper.help, hyper.low, hyper.high, hyper.source)


def all_weights(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor", list["Tensor"]]]:
    """(name, θ0, [τ1 … τT]) of every floating-point tensor in the base's order, in fp32, read one tensor at a time."""
    for name in base:
        theta0 = base[name]
        if theta0.is_floating_point():
            theta0 = theta0.float()
            yield name, theta0, [weights[name].float() - theta0 for weights in finetuned]


def is_matrix(name: str, tensor: "Tensor") -> bool:
    """The one rule for which tensors SVD-based methods treat as matrices: 2-D, and not the text projection.

    Every other floating-point tensor is averaged by them; integer and boolean tensors stay the base's in every method.
    Source: the released code of TSV-M and Iso-C.
    """
    return tensor.ndim == 2 and "text_projection" not in name
