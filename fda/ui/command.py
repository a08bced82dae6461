"""The command line that does what a page does. Says so where the command line cannot."""

import shlex
from collections.abc import Sequence

import streamlit as st

from fda.anchors.settings import PRESETS, ConstructSettings
from fda.models.zoo import list_zoos
from fda.runs.request import MAIN_METHODS, construct_settings
from fda.runs.spec import RunSpec

OPTIONS = ("init", "sigma", "anchors", "tokens", "steps", "seed")


def command_box(commands: Sequence[str], note: str | None = None) -> None:
    with st.expander("The same on the command line", icon=":material/terminal:"):
        st.code("\n".join(commands), language="bash", wrap_lines=True)
        if note:
            st.caption(note)


def run_commands(spec: RunSpec, run_id: str = "RUN_ID") -> tuple[list[str], str | None]:
    """The commands that repeat a spec, and what they leave out. `run_id`: the construct run that compare builds on."""
    whole = _shared(spec, with_tasks=spec.tasks != spec.zoo.task_names)
    if spec.construction is None:
        anchors = ["--anchors", spec.anchors_run] if spec.anchors_run else []
        return [_line("compare", *whole, *anchors, "--methods", ",".join(spec.methods))], None
    if _is_demo(spec):
        seed = ["--seed", str(spec.seed)] if spec.seed else []
        device = ["--device", spec.device] if spec.device != "auto" else []
        return [_line("demo", *seed, *device)], None
    changed = changes(spec.construction)
    options = [part for name in OPTIONS if name in changed for part in (f"--{name}", str(changed[name]))]
    blocks = ["--blocks", ",".join(map(str, spec.blocks))] if spec.blocks else []
    lines = [_line("construct", *whole, *blocks, "--preset", spec.construction.preset, *options)]
    if spec.methods:
        lines.append(_line("compare", *whole, "--anchors", run_id, "--methods", ",".join(spec.methods)))
    left_out = [name.replace("_", " ") for name in changed if name not in OPTIONS]
    note = f"The command line has no option for: {', '.join(left_out)}." if left_out else None
    return lines, note


def changes(settings: ConstructSettings) -> dict[str, object]:
    """What differs from the preset."""
    preset = PRESETS[settings.preset].model_dump()
    return {name: value for name, value in settings.model_dump().items() if value != preset[name]}


def _is_demo(spec: RunSpec) -> bool:
    plain = construct_settings("fast", seed=spec.seed)
    whole = spec.tasks == spec.zoo.task_names and not spec.blocks
    return spec.zoo.name == "demo" and whole and spec.construction == plain and set(spec.methods) == set(MAIN_METHODS)


def _shared(spec: RunSpec, *, with_tasks: bool) -> list[str]:
    shipped = {str(path): name for name, path in list_zoos().items()}
    parts = ["--zoo", shipped.get(spec.zoo_path, spec.zoo_path)]
    if with_tasks:
        parts += ["--tasks", ",".join(spec.tasks)]
    return parts + (["--device", spec.device] if spec.device != "auto" else [])


def _line(*parts: str) -> str:
    return shlex.join(("python", "-m", "fda", *parts))
