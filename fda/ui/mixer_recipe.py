"""A recipe as the desk of the Mixer shows it: its groups of blocks, and a λ for each task. Imports no streamlit.

The λ of a task is the method's coefficient times the task's weight: `θ0 + λ_digits τ_digits + …` for task arithmetic. A method
without a coefficient has the weight alone.
"""

from collections.abc import Sequence

from fda.merging.registry import method as known_method
from fda.requests.recipe import INDIVIDUAL, PRETRAINED, REST, Part, Recipe, settings_of
from fda.zoos.zoo import Zoo

WEIGHTED = ("ta", "tsv", "iso_c", "swudi")  # methods that the page offers for any group
LEAST, MOST = -0.5, 1.5  # λ that a slider offers
DIGITS = 4  # of a λ
ALL, THIRDS, ONE = DIVISIONS = ("All alike", "Thirds", "One block apart")


def is_fixed(part: Part) -> bool:
    """Whether a part is taken from a finished model, so that λ does not apply."""
    return part.run_id is not None or part.name in (PRETRAINED, INDIVIDUAL)


def usual(part: Part, zoo: Zoo) -> float:
    """λ of every task with the method's defaults."""
    return _coefficient(part.model_copy(update={"settings": {}}), zoo)


def lambdas_of(part: Part, recipe: Recipe, zoo: Zoo) -> tuple[float, ...]:
    """λ of each merged task, in their order; zeros for a fixed part."""
    tasks = recipe.merged_tasks(zoo)
    if is_fixed(part):
        return (0.0,) * len(tasks)
    coefficient = _coefficient(part, zoo)
    return tuple(round(coefficient * part.weights.get(task, 1.0), DIGITS) for task in tasks)


def with_lambdas(part: Part, lambdas: Sequence[float], recipe: Recipe, zoo: Zoo) -> Part:
    """The part with these λ of the merged tasks: as its coefficient if all are alike, so that a mix of task arithmetic is then
    the model of the method itself; else as weights beside the default coefficient."""
    if is_fixed(part):
        return part
    lambdas = [round(value, DIGITS) for value in lambdas]
    bare = part.model_copy(update={"weights": {}, "settings": _without_coefficient(part)})
    coefficient = known_method(part.name).coefficient
    default = usual(part, zoo)
    if len(set(lambdas)) == 1:
        common = lambdas[0]
        if common == default:
            return bare
        if coefficient is not None and (coefficient.low or 0) <= common <= (coefficient.high or 0):
            return bare.model_copy(update={"settings": bare.settings | {coefficient.name: common}})
    pairs = zip(recipe.merged_tasks(zoo), lambdas, strict=True)
    weights = {task: value / default for task, value in pairs if value != default}
    return bare.model_copy(update={"weights": weights})


def with_part(recipe: Recipe, index: int, part: Part) -> Recipe:
    """The recipe with another part of this number."""
    parts = [*recipe.parts]
    parts[index] = part
    return recipe.model_copy(update={"parts": tuple(parts)})


def of_method(part: Part, method: str) -> Part:
    """The same blocks from another method, with its defaults."""
    return Part(blocks=part.blocks, method=method)


def division_of(recipe: Recipe) -> str | None:
    """Which of `DIVISIONS` a recipe's parts are; None for another division, such as a loaded file may have."""
    blocks = [part.blocks for part in recipe.parts]
    if blocks == ["all"]:
        return ALL
    if blocks == ["early", "middle", "late", REST]:
        return THIRDS
    lists = [one for one in blocks if not isinstance(one, str)]
    return ONE if len(lists) == 2 and len(lists[0]) == 1 and blocks[2:] == [REST] else None


def divided(recipe: Recipe, division: str, blocks: int) -> Recipe:
    """The recipe's first part on all groups of a division. `blocks`: of the model, whose first is apart from the others."""
    others = tuple(range(1, blocks))
    groups = {ALL: ["all"], THIRDS: ["early", "middle", "late", REST], ONE: [(0,), others, REST]}[division]
    parts = [recipe.parts[0].model_copy(update={"blocks": group}) for group in groups if group]
    return recipe.model_copy(update={"parts": tuple(parts)})


def moved_apart(recipe: Recipe, apart: int, blocks: int) -> Recipe:
    """The recipe, of division ONE, with this block in place of the one that is apart."""
    one, others, rest = recipe.parts
    left = tuple(block for block in range(blocks) if block != apart)
    return recipe.model_copy(update={"parts": (_on(one, (apart,)), _on(others, left), rest)})


def _on(part: Part, blocks: tuple[int, ...]) -> Part:
    return part.model_copy(update={"blocks": blocks})


def group_title(part: Part) -> str:
    """The name of a part's blocks."""
    if isinstance(part.blocks, str):
        return {"all": "all blocks"}.get(part.blocks, part.blocks)
    if len(part.blocks) > 2:
        return f"{len(part.blocks)} blocks"
    return f"block{'s' if len(part.blocks) > 1 else ''} {', '.join(map(str, part.blocks))}"


def _coefficient(part: Part, zoo: Zoo) -> float:
    if is_fixed(part):
        return 1.0
    coefficient = known_method(part.name).coefficient
    return float(settings_of(part, zoo)[coefficient.name]) if coefficient is not None else 1.0


def _without_coefficient(part: Part) -> dict[str, int | float | str]:
    coefficient = known_method(part.name).coefficient
    return {name: value for name, value in part.settings.items() if coefficient is None or name != coefficient.name}
