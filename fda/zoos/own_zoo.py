"""The form of a user's own zoo: text fields that become a zoo file in FDA_HOME/zoos, and back.

Reports what is wrong with each field; opens no checkpoint. `fda.zoos.zoo` defines the file.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from fda.atomic import write_text
from fda.errors import UserError
from fda.home import absolute, is_readable, model_roots, outside
from fda.settings import Family
from fda.zoos.hub_ids import is_hub_id
from fda.zoos.nearby import architecture, columns, family, is_model, splits, zoo_file_in
from fda.zoos.zoo import NAME, TaskData, Zoo, ZooTask, list_zoos, own_folder, own_zoos, resolved, validated

HeadFrom = Literal["checkpoint", "file", "zero_shot"]
UNASKED = (
    "samples",
    "tokens",
    "seed",
    "bad_rows",
    "prompt",
    "new_tokens",
)  # of the data: the form keeps them as they are
USUAL = {name: one.default for name, one in TaskData.model_fields.items()}
LABELS = ("label", "labels", "fine_label", "class", "target", "answer")
NO_INPUTS = ("id", "idx", "index", "file_name")
# Architecture → the family whose settings of the paper it takes; other text encoders take RoBERTa's.
FAMILY_OF: dict[str, Family] = {
    **dict.fromkeys(("clip", "clip_vision_model", "vit", "dinov2"), "vision"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "gemma", "gpt2"), "llama"),
}
NO_NAME = "letters, digits, '.', '_' and '-' only, at most 64, beginning with a letter or digit"


@dataclass(frozen=True)
class TaskDraft:
    """One task's fields in the form. `kept`: fields of the zoo file that the form does not show."""

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
    """The whole form. `written`: the text of the file that it was read from, empty for a new zoo. `kept`: as of `TaskDraft`."""

    name: str = ""
    model: str = ""
    kind: str = "auto"
    architecture: str = ""  # of open_clip, for weights without a config
    family: str = "vision"
    tasks: tuple[TaskDraft, ...] = (TaskDraft(),)
    kept: Mapping[str, Any] = field(default_factory=dict)
    written: str = ""


def draft_of(zoo: Zoo, folder: Path, written: str = "") -> Draft:
    """Return the draft of a zoo whose paths are relative to `folder`."""

    def as_shown(text: str) -> str:
        path = absolute(text, folder)
        return shown(path) if os.path.exists(path) or not is_hub_id(text) else text

    fields = zoo.model_dump(mode="json", exclude_defaults=True)
    kept = {name: value for name, value in fields.items() if name not in ("name", "base", "tasks", "family")}
    tasks = tuple(_task_draft(task, as_shown) for task in zoo.tasks)
    base = zoo.base
    return Draft(zoo.name, as_shown(base.model), base.kind, base.architecture or "", zoo.family, tasks, kept, written)


def _task_draft(task: ZooTask, as_shown: Callable[[str], str]) -> TaskDraft:
    fields = task.model_dump(mode="json", exclude_defaults=True)
    kept = {name: value for name, value in fields.items() if name in ("title", "description")}
    draft = TaskDraft(task.name, as_shown(task.model), kept=kept)
    if isinstance(task.head, str):
        draft = replace(draft, head="file", head_file=as_shown(task.head))
    elif task.head is not None:
        zero_shot = task.head.zero_shot
        draft = replace(
            draft, head="zero_shot", classes="\n".join(zero_shot.classes), templates="\n".join(zero_shot.templates)
        )
    if (data := task.data) is None:
        return draft
    unasked = {name: value for name, value in fields["data"].items() if name in UNASKED}
    return replace(
        draft,
        data=as_shown(data.path),
        config=data.name or "",
        split=data.split,
        validation_split=data.validation_split or "",
        train_split=data.train_split or "",
        input=", ".join(data.columns),
        label=data.label,
        metric=data.metric,
        kept=kept | ({"data": unasked} if unasked else {}),
    )


def models_in(text: str) -> Path | None:
    """Return the folder of finetuned models that a text in the form names; None if it names no such folder."""
    path = _resolved(text.strip())
    return path if path is not None and path.is_dir() and family(path)[1] else None


def draft_of_folder(text: str) -> Draft:
    """Suggest a draft for the folder of models that a text in the form names. UserError that says what it names instead."""
    if (folder := models_in(text)) is not None:
        return draft_of_family(folder, unused_name(folder.name))
    path = Path(_file(text, "the folder of checkpoints"))
    if path.is_dir():
        zoo_file_in(path, text)
    raise UserError(f"{text} is a zoo already: choose it under Zoo.")


def draft_of_family(parent: Path, name: str = "") -> Draft:
    """Suggest a draft for a folder of models: its base, and a task per other model, with head and data of the same name."""
    base, members = family(parent)
    kind = None if base is None else architecture(base)
    tasks = []
    for member in members:
        task = TaskDraft(member.name if NAME.fullmatch(member.name) else "", shown(member.model))
        if member.head is not None:
            task = replace(task, head="file", head_file=shown(member.head))
        if member.data is not None:
            names = splits(member.data)
            fields = {f"{split}_split": split for split in ("validation", "train") if split in names}
            task = replace(task, data=shown(member.data), **fields, **_columns(columns(member.data)))
        tasks.append(task)
    settings = FAMILY_OF.get(kind, "roberta-base") if kind is not None else "vision"
    return Draft(name, "" if base is None else shown(base), family=settings, tasks=tuple(tasks) or (TaskDraft(),))


def _columns(names: list[str]) -> dict[str, str]:
    """Choose the input and the label among the columns, by their usual names."""
    label = next((name for name in LABELS if name in names), None)
    chosen = {} if label is None else {"label": label}
    inputs = [name for name in names if name not in (*LABELS, *NO_INPUTS)]
    if inputs and "image" not in inputs:
        chosen["input"] = inputs[0]
    return chosen


def shown(path: Path) -> str:
    """Return a path as the form shows it: relative to its model root, if the form would resolve that to the same path."""
    for root in model_roots():
        if path.is_relative_to(root) and path != root:
            short = str(path.relative_to(root))
            if _resolved(short) == path:
                return short
    return str(path)


def content_of(draft: Draft) -> dict[str, Any]:
    """Return the fields of the zoo file, with absolute paths. UserError that names a wrong field and what would be right."""
    _require_name(draft.name, "the zoo's name")
    if draft.name in list_zoos():
        raise UserError(f"{draft.name} is the name of a shipped zoo: choose another.")
    base = {"model": _one_model(draft.model, "the base model")}
    if draft.kind != "auto":
        base["kind"] = draft.kind
    if draft.kind == "open_clip" and draft.architecture.strip():
        base["architecture"] = draft.architecture.strip()
    if not draft.tasks:
        raise UserError("there is no task: add one, for merging needs a finetuned model.")
    names = [task.name.strip() for task in draft.tasks]
    for number, name in enumerate(names, 1):
        _require_name(name, f"the name of task {number}")
        if name in names[: number - 1]:
            raise UserError(f"two tasks are called {name}: give each its own name.")
    content = {"name": draft.name, "base": base, "tasks": [_task(task) for task in draft.tasks]}
    content |= dict(draft.kept) | ({"family": draft.family} if draft.family != "vision" else {})
    resolved(validated(content, "this zoo"), own_folder(), model_roots())  # also follows links inside folders
    return content


def _task(task: TaskDraft) -> dict[str, Any]:
    name = task.name.strip()
    content: dict[str, Any] = {"name": name, "model": _one_model(task.model, f"the model of {name}")}
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
    """Write FDA_HOME/zoos/NAME.yaml atomically, and return the draft with the text that was written.

    Replaces a file only if the draft was read from it and it has not changed since. UserError as `content_of`.
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
    """Return `wish`, with a number appended if a zoo has that name."""
    taken = {*own_zoos(), *list_zoos()}
    return next(name for name in (wish, *(f"{wish}-{count}" for count in range(2, 10_000))) if name not in taken)


def _require_name(name: str, what: str) -> None:
    if not name.strip():
        raise UserError(f"{what} is missing: give it one.")
    if not NAME.fullmatch(name):
        raise UserError(f"{what}, {name}, cannot be a file's name: {NO_NAME}.")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _candidates(text: str) -> list[Path]:
    """Paths that a text in the form may mean: absolute, or relative to each root.

    All lie below a root; with `..`, below the root that they are relative to.
    """
    upwards = ".." in Path(text).parts
    paths = [(root, absolute(text, root)) for root in model_roots()]
    return [path for root, path in paths if path.is_relative_to(root) or (not upwards and is_readable(path))]


def _resolved(text: str) -> Path | None:
    """The first candidate for a text in the form that exists. Touches no path outside the roots."""
    return next((path for path in _candidates(text) if os.path.exists(path)), None)


def _file(text: str, what: str) -> str:
    text = text.strip()
    if not text:
        raise UserError(f"{what} is missing: give a path.")
    path = _resolved(text)
    if path is not None:
        return str(path)
    if not _candidates(text):
        raise outside(text)
    raise UserError(f"{what}, {text}, is not there: {_where()}.")


def _model(text: str, what: str) -> str:
    text = text.strip()
    if not text:
        raise UserError(f"{what} is missing: give a path, or a hub id of the form org/name.")
    if _resolved(text) is None and is_hub_id(text):
        return text
    try:
        path = _file(text, what)
    except UserError as error:
        if "is not there" in str(error):
            raise UserError(f"{what}, {text}, is neither there nor a hub id (org/name): {_where()}.") from None
        raise
    return path


def _one_model(text: str, what: str) -> str:
    """As `_model`; UserError for a folder that holds no model, or several."""
    model = _model(text, what)
    if (folder := Path(model)).is_dir() and not is_model(folder):
        base, members = family(folder)
        names = [one.name for one in members] + ([base.name] if base is not None and base.parent == folder else [])
        if names:
            raise UserError(
                f"{what}, {text}, is a folder of models ({', '.join(sorted(names))}): give one of them, or choose the folder "
                "under Folder of checkpoints, which fills the form in."
            )
        raise UserError(f"{what}, {text}, is a folder without weights: give the folder or the file that holds them.")
    return model


def _where() -> str:
    roots = ", ".join(str(root) for root in model_roots()[:-1])
    return f"paths are absolute, or seen from {roots}"
