"""The parts of mixes, each computed once and kept in memory within a bound, those longest unused thrown away.

Where a method's update is linear in a coefficient (`Method.coefficient`), the update is kept and every value of the coefficient
costs one multiplication and one addition: in the order in which the methods themselves do it, so that the bytes are the same
(`tests/stages/test_mix.py` holds that for each of them).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from fda.cancel import NEVER, Cancel
from fda.checkpoints.write import kinds_of
from fda.merging.merge import merged_floats, storable
from fda.merging.method import Method, Weights
from fda.merging.registry import METHODS, method
from fda.merging.views import View
from fda.requests.recipe import PRETRAINED, Part, Recipe
from fda.stages.mix import Reweighted, finished_model, merged_inputs
from fda.store.store import Store
from fda.zoos.survey import OpenZoo

Key = tuple[Any, ...]


def is_linear(one: Method) -> bool:
    """Whether a method's kept update serves all values of its coefficient. Names that are put together are computed anew."""
    return one.coefficient is not None and dict.__contains__(METHODS, one.name)


class PartKey(NamedTuple):
    """Equal for parts whose models are equal. `value`: of the coefficient in which the update of the model `of` is linear."""

    of: Key
    value: float | None = None


UNCHANGED = PartKey((PRETRAINED,))


def part_key(part: Part, recipe: Recipe, opened: OpenZoo) -> PartKey:
    if not _merges(part):
        return PartKey((part.method,))
    plan = _plan(part, recipe, opened)
    return PartKey(plan.key, plan.value)


@dataclass(frozen=True)
class _Plan:
    """How a part is merged. `value`: of the coefficient of a linear method, which `settings` then have at 1; else None."""

    one: Method
    factors: list[tuple[str, float]]
    settings: dict[str, Any]
    value: float | None

    @property
    def key(self) -> Key:
        return (self.one.name, tuple(self.factors), tuple(sorted(self.settings.items())))


def _merges(part: Part) -> bool:
    return part.run_id is None and part.task is None and part.method != PRETRAINED


def _plan(part: Part, recipe: Recipe, opened: OpenZoo) -> _Plan:
    one, value = method(part.name), None
    factors, settings = merged_inputs(part, opened, recipe)
    if one.coefficient is not None and is_linear(one):
        value, settings = settings[one.coefficient.name], settings | {one.coefficient.name: 1.0}
    return _Plan(one, factors, settings, value)


class Held(View):
    """Weights whose tensors stay in memory once they are read, as long as there is room: `take` asks for bytes of it."""

    def __init__(self, weights: Weights, take: Callable[[int], bool]) -> None:
        self.base, self._take = weights, take
        self._held: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._held.get(name)
        if tensor is None:
            tensor = self.base[name]
            if self._take(tensor.nbytes):
                self._held[name] = tensor = tensor.clone()  # not the mapped file
        return tensor


class Updates(View):
    """θ − θ0 in float32 under the names of θ0; with θ = θ0, zeros."""

    def __init__(self, base: Weights, finetuned: Weights) -> None:
        self.base, self.finetuned = base, finetuned

    def __getitem__(self, name: str) -> Tensor:
        theta0 = self.base[name]
        return self.finetuned[name].float() - theta0.float() if theta0.is_floating_point() else theta0


class Parts:
    """The parts of one zoo's mixes. `room`: bytes that kept parts and checkpoints may take beside the base."""

    def __init__(self, opened: OpenZoo, store: Store, room: int) -> None:
        self.opened, self.store, self.room = opened, store, room
        self.base = {name: opened.base[name].clone() for name in opened.base}
        self.kinds = kinds_of(self.base)
        self._inputs_room = self._parts_room = room // 2
        self._finished: dict[str, Weights | None] = {}
        self._finetuned = {name: Held(weights, self._take) for name, weights in opened.tasks.items()}
        self._kept: OrderedDict[Key, dict[str, Tensor]] = OrderedDict()

    def tensors(
        self, part: Part, recipe: Recipe, names: Iterable[str], cancel: Cancel = NEVER
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor in the base's dtype) of these floating-point tensors of a part's model, as `mix.part_tensors`."""
        finished = self._finished_model(part)
        if finished is not None:
            return storable(part.method, self.kinds, ((name, finished[name]) for name in names))
        plan = _plan(part, recipe, self.opened)
        made = self._made(plan, cancel)
        floats = (
            (name, made[name] if plan.value is None else self._scaled(name, made[name], plan.value)) for name in names
        )
        return storable(part.method, self.kinds, floats)

    def is_kept(self, part: Part, recipe: Recipe) -> bool:
        """Whether `tensors` has nothing to merge."""
        return not _merges(part) or _plan(part, recipe, self.opened).key in self._kept

    def _scaled(self, name: str, update: Tensor, value: float) -> Tensor:
        return (update * value).add_(self.base[name].float())

    def _finished_model(self, part: Part) -> Weights | None:
        if _merges(part):
            return None
        if part.method not in self._finished:
            self._finished[part.method] = finished_model(part, self.opened, self.store)
        return self._finished[part.method]

    def _made(self, plan: _Plan, cancel: Cancel) -> dict[str, Tensor]:
        """A method's merged model; for a linear method its update at coefficient 1."""
        if plan.key in self._kept:
            self._kept.move_to_end(plan.key)
            return self._kept[plan.key]
        base: Mapping[str, Tensor] = self.base
        finetuned: list[Mapping[str, Tensor]] = [
            self._finetuned[task] if factor == 1 else Reweighted(base, self._finetuned[task], factor)
            for task, factor in plan.factors
        ]
        if plan.value is not None:
            base, finetuned = Updates(base, base), [Updates(base, each) for each in finetuned]
        made: dict[str, Tensor] = {}
        for name, tensor in merged_floats(
            plan.one, base, finetuned, in_by_out=self.opened.model.in_by_out, **plan.settings
        ):
            made[name] = tensor.float()
            cancel.check()
        self._kept[plan.key] = made
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._parts_room:
            self._kept.popitem(last=False)
        return made

    def _take(self, count: int) -> bool:
        if count > self._inputs_room:
            return False
        self._inputs_room -= count
        return True


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())
