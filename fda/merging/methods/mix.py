"""A mix by hand as a method of a comparison: `mix:NAME`. Its recipe says which method each block takes.

The recipe is the method's one hyperparameter, as text; `fda.requests.recipe` reads it and `fda.stages.mix` makes the tensors.
"""

import re

from fda.errors import UserError
from fda.merging.method import Hyperparameter, Method

PREFIX = "mix"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
RECIPE = Hyperparameter("recipe", str, "", "the recipe of the mix, as YAML or JSON", None, None, "")


def is_mix(method: str) -> bool:
    """Whether a method's name is that of a mix."""
    return method.startswith(f"{PREFIX}:")


def mix_named(name: str) -> Method:
    """The method `mix:NAME`. UserError for a name that a file could not have."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"a mix cannot be called {name[:80]!r}: use letters, digits, - and _, at most 40, and begin with a letter or digit."
        )
    return Method(
        name=f"{PREFIX}:{name}",
        title=f"Mix {name}",
        idea="Made by hand: each block takes the method and the settings that a recipe names.",
        hyperparameters=(RECIPE,),
    )
