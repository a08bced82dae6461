"""Hyperparameters that a person gives for methods: checked against the registry, and only what differs from it is kept."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fda.errors import UserError
from fda.merging.method import SWEPT, Hyperparameter
from fda.merging.registry import METHODS, method
from fda.settings import PAPER_LAMBDA, Family, in_paper

Asked = Mapping[str, Mapping[str, Any]]  # method → name → value, which may still be text
KINDS = {int: "a whole number", float: "a number"}


def checked_hyperparameters(asked: Asked, methods: Sequence[str], family: Family) -> dict[str, dict[str, Any]]:
    """What the run's methods are given that differs from the registry's defaults: asked for, or the paper's for the family.

    UserError for a method, a name or a value that is none, and for a setting that none of `methods` would read.
    """
    found = {
        own: {name: value for name, value in usual_for(own, family).items() if name in {hyper.name for hyper in hypers}}
        for own, hypers in read_by(methods).items()
    }
    for name, values in asked.items():
        own = method(name).name.removesuffix(SWEPT)
        for key, value in values.items():
            hyper = _hyperparameter(own, key)
            _require_reader(own, hyper, methods)
            found[own][key] = typed(own, hyper, value)
    differing = {own: _without_defaults(own, values) for own, values in found.items()}
    return {own: values for own, values in differing.items() if values}


def family_hyperparameters(family: Family) -> dict[str, dict[str, Any]]:
    """The paper's coefficient of task arithmetic for a family, where it is not the registry's default."""
    scale = PAPER_LAMBDA[in_paper(family)]
    return {} if scale == METHODS["ta"].defaults["scale"] else {"ta": {"scale": scale}}


def usual_for(own: str, family: Family) -> dict[str, Any]:
    """`family_hyperparameters` of one method; a method with modifiers takes those of the method under them."""
    return family_hyperparameters(family).get(own.rpartition(":")[2], {})


def read_by(methods: Iterable[str]) -> dict[str, tuple[Hyperparameter, ...]]:
    """What a run of `methods` reads, by method, in their order. A method with a start reads the start's too.

    A swept method reads all of the plain one's but the coefficient, which it chooses itself.
    """
    found: dict[str, tuple[Hyperparameter, ...]] = {}
    for name in methods:
        one = METHODS.get(name)
        if one is None:  # a stored run may name a method that is gone
            continue
        for own, swept in ((name.removesuffix(SWEPT), one.swept), (one.start, False)):
            if own is not None:
                reads = tuple(h for h in METHODS[own].hyperparameters if not (swept and h == one.coefficient))
                found[own] = max(found.get(own, ()), reads, key=len)
    return {own: reads for own, reads in found.items() if reads}


def read_assignments(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`("ta.scale=0.4",)` → {"ta": {"scale": "0.4"}}. UserError for what has not that form."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        name, dot, key = place.strip().rpartition(".")
        if not (equals and dot and name and key and value.strip()):
            raise UserError(f"--set {text}: write METHOD.NAME=VALUE, such as --set ta.scale=0.4.")
        found.setdefault(name, {})[key] = value.strip()
    return found


def typed(own: str, hyper: Hyperparameter, value: Any) -> Any:
    """`value` as the hyperparameter's type, within its range. UserError otherwise."""
    try:
        result = TypeAdapter(hyper.type).validate_python(value)
    except ValidationError:
        kind = KINDS.get(hyper.type, f"of type {hyper.type.__name__}")
        raise UserError(f"{own}.{hyper.name}: {value!r} is not {kind}: {_allowed(hyper)}.") from None
    low, high = (-math.inf if hyper.low is None else hyper.low), (math.inf if hyper.high is None else hyper.high)
    if isinstance(result, int | float) and not (math.isfinite(result) and low <= result <= high):
        raise UserError(f"{own}.{hyper.name} cannot be {value}: {_allowed(hyper)}.")
    return result


def _allowed(hyper: Hyperparameter) -> str:
    bounds = [
        f"{word} {limit:g}" for word, limit in (("at least", hyper.low), ("at most", hyper.high)) if limit is not None
    ]
    return f"give {KINDS.get(hyper.type, 'one')} of {' and '.join(bounds)}" if bounds else "see `python -m fda methods`"


def _hyperparameter(own: str, name: str) -> Hyperparameter:
    one = METHODS[own]
    found = next((hyper for hyper in one.hyperparameters if hyper.name == name), None)
    if found is not None:
        return found
    there = [hyper.name for hyper in one.hyperparameters]
    if not there and one.start is not None and METHODS[one.start].hyperparameters:
        raise UserError(f"{own} has no hyperparameters of its own: set those of its start, {one.start}.")
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]}? It has" if near else "it has"
    raise UserError(f"{own} has no hyperparameter {name!r}: {hint} {', '.join(there) or 'none'}.")


def _require_reader(own: str, hyper: Hyperparameter, methods: Sequence[str]) -> None:
    if hyper in read_by(methods).get(own, ()):
        return
    if own + SWEPT in methods:
        raise UserError(
            f"{own}.{hyper.name} is set, but {own}{SWEPT} chooses it on the validation split: "
            f"leave --set {own}.{hyper.name} away, or add {own} to the methods."
        )
    raise UserError(f"{own}.{hyper.name} is set, but no method of this run reads it: add {own} to the methods.")


def _without_defaults(own: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != METHODS[own].defaults[name]}
