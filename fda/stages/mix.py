"""A recipe's tensors: each part's method merges the whole model, of which the part takes its blocks.

So a part on one block holds exactly what the method gives that block in a whole merge, also where a method looks at all
blocks at once. `mix_to_file` writes a mix tensor by tensor; `fda.stages.mix_parts` keeps parts in memory for the mixer.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fda.architectures.model import Model
from fda.cancel import NEVER, Cancel
from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import kinds_of, write_tensors
from fda.errors import UserError
from fda.merging.merge import merged_floats, storable, with_rest
from fda.merging.method import Weights
from fda.merging.registry import method
from fda.merging.views import View
from fda.requests.recipe import PRETRAINED, Part, Recipe, assigned, recipe_text, settings_of
from fda.store.files import merged_file
from fda.store.finished import require_whole
from fda.store.store import Store
from fda.zoos.survey import OpenZoo, header_problem

Place = int | None  # the number of a block; None: outside blocks


def block_names(model: Model) -> tuple[str, ...]:
    """The blocks' names in recipes: what their tensors' names begin with, without the dot at its end."""
    return tuple(block.prefix.removesuffix(".") for block in model.blocks)


def names_by_place(opened: OpenZoo) -> dict[Place, list[str]]:
    """Place → the names of its floating-point tensors, in the base's order; the tensors outside blocks first."""
    places = {block.prefix + name: block.index for block in opened.model.blocks for name in block.names}
    names: dict[Place, list[str]] = {None: [], **{block.index: [] for block in opened.model.blocks}}
    for name, (_, dtype) in kinds_of(opened.base).items():
        if dtype.is_floating_point:
            names[places.get(name)].append(name)
    return names


class Reweighted(View):
    """θ0 + factor · (θ − θ0) in float32, read tensor by tensor."""

    def __init__(self, base: Weights, finetuned: Weights, factor: float) -> None:
        self.base, self.finetuned, self.factor = base, finetuned, factor

    def __getitem__(self, name: str) -> Tensor:
        theta0 = self.base[name]
        if not theta0.is_floating_point():
            return theta0
        return (self.finetuned[name].float() - theta0.float()).mul_(self.factor).add_(theta0.float())


def merged_inputs(part: Part, opened: OpenZoo, recipe: Recipe) -> tuple[list[tuple[str, float]], dict[str, Any]]:
    """([(task, factor on its task vector)], the method's hyperparameters) of a part that merges.

    Task arithmetic has a hyperparameter for factors that are not negative, and gets them there.
    """
    tasks = recipe.merged_tasks(opened.zoo)
    settings = {name: value for name, value in settings_of(part, opened.zoo).items() if value != ""}
    factors = {task: part.weights.get(task, 1.0) for task in tasks}
    if part.name == "ta" and set(factors.values()) != {1.0} and min(factors.values()) >= 0:
        settings["weights"] = ",".join(map(repr, factors.values()))
        factors = dict.fromkeys(tasks, 1.0)
    return list(factors.items()), settings


def finished_model(part: Part, opened: OpenZoo, store: Store) -> Weights | None:
    """The weights that a part takes as they are: the base, a finetuned model, or a run's merged model; None if it merges.

    UserError if the run has no such model, or one of another zoo.
    """
    if part.method == PRETRAINED:
        return opened.base
    if part.task is not None:
        return opened.tasks[part.task]
    if part.run_id is None:
        return None
    run, name = store.run(part.run_id), method(part.name).name
    path = merged_file(store.run_dir(part.run_id), name)
    if run.spec.zoo.name != opened.zoo.name:
        raise UserError(
            f"run {part.run_id} merged models of the zoo {run.spec.zoo.name!r}: take one of {opened.zoo.name!r}."
        )
    if not path.is_file():
        raise UserError(f"run {part.run_id} keeps no merged model of {name}: compare it there, or take another run.")
    require_whole(store, part.run_id, path)
    weights = Checkpoint(path)
    if wrong := header_problem({name: info.shape for name, info in opened.base.header.items()}, weights, "the base"):
        raise UserError(wrong)
    return weights


def part_tensors(
    part: Part, recipe: Recipe, opened: OpenZoo, store: Store, names: Sequence[str]
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor in the base's dtype) of these floating-point tensors of a part's model."""
    wanted, kinds = set(names), kinds_of(opened.base)
    finished = finished_model(part, opened, store)
    if finished is not None:
        yield from storable(part.method, kinds, ((name, finished[name]) for name in names))
        return
    factors, settings = merged_inputs(part, opened, recipe)
    finetuned = [
        opened.tasks[task] if factor == 1 else Reweighted(opened.base, opened.tasks[task], factor)
        for task, factor in factors
    ]
    floats = merged_floats(method(part.name), opened.base, finetuned, in_by_out=opened.model.in_by_out, **settings)
    yield from storable(part.method, kinds, ((name, tensor) for name, tensor in floats if name in wanted))


def mix_to_file(
    recipe: Recipe,
    opened: OpenZoo,
    store: Store,
    path: Path,
    *,
    cancel: Cancel = NEVER,
) -> None:
    """Write a checked recipe's model to a safetensors file, with the recipe in its metadata. UserError as `assigned`."""
    parts, names = assigned(recipe, block_names(opened.model)), names_by_place(opened)

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for number, part in enumerate(recipe.parts):
            part_names = [name for place, of_place in names.items() if parts.get(place) == number for name in of_place]
            yield from part_tensors(part, recipe, opened, store, part_names)

    about = {"recipe": recipe_text(recipe)}
    write_tensors(path, kinds_of(opened.base), with_rest(opened.base, tensors()), about, cancel=cancel)
