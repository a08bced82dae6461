"""Form widgets made from the fields of pydantic models and the registry's hyperparameters: nothing is listed twice.

Each widget keeps its value in the URL under its key.
"""

from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fda.merging.method import Hyperparameter

# Words for names and choices that are short in code.
LABELS = {
    "init": "Initialisation",
    "lr": "Learning rate",
    "weights_lr": "Rate on weights",
    "weights_rate": "Meaning of that rate",
    "coefficients_lr": "Rate on coefficients",
}
CHOICES = {"ta_fda": "task arithmetic and FDA"}


def field_input(
    name: str,
    field: FieldInfo,
    default: Any,
    *,
    source: str = "",
    key: str | None = None,
    disabled: bool = False,
    width: Any = "stretch",
) -> Any:
    """The widget of one field, with its limits; its help is the field's description and `source`, a sentence on where values
    come from. `key`: by default the name."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    shared = {
        "key": key or name,
        "help": f"{field.description}. {source}" if source else field.description,
        "disabled": disabled,
        "bind": "query-params",
        "width": width,
    }
    if get_origin(field.annotation) is Literal:
        options = get_args(field.annotation)
        return st.selectbox(
            _label(name),
            options,
            index=options.index(default),
            format_func=lambda choice: CHOICES.get(choice, str(choice)),
            **shared,
        )
    low, high = limits(field)
    if NoneType in get_args(field.annotation):
        shared["placeholder"] = "the model's"
    return _number(_label(name), kinds[0], low, high, default, **shared)


def hyperparameter_input(method: str, hyper: Hyperparameter, default: Any, *, width: Any = "stretch") -> Any:
    """The widget of a method's hyperparameter, with its source in the help; its key is METHOD.NAME."""
    help_text = f"{hyper.help}. Source: {hyper.source}." if hyper.source else f"{hyper.help}."
    key = f"{method}.{hyper.name}"
    shared = {"key": key, "help": help_text, "bind": "query-params", "width": width}
    if hyper.type is str:
        return st.text_input(_label(hyper.name), default, **shared)
    return _number(_label(hyper.name), hyper.type, hyper.low, hyper.high, default, **shared)


def limits(field: FieldInfo) -> tuple[Any, Any]:
    """(lowest, highest) value that the widget accepts; the model itself checks strict limits."""
    low = high = None
    for rule in field.metadata:
        low = rule.ge if isinstance(rule, Ge) else rule.gt if isinstance(rule, Gt) else low
        high = rule.le if isinstance(rule, Le) else high
        if isinstance(rule, Lt):
            high = rule.lt - 1 if isinstance(rule.lt, int) else rule.lt
    return low, high


def fill(values: BaseModel, names: tuple[str, ...], *, prefix: str = "", keep: Mapping[str, Any] | None = None) -> None:
    """Set the widgets of the fields `names` to `values`, except those with a key in `keep` (the URL)."""
    for name in names:
        if not keep or prefix + name not in keep:
            st.session_state[prefix + name] = getattr(values, name)


def _label(name: str) -> str:
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def _number(label: str, kind: type, low: Any, high: Any, default: Any, **shared: Any) -> Any:
    if kind is int:
        low, high = (None if limit is None else int(limit) for limit in (low, high))
        return st.number_input(label, low, high, default, 1, format="%d", **shared)
    low, high = (None if limit is None else float(limit) for limit in (low, high))
    return st.number_input(label, low, high, default, step=None, format="%g", **shared)
