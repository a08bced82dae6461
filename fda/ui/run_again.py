"""Fill the form of Construct with the settings of an earlier run, so that one of them can be changed."""

import streamlit as st

from fda.merging.registry import METHODS
from fda.requests.runs import adapt_settings
from fda.settings import AdaptSettings, ConstructSettings
from fda.store.spec import RunSpec
from fda.ui import forms
from fda.zoos.zoo import list_zoos, own_zoos


def refusal(spec: RunSpec) -> str | None:
    """Why the form cannot make a run like this; None if it can."""
    if spec.published is not None:
        return "published anchors are imported, not constructed"
    if spec.construction is None:
        return "the form makes runs that construct anchors"
    return None


def fill_form(spec: RunSpec) -> str:
    """Set the form's widgets, which the next run of Construct shows; the zoo's name or path for its URL."""
    assert spec.construction is not None
    named = {str(path): name for name, path in (own_zoos() | list_zoos()).items()}
    reference = named.get(spec.zoo_path, spec.zoo_path)
    st.session_state["zoo_choice"] = None  # so that the form follows the zoo looked at
    st.session_state["zoo_looked_at"] = st.session_state["construct_filled_for"] = reference
    forms.fill(spec.construction, tuple(ConstructSettings.model_fields))
    forms.fill(adapt_settings(spec.zoo, spec.adaptation), tuple(AdaptSettings.model_fields), prefix="adapt.")
    for method, given in spec.hyperparameters.items():
        for name, value in given.items():
            st.session_state[f"{method}.{name}"] = value
    st.session_state["with_tasks"] = [] if spec.tasks == spec.zoo.task_names else list(spec.tasks)
    st.session_state["with_blocks"] = ",".join(map(str, spec.blocks))
    st.session_state["with_methods"] = [name for name in spec.methods if name in METHODS and not METHODS[name].swept]
    st.session_state["sweep"] = any(name in METHODS and METHODS[name].swept for name in spec.methods)
    st.session_state["device"] = spec.device
    st.session_state["engine"] = spec.engine
    st.session_state["coarse_landscape"] = spec.coarse_landscape
    return reference
