"""Hyperparameters that a person gives for methods: checked against the registry; those equal to its defaults are left out."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fda.errors import UserError
from fda.merging.method import SWEPT, Hyperparameter
from fda.merging.registry import METHODS, method
from fda.settings import PAPER_LAMBDA, Family, paper_family

Asked = Mapping[str, Mapping[str, Any]]  # method → name → value, which may still be text
KINDS = {int: "a whole number", float: "a number"}


def checked_hyperparameters(asked: Asked, methods: Sequence[str], family: Family) -> dict[str, dict[str, Any]]:
    """What the run's methods are given that differs from the registry's defaults: asked for, or the paper's for the family.

    UserError for an unknown method or name, for a value that is not allowed, and for a setting that none of `methods` reads.
    """
    settings = {
        method_name: {
            name: value
            for name, value in usual_for(method_name, family).items()
            if name in {hyper.name for hyper in hypers}
        }
        for method_name, hypers in read_by(methods).items()
    }
    for name, values in asked.items():
        method_name = method(name).name.removesuffix(SWEPT)  # of `ta:swept`, `ta` has the settings
        for key, value in values.items():
            hyper = _hyperparameter(method_name, key)
            _require_reader(method_name, hyper, methods)
            settings[method_name][key] = typed(method_name, hyper, value)
    differing = {method_name: _without_defaults(method_name, values) for method_name, values in settings.items()}
    return {method_name: values for method_name, values in differing.items() if values}


def family_hyperparameters(family: Family) -> dict[str, dict[str, Any]]:
    """The paper's coefficient of task arithmetic for a family, where it is not the registry's default."""
    scale = PAPER_LAMBDA[paper_family(family)]
    return {} if scale == METHODS["ta"].defaults["scale"] else {"ta": {"scale": scale}}


def usual_for(method_name: str, family: Family) -> dict[str, Any]:
    """`family_hyperparameters` of one method; with modifiers, as in `larv:ta`, those of the method after the colon."""
    return family_hyperparameters(family).get(method_name.rpartition(":")[2], {})


def read_by(methods: Iterable[str]) -> dict[str, tuple[Hyperparameter, ...]]:
    """The hyperparameters that a run of `methods` reads, by method, in the order in which each method declares them.

    A method that goes on from another one's result, its start (`fda:ta` from `ta`), reads the start's too. A swept method
    (`ta:swept`) chooses its coefficient on the validation split, and reads all others of the plain method.
    """
    hyperparameters: dict[str, tuple[Hyperparameter, ...]] = {}
    for name in methods:
        one = METHODS.get(name)
        if one is None:  # a stored run may name a method that is gone
            continue
        for method_name, swept in ((name.removesuffix(SWEPT), one.swept), (one.start, False)):
            if method_name is not None:
                reads = tuple(h for h in METHODS[method_name].hyperparameters if not (swept and h == one.coefficient))
                # one contains the other
                hyperparameters[method_name] = max(hyperparameters.get(method_name, ()), reads, key=len)
    return {method_name: reads for method_name, reads in hyperparameters.items() if reads}


def read_assignments(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`("ta.scale=0.4",)` → {"ta": {"scale": "0.4"}}. UserError for another form."""
    asked: dict[str, dict[str, str]] = {}
    for text in texts:
        dotted_name, equals, value = text.partition("=")
        name, dot, key = dotted_name.strip().rpartition(".")
        if not (equals and dot and name and key and value.strip()):
            raise UserError(f"--set {text}: write METHOD.NAME=VALUE, such as --set ta.scale=0.4.")
        asked.setdefault(name, {})[key] = value.strip()
    return asked


def typed(method_name: str, hyper: Hyperparameter, value: Any) -> Any:
    """`value` as the hyperparameter's type, within its range. UserError otherwise."""
    try:
        result = TypeAdapter(hyper.type).validate_python(value)
    except ValidationError:
        kind = KINDS.get(hyper.type, f"of type {hyper.type.__name__}")
        raise UserError(f"{method_name}.{hyper.name}: {value!r} is not {kind}: {_allowed(hyper)}.") from None
    low, high = (-math.inf if hyper.low is None else hyper.low), (math.inf if hyper.high is None else hyper.high)
    if isinstance(result, int | float) and not (math.isfinite(result) and low <= result <= high):
        raise UserError(f"{method_name}.{hyper.name} cannot be {value}: {_allowed(hyper)}.")
    return result


def _allowed(hyper: Hyperparameter) -> str:
    bounds = [
        f"{word} {limit:g}" for word, limit in (("at least", hyper.low), ("at most", hyper.high)) if limit is not None
    ]
    return (
        f"give {KINDS.get(hyper.type, 'a value')} of {' and '.join(bounds)}"
        if bounds
        else "see `python -m fda methods`"
    )


def _hyperparameter(method_name: str, name: str) -> Hyperparameter:
    one = METHODS[method_name]
    hyperparameter = next((hyper for hyper in one.hyperparameters if hyper.name == name), None)
    if hyperparameter is not None:
        return hyperparameter
    there = [hyper.name for hyper in one.hyperparameters]
    if not there and one.start is not None and METHODS[one.start].hyperparameters:
        raise UserError(f"{method_name} has no hyperparameters of its own: set those of its start, {one.start}.")
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]}? It has" if near else "it has"
    raise UserError(f"{method_name} has no hyperparameter {name!r}: {hint} {', '.join(there) or 'none'}.")


def _require_reader(method_name: str, hyper: Hyperparameter, methods: Sequence[str]) -> None:
    if hyper in read_by(methods).get(method_name, ()):
        return
    if method_name + SWEPT in methods:
        raise UserError(
            f"{method_name}.{hyper.name} is set, but {method_name}{SWEPT} chooses it on the validation split: "
            f"leave out --set {method_name}.{hyper.name}, or add {method_name} to the methods."
        )
    raise UserError(
        f"{method_name}.{hyper.name} is set, but no method of this run reads it: add {method_name} to the methods."
    )


def _without_defaults(method_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != METHODS[method_name].defaults[name]}
