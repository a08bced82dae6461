"""The README.md of an exported model: what was merged and how, its scores, how to load it and how to make it again.

The front matter is that of the Hugging Face hub. Every number comes from the run's store. Imports no streamlit.
"""

import json
import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from fda.errors import UserError
from fda.escape import code, fence, markdown
from fda.merging.methods.mix import is_mix
from fda.merging.registry import METHODS
from fda.report.anchors import known_settings
from fda.report.command import run_commands
from fda.report.comparison import Results, results, settings_text
from fda.report.model_loading import Loading, loading_code
from fda.requests.exports import export_words
from fda.requests.recipe import read_recipe, recipe_text
from fda.store.records import Run
from fda.store.spec import RunSpec
from fda.store.store import Store
from fda.zoos.hub import is_hub_id, split_id
from fda.zoos.zoo import Zoo, list_zoos

NEAR = 2  # a path at most this many folders up from the zoo file stays relative


def model_card(
    store: Store, run: Run, method: str, loading: Loading, *, licence: Mapping[str, str] | None = None
) -> str:
    """Markdown with front matter. `licence`: the front-matter fields that state the base's licence."""
    zoo, comparison = run.spec.zoo, results(store, run)
    entry = METHODS[method]
    about = markdown(zoo.description or "")
    names = ", ".join(map(code, run.spec.tasks))
    front = _front_matter(zoo, run.spec.tasks, loading.kind) | dict(licence or {})
    parts = [
        "---\n" + yaml.safe_dump(front, sort_keys=False, allow_unicode=True) + "---",
        f"# {markdown(zoo.name)} merged by {entry.title}",
        f"{entry.idea} {about}".strip(),
        f"One model for the tasks {names}, merged from checkpoints that were finetuned from {_model(zoo.base.model)}.",
        "## Load it\n\n" + _loading(loading),
        "## What it scores\n\n" + _scores(comparison, method),
        "## How it was made\n\n" + _settings(store, run, method, comparison),
        "## Make it again\n\n" + fence("bash", "\n".join(_commands(store, run, method, loading.task))),
        "The zoo file:\n\n" + fence("yaml", _zoo_file(zoo, Path(run.spec.zoo_path).parent)),
        "The licences of the base and of the finetuned checkpoints apply to this model too.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(zoo: Zoo, tasks: tuple[str, ...], kind: str) -> dict[str, Any]:
    """Only ids that the hub can resolve, no paths of this machine."""
    models = [zoo.base.model, *(zoo.task(name).model for name in tasks)]
    ids = list(dict.fromkeys(split_id(model).name for model in models if is_hub_id(model)))
    data = [zoo.task(name).data for name in tasks]
    sets = [source.path for source in data if source is not None and is_hub_id(source.path)]
    front: dict[str, Any] = {"library_name": kind, "tags": ["merge", "model-merging"]}
    if ids:
        front |= {"base_model": ids, "base_model_relation": "merge"}
    return front | ({"datasets": list(dict.fromkeys(sets))} if sets else {})


def _model(model: str) -> str:
    if is_hub_id(model):
        return f"[{markdown(model)}](https://huggingface.co/{quote(split_id(model).name)})"
    return code(Path(model).name)


def _loading(loading: Loading) -> str:
    note = ""
    if loading.task is not None:
        note = (
            f"It includes the head of the task {code(loading.task)}. Each task has its own head; heads are not merged."
        )
    elif loading.heads:
        named = ", ".join(code(f"heads/{name}.safetensors") for name in loading.heads)
        note = f"Heads are not merged; each task has its own: {named}."
    elif loading.kind == "transformers":
        note = "It includes no task's head: heads are not merged; each finetuned checkpoint has its own."
    if not loading.text_tower:
        note += " The base had no text tower: the one in the folder is empty, so that open_clip can build the model."
    return fence("python", loading_code(loading)) + (f"\n\n{note.strip()}" if note else "")


def _commands(store: Store, run: Run, method: str, task: str | None) -> list[str]:
    """The commands from the zoo file to this folder, with file names only: paths of this machine stay private."""
    source = _anchors_run(store, run)
    lines = [] if source is None else run_commands(_nameless(source.spec))
    spec = run.spec if run.spec.anchors_run is None else run.spec.model_copy(update={"anchors_run": "RUN_ID"})
    lines += run_commands(_nameless(spec))
    return [*lines, shlex.join(["python", "-m", "fda", *export_words("RUN_ID", method, task, "FOLDER")])]


def _nameless(spec: RunSpec) -> RunSpec:
    if spec.published is not None:
        spec = spec.model_copy(update={"published": Path(spec.published).name})
    shipped = spec.zoo_path in map(str, list_zoos().values())
    return spec if shipped else spec.model_copy(update={"zoo_path": Path(spec.zoo_path).name})


def _scores(comparison: Results, method: str) -> str:
    """A table of the method's scores beside the two references, with intervals if they are known."""
    shown = [name for name in ("pretrained", "individual") if name in comparison.methods] + [method]
    lines = [f"| {comparison.metric}, in percent | " + " | ".join(METHODS[name].title for name in shown) + " |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for column in comparison.scores.columns:
        cells = []
        for name in shown:
            low, high = comparison.scores.interval_of(name, column)
            sure = f" ({100 * low:.1f} – {100 * high:.1f})" if math.isfinite(low) else ""
            cells.append(f"{100 * comparison.scores.of(name, column):.1f}{sure}")
        lines.append(f"| {markdown(column)} | " + " | ".join(cells) + " |")
    note = (
        f"On {comparison.count:,} samples of the split {markdown(comparison.split)}, with 95 % bootstrap intervals in "
        "brackets."
    )
    return "\n".join(lines) + f"\n\n{note} “Individual” is each finetuned model on its own task, not a single model."


def _settings(store: Store, run: Run, method: str, comparison: Results) -> str:
    entry = METHODS[method]
    lines = [f"- method: `{method}`" + (f" ({entry.paper})" if entry.paper else "")]
    settings, recipe = comparison.settings[method], ""
    if is_mix(method):
        recipe = "\n\nThe recipe:\n\n" + fence("yaml", recipe_text(read_recipe(settings["recipe"])).rstrip())
    lines.append(f"- settings: {'the recipe below' if recipe else markdown(settings_text(settings))}")
    lines.append(f"- chosen: {markdown(comparison.settings[method].get('selection', 'fixed'))}")
    construction = _construction(store, run) if entry.needs == "anchors" else None
    if construction is not None:
        lines.append(f"- anchors: {markdown(construction)}")
    return "\n".join(lines) + recipe


def _construction(store: Store, run: Run) -> str | None:
    """The settings of the anchors in words; None if they are unknown."""
    source = run if run.spec.construction is not None else _anchors_run(store, run)
    if source is None or source.spec.construction is None:
        return None
    settings = settings_text(known_settings(source.spec))
    return settings if source.spec.published is None else f"published by others, {settings}"


def _anchors_run(store: Store, run: Run) -> Run | None:
    """The other run that constructed the anchors; None if there is none or it is deleted."""
    if run.spec.construction is not None or run.spec.anchors_run is None:
        return None
    try:
        return store.run(run.spec.anchors_run)
    except UserError:
        return None


def _zoo_file(zoo: Zoo, folder: Path) -> str:
    """The zoo file's text, with paths relative to the file, or only the last name of paths far from it."""
    content = json.loads(zoo.model_dump_json(exclude_none=True, exclude_defaults=True))
    for part in (content["base"], *content["tasks"]):
        part["model"] = _relative(part["model"], folder)
        if isinstance(part.get("head"), str):
            part["head"] = _relative(part["head"], folder)
        if "data" in part:
            part["data"]["path"] = _relative(part["data"]["path"], folder)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip()


def _relative(path: str, folder: Path) -> str:
    if not Path(path).is_absolute():
        return path
    relative = os.path.relpath(path, folder)
    return relative if relative.count("..") <= NEAR else Path(path).name
