"""A zoo of one's own as it is filled in: plain texts, field by field, made into a zoo file in FDA_HOME/zoos and back.

Says of every field what is wrong with it; opens no checkpoint. `fda.zoos.zoo` knows the form of the file.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from fda.atomic import write_text
from fda.errors import UserError
from fda.home import absolute, is_readable, model_roots, outside
from fda.zoos.hub import is_hub_id
from fda.zoos.nearby import architecture, columns, family, splits
from fda.zoos.zoo import NAME, TaskData, Zoo, ZooTask, list_zoos, own_folder, own_zoos, resolved, validated

HeadFrom = Literal["checkpoint", "file", "zero_shot"]
USUAL = {name: one.default for name, one in TaskData.model_fields.items()}
LABELS = ("label", "labels", "fine_label", "class", "target", "answer")
NO_INPUTS = ("id", "idx", "index", "file_name")
# The paper's settings for an architecture; of other encoders of text they are RoBERTa's.
LIKE = dict.fromkeys(("clip", "clip_vision_model", "vit", "dinov2"), "vision")
LIKE |= dict.fromkeys(("llama", "mistral", "qwen2", "gemma", "gpt2"), "llama")
NO_NAME = "letters, digits, '.', '_' and '-' only, at most 64, beginning with a letter or digit"


@dataclass(frozen=True)
class TaskDraft:
    """One task as it is written in the form. `kept`: what a file says of it and the form does not ask."""

    name: str = ""
    model: str = ""
    head: HeadFrom = "checkpoint"
    head_file: str = ""
    classes: str = ""  # one a line
    templates: str = "a photo of a {}."  # one a line
    data: str = ""  # empty: the task has none
    config: str = ""
    split: str = "test"
    validation_split: str = ""
    train_split: str = ""
    input: str = "image"  # two columns: with a comma
    label: str = "label"
    metric: str = "auto"
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """`written`: the text of the file that it was read from; empty for a new one. `kept` as for a task."""

    name: str = ""
    model: str = ""
    kind: str = "auto"
    architecture: str = ""  # of open_clip, for weights without a config
    family: str = "vision"
    tasks: tuple[TaskDraft, ...] = (TaskDraft(),)
    kept: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""


def draft_of(zoo: Zoo, folder: Path, written: str = "") -> Draft:
    """The draft of a zoo whose paths are seen from `folder`."""

    def place(text: str) -> str:
        path = absolute(text, folder)
        return shown(path) if os.path.exists(path) or not is_hub_id(text) else text

    fields = zoo.model_dump(mode="json", exclude_defaults=True)
    kept = {name: value for name, value in fields.items() if name not in ("name", "base", "tasks", "family")}
    tasks = tuple(_task_draft(task, place) for task in zoo.tasks)
    base = zoo.base
    return Draft(zoo.name, place(base.model), base.kind, base.architecture or "", zoo.family, tasks, kept, written)


def _task_draft(task: ZooTask, place) -> TaskDraft:
    fields = task.model_dump(mode="json", exclude_defaults=True)
    kept = {name: value for name, value in fields.items() if name in ("title", "description")}
    draft = TaskDraft(task.name, place(task.model), kept=kept)
    if isinstance(task.head, str):
        draft = replace(draft, head="file", head_file=place(task.head))
    elif task.head is not None:
        zero_shot = task.head.zero_shot
        draft = replace(
            draft, head="zero_shot", classes="\n".join(zero_shot.classes), templates="\n".join(zero_shot.templates)
        )
    if (data := task.data) is None:
        return draft
    unasked = {name: value for name, value in fields["data"].items() if name in ("samples", "seed", "bad_rows")}
    return replace(
        draft,
        data=place(data.path),
        config=data.name or "",
        split=data.split,
        validation_split=data.validation_split or "",
        train_split=data.train_split or "",
        input=", ".join(data.columns),
        label=data.label,
        metric=data.metric,
        kept=kept | ({"data": unasked} if unasked else {}),
    )


def draft_of_family(parent: Path, name: str = "") -> Draft:
    """What a folder of models suggests: its base, a task for every other model, with the head and data of the same name."""
    base, members = family(parent)
    kind = None if base is None else architecture(base)
    tasks = []
    for one in members:
        task = TaskDraft(one.name if NAME.fullmatch(one.name) else "", shown(one.model))
        if one.head is not None:
            task = replace(task, head="file", head_file=shown(one.head))
        if one.data is not None:
            found = splits(one.data)
            own = {f"{split}_split": split for split in ("validation", "train") if split in found}
            task = replace(task, data=shown(one.data), **own, **_columns(columns(one.data)))
        tasks.append(task)
    whose = LIKE.get(kind, "roberta-base") if kind is not None else "vision"
    return Draft(name, "" if base is None else shown(base), family=whose, tasks=tuple(tasks) or (TaskDraft(),))


def _columns(named: list[str]) -> dict[str, str]:
    """Which of the columns that data have is the input, and which the label, by their usual names."""
    label = next((name for name in LABELS if name in named), None)
    found = {} if label is None else {"label": label}
    inputs = [name for name in named if name not in (*LABELS, *NO_INPUTS)]
    if inputs and "image" not in inputs:
        found["input"] = inputs[0]
    return found


def shown(path: Path) -> str:
    """A path as the form shows it: seen from the model root it lies in, where that means the same."""
    for root in model_roots():
        if path.is_relative_to(root) and path != root:
            short = str(path.relative_to(root))
            if _found(short) == path:
                return short
    return str(path)


def content_of(draft: Draft) -> dict[str, Any]:
    """The fields of the zoo file, its paths absolute. UserError that says which field is wrong, and what would be right."""
    _require_name(draft.name, "the zoo's name")
    if draft.name in list_zoos():
        raise UserError(f"{draft.name} is the name of a shipped zoo: choose another.")
    base = {"model": _model(draft.model, "the base model")}
    if draft.kind != "auto":
        base["kind"] = draft.kind
    if draft.kind == "open_clip" and draft.architecture.strip():
        base["architecture"] = draft.architecture.strip()
    if not draft.tasks:
        raise UserError("there is no task: add one, for merging needs a finetuned model.")
    names = [task.name.strip() for task in draft.tasks]
    for place, name in enumerate(names, 1):
        _require_name(name, f"the name of task {place}")
        if name in names[: place - 1]:
            raise UserError(f"two tasks are called {name}: give each its own name.")
    content = {"name": draft.name, "base": base, "tasks": [_task(task) for task in draft.tasks]}
    content |= dict(draft.kept) | ({"family": draft.family} if draft.family != "vision" else {})
    resolved(validated(content, "this zoo"), own_folder(), model_roots())  # also follows links inside folders
    return content


def _task(task: TaskDraft) -> dict[str, Any]:
    name = task.name.strip()
    content: dict[str, Any] = {"name": name, "model": _model(task.model, f"the model of {name}")}
    if task.head == "file":
        content["head"] = _file(task.head_file, f"the head of {name}")
    elif task.head == "zero_shot":
        classes, templates = _lines(task.classes), _lines(task.templates)
        if len(classes) < 2 or not templates:
            raise UserError(
                f"the head of {name} is zero-shot: give two class names at least and a template, one a line."
            )
        content["head"] = {"zero_shot": {"classes": classes, "templates": templates}}
    kept = dict(task.kept)
    unasked = kept.pop("data", {})
    if task.data.strip():
        content["data"] = _data(task, name) | unasked
    return content | kept


def _data(task: TaskDraft, name: str) -> dict[str, Any]:
    columns = [part.strip() for part in task.input.split(",") if part.strip()]
    if len(columns) not in (1, 2):
        raise UserError(f"the input of {name} is one column, or two with a comma between that belong together.")
    data = {
        "path": _model(task.data, f"the data of {name}"),
        "name": task.config.strip() or None,
        "split": task.split.strip(),
        "validation_split": task.validation_split.strip() or None,
        "train_split": task.train_split.strip() or None,
        "input": columns[0] if len(columns) == 1 else columns,
        "label": task.label.strip(),
        "metric": task.metric,
    }
    if not data["split"]:
        raise UserError(f"the test split of {name} is missing: give its name, such as test.")
    always = ("path", "split", "input", *(() if task.metric == "perplexity" else ("label",)))
    return {key: value for key, value in data.items() if key in always or value != USUAL[key]}


def zoo_text(content: Mapping[str, Any]) -> str:
    """The zoo file."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)


def save(draft: Draft) -> Draft:
    """Write FDA_HOME/zoos/NAME.yaml, whole or not at all, and return the draft with its new text.

    An existing file is replaced only if the draft was read from it and it has not changed since. UserError as `content_of`.
    """
    text = zoo_text(content_of(draft))
    path = own_folder() / f"{draft.name}.yaml"
    try:
        unchanged = bool(draft.written) and path.exists() and path.read_text(encoding="utf-8") == draft.written
        write_text(path, text, replace=unchanged)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_file():
            raise UserError(
                f"there is a zoo called {path.stem} already: choose another name, or open that one to change it."
            ) from None
        raise UserError(
            f"{path} could not be written ({error.strerror}): check the disk and the permissions."
        ) from None
    return replace(draft, written=text)


def unused_name(wish: str = "my-zoo") -> str:
    """`wish`, with a number behind it if a zoo has that name."""
    taken = {*own_zoos(), *list_zoos()}
    return next(name for name in (wish, *(f"{wish}-{count}" for count in range(2, 10_000))) if name not in taken)


def _require_name(name: str, what: str) -> None:
    if not name.strip():
        raise UserError(f"{what} is missing: give it one.")
    if not NAME.fullmatch(name):
        raise UserError(f"{what}, {name}, cannot be a file's name: {NO_NAME}.")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _places(text: str) -> list[Path]:
    """Where a path in the form may lead: absolute, or seen from each root. Below the roots alone; with `..`, below that one."""
    upwards = ".." in Path(text).parts
    seen = [(root, absolute(text, root)) for root in model_roots()]  # an absolute path is the same from everywhere
    return [place for root, place in seen if place.is_relative_to(root) or (not upwards and is_readable(place))]


def _found(text: str) -> Path | None:
    """What a path in the form means: the first of its places that is there. No other is looked at."""
    return next((place for place in _places(text) if os.path.exists(place)), None)


def _file(text: str, what: str) -> str:
    text = text.strip()
    if not text:
        raise UserError(f"{what} is missing: give a path.")
    found = _found(text)
    if found is not None:
        return str(found)
    if not _places(text):
        raise outside(text)
    raise UserError(f"{what}, {text}, is not there: {_where()}.")


def _model(text: str, what: str) -> str:
    text = text.strip()
    if not text:
        raise UserError(f"{what} is missing: give a path, or a hub id of the form org/name.")
    if _found(text) is None and is_hub_id(text):
        return text
    try:
        return _file(text, what)
    except UserError as error:
        if "is not there" in str(error):
            raise UserError(f"{what}, {text}, is neither there nor a hub id (org/name): {_where()}.") from None
        raise


def _where() -> str:
    roots = ", ".join(str(root) for root in model_roots()[:-1])
    return f"paths are absolute, or seen from {roots}"
