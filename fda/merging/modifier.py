"""What a modifier is: a rule on top of any method that needs only checkpoints, asked for as `MODIFIER:METHOD`.

It gets the method's merge with all its hyperparameters bound, and may change the task vectors that the merge sees, or what it
yields. The registry makes `larv:tsv` from the modifier and the method when it is asked for that name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fda.merging.method import Hyperparameter, Method, Weights, hyperparameters_of

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Iterator[tuple[str, "Tensor"]]
Merged = Callable[[Weights, Sequence[Weights]], Tensors]


@dataclass(frozen=True)
class Modifier:
    """`apply(merge, base, finetuned, *, hyperparameters)` yields what a merge does.

    `linear`: where the merged update depends linearly on a coefficient, it still does; then it can be swept.
    """

    name: str
    title: str
    idea: str
    paper: str
    year: int
    apply: Callable[..., Tensors]
    hyperparameters: tuple[Hyperparameter, ...]
    linear: bool

    def on(self, method: Method) -> Method:
        """`method` with this modifier on top. Its hyperparameters are the method's and the modifier's own."""
        assert method.merge is not None, "modifiers go on methods that merge"
        kept = method.hyperparameters if self.linear else tuple(replace(h, sweep=()) for h in method.hyperparameters)
        return replace(
            method,
            name=f"{self.name}:{method.name}",
            title=f"{method.title} + {self.title}",
            idea=f"{method.idea} On top: {self.idea[0].lower()}{self.idea[1:]}",
            paper=self.paper,
            year=self.year,
            merge=partial(self._merge, method.merge),
            hyperparameters=(*kept, *self.hyperparameters),
        )

    def _merge(
        self, merge: Callable[..., Tensors], base: Weights, finetuned: Sequence[Weights], **given: Any
    ) -> Tensors:
        own_values = {hyper.name: given.pop(hyper.name) for hyper in self.hyperparameters if hyper.name in given}
        return self.apply(partial(merge, **given), base, finetuned, **own_values)


def modifier(
    *, name: str, title: str, idea: str, paper: str, year: int, linear: bool
) -> Callable[[Callable[..., Tensors]], Modifier]:
    """Turn a function into a `Modifier`; the schema of its hyperparameters comes from its signature."""

    def wrap(apply: Callable[..., Tensors]) -> Modifier:
        return Modifier(name, title, idea, paper, year, apply, hyperparameters_of(apply), linear)

    return wrap


class Rescaled(Mapping[str, "Tensor"]):
    """A finetuned model with every task vector multiplied by `factor(name, τ)`: a number, or a tensor that fits τ."""

    def __init__(self, base: Weights, weights: Weights, factor: Callable[[str, "Tensor"], "float | Tensor"]) -> None:
        self.base, self.weights, self.factor = base, weights, factor
        self.path = getattr(weights, "path", "a model")

    def __getitem__(self, name: str) -> "Tensor":
        theta = self.weights[name]
        if not theta.is_floating_point():
            return theta
        theta0 = self.base[name].float()
        tau = theta.float() - theta0
        factor = self.factor(name, tau)
        if isinstance(factor, float) and factor == 1:
            return theta
        return tau.mul_(factor).add_(theta0)

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)
