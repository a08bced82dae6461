"""The mixes that a reader has looked at: a numbered list to search, sort and compare. Imports no streamlit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from fda.requests.recipe import Recipe

MOST = 200  # mixes kept; the oldest that is not marked goes first
MARK, NUMBER, FORMULA, AVERAGE, RECIPE = "marked", "mix", "formula", "average", "recipe"


@dataclass(frozen=True)
class Mix:
    """A mix that was looked at. `scores`: task → score on the validation samples, 0..1; `samples`: how many, of all tasks."""

    number: int
    recipe: Recipe
    formula: str
    scores: Mapping[str, float]
    samples: int

    @property
    def average(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


@dataclass
class History:
    """Mixes in the order in which they were looked at, and the numbers of those marked."""

    mixes: list[Mix] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)
    given: int = 0  # numbers given so far

    def add(self, recipe: Recipe, formula: str, scores: Mapping[str, float], samples: int) -> Mix:
        """The mix under a new number; one that is in the list, scored on as many samples, keeps its own."""
        for mix in self.mixes:
            if mix.recipe == recipe and mix.samples == samples:
                return mix
        self.given += 1
        mix = Mix(self.given, recipe, formula, dict(scores), samples)
        self.mixes.append(mix)
        if len(self.mixes) > MOST:
            oldest = next((one for one in self.mixes if one.number not in self.marked), self.mixes[0])
            self.mixes.remove(oldest)
            self.marked.discard(oldest.number)
        return mix

    def of(self, number: int) -> Mix | None:
        return next((mix for mix in self.mixes if mix.number == number), None)

    def found(self, search: str, *, only_marked: bool = False) -> list[Mix]:
        """The mixes whose number or formula holds every word of `search`, newest first."""
        words = search.casefold().split()
        return [
            mix
            for mix in reversed(self.mixes)
            if all(word in f"{mix.number} {mix.formula}".casefold() for word in words)
            and (not only_marked or mix.number in self.marked)
        ]

    def table(self, mixes: Sequence[Mix]) -> pd.DataFrame:
        """A row a mix: its number, whether it is marked, scores in percent, formula."""
        tasks = list(dict.fromkeys(task for mix in mixes for task in mix.scores))
        return pd.DataFrame(
            [
                {
                    NUMBER: mix.number,
                    MARK: mix.number in self.marked,
                    AVERAGE: 100 * mix.average,
                    **{task: 100 * mix.scores[task] if task in mix.scores else None for task in tasks},
                    "samples": mix.samples,
                    FORMULA: mix.formula,
                }
                for mix in mixes
            ]
        )
