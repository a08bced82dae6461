"""What a merging method is, and the decorator that makes one from a function.

A method is a function `merge(base, finetuned, *, hyperparameters)` over lazily read weights that yields (name, fp32 tensor)
for every floating-point tensor, one at a time, so that peak memory follows the largest tensor. Weights of linear layers come
and go as out × in. A method that needs more than weights takes a third argument,
`merge(base, finetuned, inputs, *, hyperparameters)`: one `TaskInputs` a task, in the order of `finetuned`. Its
hyperparameters are its keyword-only arguments, each annotated with `Hyper`. Method files import torch inside their functions:
pages list methods without loading it.
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
UP_TO_3 = tuple(round(0.1 * i, 1) for i in range(1, 31))  # and that of TSV-M and Iso-C (their released code)
SWEPT = ":swept"  # ends the name of a method whose coefficient is chosen on the validation split


class TaskMoments(Protocol):
    """What linear layers are fed on one task, by real inputs or by anchors."""

    def moments(self, examples: int | None = None) -> "Mapping[str, Tensor]":
        """Weight (out × in) of each linear layer → mean over tokens of x xᵀ (in × in), fp32, on the CPU.

        x is what enters the layer in the task's finetuned model, on `examples` inputs (None: on all there are).
        """


class TaskInputs(TaskMoments, Protocol):
    """The real inputs of one task, without labels, and the frozen head that reads the model's features."""

    device: str

    def batches(self, size: int, *, examples: int | None = None, seed: int | None = None) -> "Iterator[Tensor]":
        """Inputs on the device, `size` at a time. Without a seed: one pass in order over `examples` inputs spread over the
        split (None: over all). With a seed: shuffled passes without end."""

    def logits(self, weights: Weights, inputs: "Tensor") -> "Tensor":
        """(batch, classes), differentiable in `weights`, which has every floating-point tensor, on the device."""


@dataclass(frozen=True)
class Hyper:
    """Annotation of a hyperparameter: what it is, its sensible range, and where its default comes from.

    `sweep`: the values that are tried when it is chosen on the validation split. Only for a coefficient on which the
    merged update θ − θ0 depends linearly, so that one merge serves all values.
    """

    help: str
    low: float | None = None
    high: float | None = None
    source: str = ""
    sweep: tuple[float, ...] = ()


@dataclass(frozen=True)
class Hyperparameter:
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

    `needs`: what it reads beside the checkpoints; `split`: whose inputs, if it needs inputs. `merge` is None for `individual`
    (every task its own checkpoint) and for a method with a `start`, which adapts the start's result block by block: on
    anchors (FDA) or on real block inputs (layer-wise distillation). `swept`: its coefficient is chosen on the validation split.
    `tasks`: how many it merges, if that is not the user's to choose; `least_tasks`: how many it needs at least.
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
    split: Literal["train", "test"] = "train"
    swept: bool = False
    tasks: int | None = None
    least_tasks: int = 1

    @property
    def defaults(self) -> dict[str, Any]:
        return {hyper.name: hyper.default for hyper in self.hyperparameters}

    @property
    def coefficient(self) -> Hyperparameter | None:
        """The hyperparameter that can be swept, if there is one."""
        return next((hyper for hyper in self.hyperparameters if hyper.sweep), None)

    @property
    def as_swept(self) -> "Method":
        """The same method with its coefficient chosen on the validation split."""
        return replace(self, name=self.name + SWEPT, title=f"{self.title}, swept", swept=True)


def merging_method(
    *,
    name: str,
    title: str,
    idea: str,
    paper: str,
    year: int,
    needs: Needs = "nothing",
    split: Literal["train", "test"] = "train",
    tasks: int | None = None,
    least_tasks: int = 1,
) -> Callable[[Merge], Method]:
    """Turn a merge function into a `Method`; the schema of its hyperparameters comes from its signature."""

    def wrap(merge: Merge) -> Method:
        hypers = tuple(
            _hyperparameter(parameter)
            for parameter in inspect.signature(merge).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and get_origin(parameter.annotation) is Annotated
        )
        return Method(
            name, title, idea, paper, year, needs, merge, hypers, split=split, tasks=tasks, least_tasks=least_tasks
        )

    return wrap


def _hyperparameter(parameter: inspect.Parameter) -> Hyperparameter:
    kind, hyper = get_args(parameter.annotation)
    return Hyperparameter(
        parameter.name, kind, parameter.default, hyper.help, hyper.low, hyper.high, hyper.source, hyper.sweep
    )


def all_weights(base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, "Tensor", list["Tensor"]]]:
    """(name, θ0, [τ1 … τT]) of every floating-point tensor in the base's order, in fp32, read one tensor at a time.

    The list is emptied when the next tensor is asked for, so that two tensors' task vectors are never in memory at once.
    Task vectors are the caller's to change, θ0 is not. UserError for a tensor that is not finite.
    """
    for name, theta0 in each_tensor(base):
        taus = list(task_vectors(name, theta0, finetuned))
        yield name, theta0, taus
        taus.clear()


def each_tensor(base: Weights) -> Iterator[tuple[str, "Tensor"]]:
    """(name, θ0) of every floating-point tensor in the base's order, in fp32: for methods that read one τi at a time.

    UserError for a tensor that is not finite.
    """
    for name in base:
        theta0 = base[name]
        if theta0.is_floating_point():
            theta0 = finite(name, theta0.float(), base)
            yield name, theta0


def task_vectors(name: str, theta0: "Tensor", finetuned: Sequence[Weights]) -> Iterator["Tensor"]:
    """τ1 … τT of one tensor in fp32, each read when it is asked for, the caller's to change. UserError if one is not finite."""
    return map(partial(_task_vector, name, theta0), finetuned)  # keeps none of them alive


def _task_vector(name: str, theta0: "Tensor", weights: Weights) -> "Tensor":
    import torch

    theta = weights[name].to(torch.float32, copy=True)  # float32 may be the file itself
    return finite(name, theta, weights).sub_(theta0)


def summed(taus: Sequence["Tensor"]) -> "Tensor":
    """Σ τi, made in the place of the first: where a tensor is an eighth of memory, every copy counts."""
    total = taus[0]
    for tau in taus[1:]:
        total += tau
    return total


def finite(name: str, tensor: "Tensor", weights: Weights) -> "Tensor":
    """The tensor itself. UserError if it holds NaN or infinity: merged, they would spread without a word."""
    from fda.zoos.finite import looked_at

    if (wrong := looked_at(name, tensor)) is not None:
        raise UserError(
            f"{getattr(weights, 'path', 'a model')}: {wrong}: copy or download it again, or give another checkpoint."
        )
    return tensor
