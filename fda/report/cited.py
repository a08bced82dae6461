"""Published scores for a zoo's models, read from assets/cited.yaml and checked. They are never measured here.

Callers decide what to show and always label it as cited. Imports no streamlit.
"""

import difflib
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fda.errors import UserError
from fda.home import ASSETS

CITED = ASSETS / "cited.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CitedValue(_Part):
    """One method's average over the source's tasks, 0..1. `init`: how its anchors begin, if the source reports several."""

    method: str
    average: float = Field(ge=0, le=1)
    init: Literal["gauss", "weight"] | None = None
    settings: str | None = None


class Cited(_Part):
    """One table of one source. `what`: the score, model and tasks; `checkpoints`: who published them."""

    source: str
    link: str
    what: str
    checkpoints: str
    values: tuple[CitedValue, ...]

    def averages(self, init: str = "weight") -> dict[str, float]:
        """Method → average; if the source reports several inits, the one for `init`."""
        return {value.method: value.average for value in self.values if value.init in (None, init)}

    def settings(self) -> dict[str, str]:
        """Method → its settings, as far as the source states them."""
        return {value.method: value.settings for value in self.values if value.settings}


@cache
def all_cited() -> dict[str, Cited]:
    """Key → table, for all of assets/cited.yaml. UserError if the file is damaged."""
    try:
        content = yaml.safe_load(CITED.read_text(encoding="utf-8"))
        return {key: Cited.model_validate(value) for key, value in content.items()}
    except (OSError, yaml.YAMLError, ValidationError, AttributeError) as error:
        raise UserError(
            f"{CITED} could not be read ({type(error).__name__}): restore it from the repository."
        ) from error


def cited(key: str) -> Cited:
    """The table that a zoo names by `cited: KEY`. UserError for an unknown key."""
    known = all_cited()
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"the zoo cites {key!r}, which assets/cited.yaml does not have{hint}: use {', '.join(known)}.")
    return known[key]
