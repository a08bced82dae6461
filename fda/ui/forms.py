"""A form made from the fields of a pydantic model: nothing is listed twice. Each field is in the URL by its name."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo


def field_input(name: str, field: FieldInfo, default: Any, *, disabled: bool = False) -> Any:
    """The widget of one field: its description is the help, its limits are the widget's."""
    label = name.replace("_", " ").capitalize()
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType] or [field.annotation]
    shared = {"key": name, "help": field.description, "disabled": disabled, "bind": "query-params"}
    if get_origin(field.annotation) is Literal:
        options = get_args(field.annotation)
        return st.selectbox(label, options, index=options.index(default), **shared)
    low, high = limits(field)
    if kinds[0] is int:
        empty = NoneType in get_args(field.annotation)
        placeholder = "the model's" if empty else None
        return st.number_input(label, low, high, default, 1, format="%d", placeholder=placeholder, **shared)
    low, high = (None if limit is None else float(limit) for limit in (low, high))
    return st.number_input(label, low, high, default, step=None, format="%g", **shared)


def limits(field: FieldInfo) -> tuple[Any, Any]:
    """(lowest, highest) value a widget lets through; an open limit is left to the model, which checks again."""
    low = high = None
    for rule in field.metadata:
        low = rule.ge if isinstance(rule, Ge) else rule.gt if isinstance(rule, Gt) else low
        high = rule.le if isinstance(rule, Le) else high
        if isinstance(rule, Lt):
            high = rule.lt - 1 if isinstance(rule.lt, int) else rule.lt
    return low, high


def fill(values: BaseModel, names: tuple[str, ...], *, keep: Mapping[str, Any] | None = None) -> None:
    """Set the widgets of these fields to `values`, those named in `keep` (the URL) excepted."""
    for name in names:
        if not keep or name not in keep:
            st.session_state[name] = getattr(values, name)
