"""What a merging method is, and the decorator that makes one from a function.

A method is a function `merge(base, finetuned, *, hyperparameters)` over lazily read weights that yields (name, fp32 tensor)
for every floating-point tensor, one at a time, so that peak memory follows the largest tensor. Linear weights are out × in,
on input and on output. A method that needs more than weights takes a third argument,
`merge(base, finetuned, inputs, *, hyperparameters)`: one `TaskInputs` a task, in the order of `finetuned`. Its
hyperparameters are its keyword-only arguments, each annotated with `Hyper`. Method files import torch inside their functions,
so that pages can list methods without loading it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, get_args, get_origin

from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


Needs = Literal["nothing", "inputs", "labels", "anchors"]
Weights = Mapping[str, "Tensor"]
Merge = Callable[..., Iterator[tuple[str, "Tensor"]]]
UP_TO_1 = tuple(round(0.05 * i, 2) for i in range(1, 21))  # sweeps: task arithmetic's grid (Ilharco et al. 2023)
UP_TO_3 = tuple(round(0.1 * i, 1) for i in range(1, 31))  # sweeps: the grid of TSV-M's and Iso-C's released code
# Starts from which adaptation trains the weights, as the paper does from the pretrained model; from the others it trains
# element-wise coefficients of the start's update.
WEIGHT_STARTS = ("pretrained", "sum")
SWEPT = ":swept"  # suffix of a method whose coefficient is chosen on the validation split


class TaskMoments(Protocol):
    """Second moments of the inputs of linear layers on one task, from real inputs or from anchors."""

    def moments(self, examples: int | None = None) -> "Mapping[str, Tensor]":
        """Weight (out × in) of each linear layer → mean over tokens of x xᵀ (in × in), fp32, on the CPU.

        x enters the layer in the task's finetuned model; `examples`: how many inputs to take (None: all).
        """
        ...


class TaskInputs(TaskMoments, Protocol):
    """The real inputs of one task, without labels, and the frozen head that reads the model's features."""

    device: str
    blocks: Sequence[str]  # what precedes the tensors' names of each block, in forward order

    def block_moments(self, block: int, weights: Weights, examples: int | None = None) -> "Mapping[str, Tensor]":
        """`moments` of one block's linear layers only, with the model's weights as given instead of the finetuned ones."""
        ...

    def batches(self, size: int, *, examples: int | None = None, seed: int | None = None) -> "Iterator[Tensor]":
        """Inputs on the device, `size` at a time.

        Without a seed: one pass in order over `examples` inputs spread over the split (None: all). With a seed: endless
        shuffled passes.
        """
        ...

    def logits(self, weights: Weights, inputs: "Tensor") -> "Tensor":
        """(batch, classes), differentiable in `weights`, which hold every floating-point tensor, on the device."""
        ...


@dataclass(frozen=True)
class Hyper:
    """Annotation of a hyperparameter: what it is, its allowed range, and the source of its default.

    `sweep`: the values to try on the validation split. Only for a coefficient on which the merged update θ − θ0 depends
    linearly, so that one merge serves all values.
    """

    help: str
    low: float | None = None
    high: float | None = None
    source: str = ""
    sweep: tuple[float, ...] = ()


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter of a method: the fields of `Hyper`, with name, type and default."""

    name: str
    type: type
    default: Any
    help: str
    low: float | None
    high: float | None
    source: str
    sweep: tuple[float, ...] = ()


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    `year`: of the paper, None without one. `needs`: what it reads beside the checkpoints; `split`: the split of its inputs.
    `merge` is None for `individual` (each task keeps its checkpoint) and for a method with a `start`: it adapts the model
    merged by the method `start` block by block, on anchors (FDA) or on real block inputs (layer-wise distillation).
    `swept`: its coefficient is chosen on the validation split. `tasks`: the number of tasks it merges, where it is fixed;
    `least_tasks`: the smallest number.
    """

    name: str
    title: str
    idea: str
    paper: str = ""
    year: int | None = None
    needs: Needs = "nothing"
    merge: Merge | None = None
    hyperparameters: tuple[Hyperparameter, ...] = ()
    start: str | None = None
    split: Literal["train", "test"] = "train"
    swept: bool = False
    tasks: int | None = None
    least_tasks: int = 1

    @property
    def defaults(self) -> dict[str, Any]:
        return {hyper.name: hyper.default for hyper in self.hyperparameters}

    @property
    def coefficient(self) -> Hyperparameter | None:
        """The hyperparameter that can be swept; None if there is none."""
        return next((hyper for hyper in self.hyperparameters if hyper.sweep), None)

    @property
    def trained(self) -> Literal["weights", "coefficients"]:
        """What a method with a `start` trains when it adapts that model."""
        return "weights" if self.start in WEIGHT_STARTS else "coefficients"

    @property
    def as_swept(self) -> "Method":
        """The same method with its coefficient chosen on the validation split."""
        return replace(self, name=self.name + SWEPT, title=f"{self.title}, swept", swept=True)


def merging_method(
    *,
    name: str,
    title: str,
    idea: str,
    paper: str = "",
    year: int | None = None,
    needs: Needs = "nothing",
    split: Literal["train", "test"] = "train",
    tasks: int | None = None,
    least_tasks: int = 1,
) -> Callable[[Merge], Method]:
    """Turn a merge function into a `Method`; the schema of its hyperparameters comes from its signature."""

    def wrap(merge: Merge) -> Method:
        hypers = hyperparameters_of(merge)
        return Method(
            name, title, idea, paper, year, needs, merge, hypers, split=split, tasks=tasks, least_tasks=least_tasks
        )

    return wrap


def hyperparameters_of(function: Callable[..., Any]) -> tuple[Hyperparameter, ...]:
    """The keyword-only parameters that are annotated with `Hyper`."""
    return tuple(
        _hyperparameter(parameter)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and get_origin(parameter.annotation) is Annotated
    )


def _hyperparameter(parameter: inspect.Parameter) -> Hyperparameter:
    kind, hyper = get_args(parameter.annotation)
    return Hyperparameter(
        parameter.name, kind, parameter.default, hyper.help, hyper.low, hyper.high, hyper.source, hyper.sweep
    )


def all_weights(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor", list["Tensor"]]]:
    """(name, θ0, [τ1 … τT]) of every floating-point tensor in the base's order, in fp32, read one tensor at a time.

    The generator empties the list before it reads the next tensor: task vectors of two tensors are never in memory
    together. Callers may change the task vectors in place, but not θ0. UserError for a tensor that is not finite.
    """
    for name, theta0 in each_tensor(base):
        taus = list(task_vectors(name, theta0, finetuned))
        yield name, theta0, taus
        taus.clear()


def each_tensor(base: Weights) -> Iterator[tuple[str, "Tensor"]]:
    """(name, θ0) of every floating-point tensor in the base's order, in fp32, for methods that read one τi at a time.

    UserError for a tensor that is not finite.
    """
    for name in base:
        theta0 = base[name]
        if theta0.is_floating_point():
            theta0 = finite(name, theta0.float(), base)
            yield name, theta0


def task_vectors(name: str, theta0: "Tensor", finetuned: Sequence[Weights]) -> Iterator["Tensor"]:
    """τ1 … τT of one tensor in fp32, read lazily; callers may change them in place. UserError if one is not finite."""
    return map(partial(_task_vector, name, theta0), finetuned)  # a generator would keep the last τ alive


def _task_vector(name: str, theta0: "Tensor", weights: Weights) -> "Tensor":
    import torch

    theta = weights[name].to(torch.float32, copy=True)  # a float32 tensor may be the mapped file itself
    return finite(name, theta, weights).sub_(theta0)


def summed(taus: Sequence["Tensor"]) -> "Tensor":
    """Σ τi, computed in place of τ1: a copy counts where one tensor takes an eighth of the memory."""
    total = taus[0]
    for tau in taus[1:]:
        total += tau
    return total


def total(taus: Sequence["Tensor"]) -> "Tensor":
    """Σ τi, a new tensor."""
    return summed([taus[0] + 0, *taus[1:]])


def finite(name: str, tensor: "Tensor", weights: Weights) -> "Tensor":
    """Returns the tensor. UserError if it holds NaN or infinity, which a merge would spread silently."""
    from fda.zoos.finite import looked_at

    if (problem := looked_at(name, tensor)) is not None:
        raise UserError(
            f"{getattr(weights, 'path', 'a model')}: {problem}: copy or download it again, or give another checkpoint."
        )
    return tensor
