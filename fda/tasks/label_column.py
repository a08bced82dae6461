"""Converts the values of a label column to numbers: classes, or numbers with fractions. Detects missing labels.

Bools, whole floats and digits in text count as classes, like integers. Names are looked up in the head's classes
(`fda.tasks.labels`).
"""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from fda.errors import UserError
from fda.tasks.labels import Names, canonical_name, listed

TRUTHS = {"false": 0, "true": 1}


def label_gap(value: Any) -> str | None:
    """Why a label cannot be used, because it is missing or infinite; None if it can."""
    if (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    ):
        return "has no label"
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return f"has the label {value}"
    return None


def label_numbers(
    values: Sequence[Any], column: str, head: Names | None, rows: Sequence[int]
) -> tuple[list[int] | list[float], bool]:
    """(numbers, by_name): class numbers, or floats if one of them is no class; `by_name` if they come from the head's names.

    `values`: without gaps. `head`: the head's classes by number, None if unnamed. `rows`: the row of each value, for messages.
    UserError for a name that the head does not have, for names where the head has none, and for values of other types.
    """
    if values and all(isinstance(value, str) for value in values):
        return _of_texts(values, column, head, rows)
    wrong = next((index for index, value in enumerate(values) if not isinstance(value, int | float | Decimal)), None)
    if wrong is not None:
        raise UserError(
            f"the column {column!r} has labels that are not numbers ({type(values[wrong]).__name__} in row {rows[wrong]}): "
            "give numbers or class names."
        )
    return _plain(values), False


def _plain(values: Sequence[Any]) -> list[int] | list[float]:
    """As integers if all are whole and none is a negative float; else as floats."""
    if all(isinstance(value, int) or (value >= 0 and value == int(value)) for value in values):
        return [int(value) for value in values]
    return [float(value) for value in values]


def _of_texts(
    values: Sequence[str], column: str, head: Names | None, rows: Sequence[int]
) -> tuple[list[int] | list[float], bool]:
    """Tries the names of the head's classes, then numbers in text, then `true` and `false`."""
    if head is not None:
        numbers = {canonical_name(name): number for number, name in enumerate(head)}
        named = [numbers[name] for name in map(canonical_name, values) if name in numbers]
        if len(named) == len(values):
            return named, True
    for parse in (int, float, _truth):
        if (parsed := _parsed(values, parse)) is not None:
            return _plain(parsed), False
    if head is not None:
        wrong = next(index for index, value in enumerate(values) if canonical_name(value) not in numbers)
        raise UserError(
            f"the label {values[wrong]!r} (row {rows[wrong]}) is none of the head's classes ({listed(head)})."
        )
    wrong = next((index for index, value in enumerate(values) if _parsed([value], float) is None), 0)
    if wrong and _parsed(values[:1], float) is not None:
        raise UserError(f"the column {column!r} holds numbers, but {values[wrong]!r} in row {rows[wrong]}: correct it.")
    raise UserError(
        f"the column {column!r} holds class names, but neither the data nor the head says in which order: give "
        "numbers, or save the checkpoint with `label2id`."
    )


def _parsed(values: Sequence[str], parse: Callable[[str], int | float]) -> list[int | float] | None:
    try:
        parsed = [parse(value.strip()) for value in values]
    except (ValueError, KeyError):
        return None
    return parsed if all(math.isfinite(value) for value in parsed) else None


def _truth(text: str) -> int:
    return TRUTHS[text.casefold()]
