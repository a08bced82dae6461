"""Keeping a mix: a comparison that scores it on the test split beside the references. Imports no torch."""

import json
from collections.abc import Sequence
from pathlib import Path

from fda.merging.methods.mix import mix_named
from fda.requests.recipe import Recipe
from fda.requests.runs import make_spec
from fda.store.spec import RunSpec


def mix_spec(
    zoo: str | Path,
    recipe: Recipe,
    name: str,
    *,
    methods: Sequence[str] = (),
    device: str = "auto",
    roots: list[Path] | None = None,
) -> RunSpec:
    """The spec of a run that compares the mix, as the method `mix:NAME`, with `pretrained`, `individual` and `methods`.

    It scores all tasks of the zoo, or those that the recipe names. UserError for a wrong name or recipe.
    """
    kept = mix_named(name).name
    tasks = {*recipe.tasks, *(part.task for part in recipe.parts if part.task is not None)} if recipe.tasks else ()
    return make_spec(
        zoo,
        tasks=sorted(tasks),
        methods=(*methods, kept),
        hyperparameters={kept: {"recipe": json.dumps(recipe.content(), ensure_ascii=False)}},
        device=device,
        roots=roots,
    )
