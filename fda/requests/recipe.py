"""The recipe of a mix: which method merges which blocks, in a few lines of YAML. Contract of the project; imports no torch.

    zoo: demo
    parts:
      - blocks: [0, 1]
        method: ta
        settings: {scale: 0.3}
        weights: {digits: 0.5}
      - blocks: late
        method: individual:letters

`fda.stages.mix` makes the tensors; `fda.jobs.mixers` scores them while sliders move.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fda.errors import UserError
from fda.merging.method import Method
from fda.merging.methods.ta import MOST as MOST_WEIGHT
from fda.merging.registry import method as known_method
from fda.requests.hyperparameters import typed, usual_for
from fda.store.database import RUN_ID
from fda.zoos.yaml_text import read_yaml
from fda.zoos.zoo import Zoo

Group = Literal["all", "early", "middle", "late", "rest"]
GROUPS: tuple[Group, ...] = get_args(Group)
PRETRAINED, INDIVIDUAL = "pretrained", "individual"
REST = "rest"
MOST_BYTES = 64 * 1024  # of a recipe's text
MOST_PARTS, MOST_BLOCKS, MOST_TASKS, LONGEST = 200, 1000, 200, 200  # LONGEST: characters of a name or a setting
SHORT_SUM = 4  # task vectors that a formula writes out


class Part(BaseModel):
    """One part of a mix: these blocks come from this method.

    `blocks`: `all`: the whole model, the tensors outside blocks too; `early`, `middle` and `late`: its thirds; `rest`: the
    tensors outside blocks alone; or a list of block numbers (from 0) or names (`visual.transformer.resblocks.0`).
    `method`: a method that merges checkpoints without data (`ta`, `tsv`, `larv:tsv`); `pretrained`; `individual:TASK`: the
    finetuned model of one task; `METHOD@RUN_ID`: the merged model of a finished run (`fda:ta@20261129-082329-6871`).
    `settings`: hyperparameters that differ from the method's defaults. `weights`: task → factor on its task vector before the
    method merges it, −10 to 10, where it is not 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: Group | tuple[int | str, ...]
    method: str = Field(min_length=1, max_length=LONGEST)
    settings: dict[str, int | float | str] = Field(default_factory=dict, max_length=32)
    weights: dict[str, float] = Field(default_factory=dict, max_length=MOST_TASKS)

    @field_validator("blocks", mode="before")
    @classmethod
    def _blocks_are_named(cls, blocks: Any) -> Any:
        if isinstance(blocks, str):
            if blocks not in GROUPS:
                raise ValueError(
                    f"{blocks[:LONGEST]!r} is none of {', '.join(GROUPS)}, and single blocks stand in a list"
                )
            return blocks
        if not isinstance(blocks, list | tuple) or not 0 < len(blocks) <= MOST_BLOCKS:
            raise ValueError(f"give one of {', '.join(GROUPS)}, or a list of 1 to {MOST_BLOCKS} blocks")
        for block in blocks:
            whole = isinstance(block, int) and not isinstance(block, bool) and block >= 0
            if not (whole or (isinstance(block, str) and 0 < len(block) <= LONGEST)):
                raise ValueError("a block is a number from 0 or a name")
        if len(set(blocks)) < len(blocks):
            raise ValueError("it names a block twice")
        return tuple(blocks)

    @field_validator("settings")
    @classmethod
    def _settings_are_short(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if any(len(str(text)) > LONGEST for pair in settings.items() for text in pair):
            raise ValueError(f"a name or a value is longer than {LONGEST} characters")
        return settings

    @field_validator("weights")
    @classmethod
    def _weights_are_within_bounds(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if not (math.isfinite(weight) and abs(weight) <= MOST_WEIGHT):
                raise ValueError(
                    f"the weight of {task[:LONGEST]!r} is not a number from −{MOST_WEIGHT:g} to {MOST_WEIGHT:g}"
                )
        return weights

    @property
    def name(self) -> str:
        """The method's name without its argument: `individual` of `individual:digits`, `fda:ta` of `fda:ta@RUN_ID`."""
        return INDIVIDUAL if self.task is not None else self.method.partition("@")[0]

    @property
    def run_id(self) -> str | None:
        """The run of `METHOD@RUN_ID`."""
        return self.method.partition("@")[2] or None

    @property
    def task(self) -> str | None:
        """The task of `individual:TASK`."""
        name, colon, task = self.method.partition(":")
        return task if colon and name == INDIVIDUAL else None


class Recipe(BaseModel):
    """A mix of models of the zoo called `zoo`. Blocks that no part names stay pretrained.

    `tasks`: the tasks that are merged, in the zoo's order; empty: all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    zoo: str = Field(min_length=1, max_length=LONGEST)
    tasks: tuple[str, ...] = Field(default=(), max_length=MOST_TASKS)
    parts: tuple[Part, ...] = Field(min_length=1, max_length=MOST_PARTS)

    @model_validator(mode="after")
    def _groups_do_not_overlap(self) -> "Recipe":
        named = [part.blocks for part in self.parts]
        if "all" in named and len(named) > 1:
            raise ValueError("parts overlap: beside a part on all blocks there can be no other")
        places = [block for blocks in named for block in ([blocks] if isinstance(blocks, str) else blocks)]
        if twice := next((block for block in places if places.count(block) > 1), None):
            raise ValueError(f"parts overlap: two of them name {twice!r}")
        return self

    def content(self) -> dict[str, Any]:
        """The recipe as plain data, as its file holds it: JSON and YAML can hold it, `read_recipe` reads it."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def merged_tasks(self, zoo: Zoo) -> tuple[str, ...]:
        """The tasks that its methods merge."""
        return self.tasks or zoo.task_names


def read_recipe(source: str | Mapping[str, Any] | Path, zoo: Zoo | None = None) -> Recipe:
    """Read a recipe from YAML text, from plain data or from a file. With a `zoo`, everything but its blocks is checked.

    UserError with one sentence for what is wrong and where: `assigned` checks the blocks.
    """
    what = str(source) if isinstance(source, Path) else "the recipe"
    content = _content(source, what) if isinstance(source, str | Path) else source
    if not isinstance(content, Mapping):
        raise UserError(f"{what} holds no fields: a recipe needs `zoo` and `parts`.")
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{what}: {_first_problem(error)}") from None
    if zoo is not None:
        check_recipe(recipe, zoo, what)
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML, which `read_recipe` reads back as the same recipe."""
    return yaml.safe_dump(recipe.content(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def check_recipe(recipe: Recipe, zoo: Zoo, what: str = "the recipe") -> None:
    """UserError for a recipe of another zoo, an unknown task, method or setting, or a value out of its range."""
    if recipe.zoo != zoo.name:
        raise UserError(f"{what} is for the zoo {recipe.zoo!r}, not for {zoo.name!r}: take a recipe of this zoo.")
    for task in recipe.tasks:
        _require_task(zoo.task_names, task, f"{what}: tasks", f"zoo {zoo.name}")
    if list(recipe.tasks) != [task for task in zoo.task_names if task in recipe.tasks]:
        raise UserError(f"{what}: tasks: name each once, in the zoo's order: {', '.join(zoo.task_names)}.")
    for number, part in enumerate(recipe.parts):
        _check_part(part, recipe.merged_tasks(zoo), zoo, f"{what}: parts.{number}")


def kept_recipe(given: Mapping[str, Any], method: str, zoo: Zoo, tasks: Sequence[str]) -> Recipe:
    """The recipe among the hyperparameters of a method `mix:NAME`, for a run of these tasks.

    UserError without one, and for one that is wrong or needs a task that the run does not open.
    """
    if not given.get("recipe"):
        raise UserError(f"{method} has no recipe: make the run with `python -m fda mix --recipe FILE --keep NAME`.")
    recipe = read_recipe(str(given["recipe"]), zoo)
    needed = [*recipe.merged_tasks(zoo), *(part.task for part in recipe.parts if part.task is not None)]
    if lacking := next((task for task in needed if task not in tasks), None):
        raise UserError(f"{method} needs the task {lacking!r}, which the run leaves out: add it to --tasks.")
    return recipe


def settings_of(part: Part, zoo: Zoo) -> dict[str, Any]:
    """All hyperparameters of a checked part's method, typed: its defaults, the family's values, and its own `settings`.

    Empty for a part whose tensors are taken from a file.
    """
    if part.run_id is not None or part.name in (PRETRAINED, INDIVIDUAL):
        return {}
    one = known_method(part.name)
    by_name = {hyper.name: hyper for hyper in one.hyperparameters}
    given = {name: typed(one.name, by_name[name], value) for name, value in part.settings.items()}
    return one.defaults | usual_for(one.name, zoo.family) | given


def group_blocks(group: Group, count: int) -> tuple[int, ...]:
    """The numbers of a group's blocks in a model of `count` blocks; none for `rest`. Thirds are rounded."""
    first, second = round(count / 3), round(2 * count / 3)
    spans = {"all": (0, count), "early": (0, first), "middle": (first, second), "late": (second, count), REST: (0, 0)}
    return tuple(range(*spans[group]))


def assigned(recipe: Recipe, blocks: Sequence[str]) -> dict[int | None, int]:
    """Block number → number of its part; None stands for the tensors outside blocks. Uncovered blocks are left out.

    `blocks`: the names of the model's blocks, in order. UserError for an unknown block, an empty group, and an overlap.
    """
    part_of: dict[int | None, int] = {}
    for number, part in enumerate(recipe.parts):
        at = f"the recipe: parts.{number}.blocks"
        if isinstance(part.blocks, str):
            places: list[int | None] = [*group_blocks(part.blocks, len(blocks))]
            places += [None] if part.blocks in ("all", REST) else []
            if not places:
                raise UserError(
                    f"{at}: a model of {len(blocks)} blocks has none that is {part.blocks}: name it by number."
                )
        else:
            places = [_block(block, blocks, at) for block in part.blocks]
        for block in places:
            if block in part_of:
                where = "the tensors outside blocks" if block is None else f"block {block}"
                raise UserError(
                    f"{at}: parts {part_of[block]} and {number} overlap in {where}: name it in one of them."
                )
            part_of[block] = number
    return part_of


def formula(recipe: Recipe, zoo: Zoo) -> str:
    """A checked recipe in one line: `θ0 + 0.3·(τ_digits + τ_letters) on all blocks`; τ are task vectors.

    What no part names stays pretrained, which the line does not repeat.
    """
    return "; ".join(f"{_merged(part, recipe, zoo)} on {_places(part)}" for part in recipe.parts)


def _merged(part: Part, recipe: Recipe, zoo: Zoo) -> str:
    if part.run_id is not None:
        return f"{known_method(part.name).title} of run {part.run_id}"
    if part.task is not None:
        return f"θ0 + τ_{part.task}"
    if part.name == PRETRAINED:
        return "θ0"
    one, settings = known_method(part.name), settings_of(part, zoo)
    factors = {task: part.weights.get(task, 1.0) for task in recipe.merged_tasks(zoo)}
    if one.name == "ta" and not settings["weights"]:
        return "θ0" + _multiples({task: settings["scale"] * factor for task, factor in factors.items()})
    changed = {name: value for name, value in settings.items() if value != one.defaults[name]}
    if one.coefficient is not None:
        changed[one.coefficient.name] = settings[one.coefficient.name]
    shown = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in changed.items()]
    return f"{one.title}({', '.join([*_vectors(factors), *shown])})"


def _multiples(scales: Mapping[str, float]) -> str:
    """` + 0.3·(τ_digits + τ_faces) − 0.2·τ_letters`: the tasks of each λ together, without those of λ 0; many as Σ τ."""
    groups: dict[str, list[str]] = {}
    for task, scale in scales.items():
        groups.setdefault(f"{scale:.4g}", []).append(f"τ_{task}")
    text = ""
    for scale, vectors in groups.items():
        if float(scale):
            alone = len(groups) == 1 and len(vectors) > SHORT_SUM
            together = "Σ τ" if alone else " + ".join(vectors) if len(vectors) == 1 else f"({' + '.join(vectors)})"
            text += f" {'−' if scale.startswith('-') else '+'} {scale.removeprefix('-')}·{together}"
    return text


def _vectors(factors: Mapping[str, float]) -> list[str]:
    """`[τ_digits, 0.5·τ_letters]`; without tasks of weight 0, and `[Σ τ]` for many of weight 1."""
    if len(factors) > SHORT_SUM and set(factors.values()) == {1.0}:
        return ["Σ τ"]
    return [f"τ_{task}" if factor == 1 else f"{factor:.4g}·τ_{task}" for task, factor in factors.items() if factor]


def _places(part: Part) -> str:
    if isinstance(part.blocks, str):
        return "the tensors outside blocks" if part.blocks == REST else f"{part.blocks} blocks"
    return f"block{'s' if len(part.blocks) > 1 else ''} {', '.join(map(str, part.blocks))}"


def _check_part(part: Part, tasks: Sequence[str], zoo: Zoo, at: str) -> None:
    if part.task is not None:
        _require_task(zoo.task_names, part.task, f"{at}.method", f"zoo {zoo.name}")
    if part.run_id is not None and not RUN_ID.fullmatch(part.run_id):
        raise UserError(f"{at}.method: {part.run_id!r} is not the id of a run: `python -m fda runs list` shows them.")
    fixed = part.run_id is not None or part.task is not None or part.method == PRETRAINED
    for field in ("settings", "weights"):
        if fixed and getattr(part, field):
            raise UserError(f"{at}.{field}: {part.method} is a finished model, which has no {field}: leave them out.")
    for task in part.weights:
        _require_task(tasks, task, f"{at}.weights", "the mix")
    try:
        one = _mixable(part, len(tasks))
        for name, value in part.settings.items():
            if name not in one.defaults:
                near = difflib.get_close_matches(name, one.defaults, n=1)
                hint = f"did you mean {near[0]}? It has" if near else "it has"
                raise UserError(f"{one.name} has no setting {name!r}: {hint} {', '.join(one.defaults) or 'none'}.")
            typed(one.name, next(hyper for hyper in one.hyperparameters if hyper.name == name), value)
        if part.weights and part.settings.get("weights"):
            raise UserError("weights are given twice: leave `weights` out of the settings.")
    except UserError as error:
        raise UserError(f"{at}: {error}") from None


def _mixable(part: Part, tasks: int) -> Method:
    """The method of a part. UserError if there is none, or if a mix cannot hold its model."""
    one = known_method(part.name)
    if part.task is not None:
        return one
    if part.run_id is not None:
        if one.name == INDIVIDUAL:
            raise UserError("a run keeps no merged model of individual: write individual:TASK.")
        if one.needs == "inputs" and one.split == "test":
            raise UserError(
                f"{one.name} reads inputs of the test split, which a mix is never made from: choose another."
            )
        return one
    if one.name == INDIVIDUAL:
        raise UserError("name the task whose finetuned model it is: individual:TASK.")
    if one.merge is None or one.needs != "nothing" or one.swept:
        raise UserError(f"{one.name} needs a run: write {one.name}@RUN_ID, of a finished run that compared it.")
    if one.tasks not in (None, tasks):
        raise UserError(f"{one.name} merges exactly {one.tasks} tasks, not {tasks}: choose them with `tasks`.")
    if tasks < one.least_tasks:
        raise UserError(f"{one.name} merges at least {one.least_tasks} tasks, not {tasks}: choose more with `tasks`.")
    return one


def _require_task(there: Sequence[str], task: str, at: str, whose: str) -> None:
    if task not in there:
        near = difflib.get_close_matches(task, there, n=1)
        hint = f"did you mean {near[0]}? It has" if near else "it has"
        raise UserError(f"{at}: {whose} has no task {task!r}: {hint} {', '.join(there)}.")


def _block(block: int | str, blocks: Sequence[str], at: str) -> int:
    if isinstance(block, int) and block < len(blocks):
        return block
    if block in blocks:
        return list(blocks).index(str(block))
    raise UserError(
        f"{at}: there is no block {block!r}: this model has blocks 0 to {len(blocks) - 1}, the first {blocks[0]}."
    )


def _content(source: str | Path, what: str) -> Any:
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                source = file.read(MOST_BYTES + 1).decode("utf-8-sig")
        except ValueError:
            raise UserError(f"{what} is not YAML: give a recipe, which is a short text.") from None
        except OSError as error:
            raise UserError(f"{what} could not be read ({error.strerror}): check the path.") from None
    if len(source.encode(errors="replace")) > MOST_BYTES:
        raise UserError(f"{what} is longer than {MOST_BYTES // 1024} KiB: give a recipe, which is a short text.")
    return read_yaml(source, what)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    kinds = ("int", "float", "str")  # of the branches of a union
    field = ".".join(str(part) for part in problem["loc"] if part not in kinds)
    at = f"the field `{field}` " if field else ""
    if problem["type"] == "missing":
        return f"{at}is missing: a recipe has `zoo` and `parts`, and each part `blocks` and `method`."
    if problem["type"] == "extra_forbidden":
        return f"{at}is not one a recipe has: a recipe has zoo, tasks and parts; a part blocks, method, settings and weights."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{at}{'is wrong: ' if at else ''}{message[0].lower() + message[1:]}."
