"""Train the tasks of a zoo file that have data but no model, and fill the file in.

A task's folder holds `model`, `head.safetensors` unless the zoo file names a head, and `finetune.json`: the settings, what the
task was made from, and the validation curve. It appears whole or not at all, so a finished task is not trained again, and an
interrupted one starts anew.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from fda.architectures.model import Model
from fda.cancel import NEVER, Cancel
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Checkpoint, Weights
from fda.checkpoints.write import kinds_of, write_tensors
from fda.errors import UserError
from fda.settings import FinetuneSettings, finetune_settings
from fda.stages.export import export_model, frame, whole_folder
from fda.tasks.adapters import add_adapters, save_adapters
from fda.tasks.data import Split, load_split
from fda.tasks.fitted_heads import classes_of, features, mean_head, probe_head
from fda.tasks.heads import Head, TaskHead, task_head
from fda.tasks.metrics import metric_name
from fda.tasks.training import Epoch, train
from fda.zoos.fill_in import fill_in
from fda.zoos.hub import located, tell_on_stderr
from fda.zoos.kinds import open_model
from fda.zoos.survey import OpenZoo, fit_base
from fda.zoos.zoo import PRESET_ZOOS, UntrainedTask, UntrainedZoo, load_untrained, zoo_path

RECORD = "finetune.json"
Tell = Callable[[str, int, Epoch], None]  # task, epochs in all, the epoch that ended


@dataclass(frozen=True)
class Finished:
    """A task's folder, and whether it was there before."""

    task: str
    folder: Path
    found: bool


def finetune_zoo(
    reference: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    out: Path | None = None,
    device: str = "cpu",
    tell: Tell = lambda *_: None,
    cancel: Cancel = NEVER,
) -> list[Finished]:
    """Train the named tasks (None: all without a model) into `out` (None: `models` beside the zoo file), one after the other.

    The zoo file is filled in after each. UserError for a shipped zoo, a task that is not there, has a model or has no data,
    metrics that are not of classes, and a folder that was made with other settings.
    """
    file = zoo_path(reference)
    if file.parent == PRESET_ZOOS:
        raise UserError(f"{reference} is a shipped zoo: copy {file} to a folder of yours, and finetune that.")
    zoo = load_untrained(file)
    chosen = _chosen(zoo, tasks)
    base = located(zoo.model_copy(update={"tasks": ()}), report=tell_on_stderr)
    own_base = open_weights(base.base.model)
    finished = []
    for task in chosen:
        folder = (file.parent / "models" if out is None else out).resolve() / task.name
        settings = finetune_settings(zoo.family, {**zoo.finetune, **task.finetune})
        origin = _origin(task, settings, own_base)
        was_there = folder.is_dir() and any(folder.iterdir())
        if was_there:
            _require_same(folder, origin)
        else:
            opened = _open(base, own_base)
            with whole_folder(folder) as part:
                _finetune(opened, task, settings, origin, part, device, tell, cancel)
        fill_in(file, task.name, _places(task, folder, file.parent))
        finished.append(Finished(task.name, folder, was_there))
    return finished


def _chosen(zoo: UntrainedZoo, names: Sequence[str] | None) -> list[UntrainedTask]:
    if unknown := sorted(set(names or ()) - set(zoo.task_names)):
        raise UserError(f"the zoo {zoo.name} has no task {unknown[0]!r}: its tasks are {', '.join(zoo.task_names)}.")
    chosen = [task for task in zoo.tasks if (not task.model if names is None else task.name in names)]
    if not chosen:
        raise UserError(f"every task of the zoo {zoo.name} has a model already: take `model` out of those to train.")
    for task in chosen:
        if task.model:
            raise UserError(f"task {task.name!r} has a model already ({task.model}): take `model` out to train it.")
        if task.data is None or task.data.train_split is None:
            raise UserError(f"task {task.name!r} has nothing to learn from: give it `data` with a `train_split`.")
        if (metric := metric_name(task.data)) not in ("accuracy", "matthews"):
            raise UserError(
                f"task {task.name!r} is scored by {metric}, and only tasks of classes are finetuned: leave it out."
            )
    return chosen


def _origin(task: UntrainedTask, settings: FinetuneSettings, own_base: Weights) -> dict[str, Any]:
    """All that decides what a task's training gives."""
    assert task.data is not None, "`_chosen` refuses it"
    data = task.data.model_dump(exclude={"path"}, exclude_defaults=True, mode="json")
    head = task.head.model_dump(mode="json") if task.head is not None and not isinstance(task.head, str) else task.head
    named = None if isinstance(head, str) else head
    return {"settings": settings.model_dump(), "base": own_base.fingerprint, "data": data, "head": named}


def _require_same(folder: Path, origin: dict[str, Any]) -> None:
    try:
        before = json.loads((folder / RECORD).read_text(encoding="utf-8"))["origin"]
        differing = [key for key in origin if before[key] != origin[key]]
        if "settings" in differing:
            settings, now = before["settings"], origin["settings"]
            differing = [
                f"{name} {settings.get(name)}, now {now[name]}" for name in now if settings.get(name) != now[name]
            ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{folder} is no finetuned task: remove it, or name another folder with --out.") from None
    if differing:
        raise UserError(
            f"{folder} was made with something else ({'; '.join(differing)}): remove it, or name another folder with --out."
        )


def _open(base: Any, own_base: Weights) -> OpenZoo:
    """The base alone, with a module of its own, which training changes."""
    model = open_model(base, own_base)
    opened = OpenZoo(base, model, fit_base(model, own_base), {}, own_base)
    model.load(opened.base)
    return opened


def _finetune(
    opened: OpenZoo,
    task: UntrainedTask,
    settings: FinetuneSettings,
    origin: dict[str, Any],
    folder: Path,
    device: str,
    tell: Tell,
    cancel: Cancel,
) -> None:
    model, data = opened.model, task.data
    assert data is not None, "`_chosen` refuses it"
    model.to(device)
    split, validation = (_split(opened, task, name) for name in (data.train_split, data.validation_split))
    assert split is not None, "`_chosen` refuses it"
    head = _head(opened, task, settings, split, device, cancel)
    adapters = add_adapters(model, settings) if settings.trained == "lora" else None
    learning = _learning(model, settings, opened.base)
    if task.head is None and settings.head == "trained" and isinstance(head, Head):
        learning += head.tensors.values()
    curve = []
    for epoch in train(model, head, learning, split, validation, data, settings, device, cancel):
        curve.append(epoch)
        tell(task.name, settings.epochs, epoch)
    model.to("cpu")
    if adapters is not None:
        save_adapters(adapters, folder / "model")
    else:
        _save_model(opened, folder / "model")
    if task.head is None and isinstance(head, Head):
        names = {} if split.names is None else {"classes": json.dumps(list(split.names))}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in head.tensors.items()}
        save_file(tensors, folder / "head.safetensors", names)
    record = {"origin": origin, "curve": [asdict(epoch) for epoch in curve]}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _split(opened: OpenZoo, task: UntrainedTask, name: str | None) -> Split | None:
    """A split with labels as its own head numbers them; without a head, as the data do."""
    if name is None:
        return None
    split = load_split(task.model_copy(update={"model": opened.zoo.base.model}), name, opened.model.transform)
    return split if task.head is not None else replace(split, classes=None, size=None)


def _head(
    opened: OpenZoo, task: UntrainedTask, settings: FinetuneSettings, split: Split, device: str, cancel: Cancel
) -> TaskHead:
    """The head that the zoo file names, or one made from the base's features."""
    if task.head is not None:
        alone = opened.zoo.model_copy(update={"tasks": (task,)})
        return task_head(replace(opened, zoo=alone), task.name).to(device)
    count = classes_of(split)
    make = probe_head if settings.head == "probe" else mean_head
    return make(features(opened.model, split, device, cancel), split.labels(), count).to(device)


def _learning(model: Model, settings: FinetuneSettings, base: Weights) -> list[Tensor]:
    named = dict(model.module.named_parameters())
    if settings.trained == "lora":
        return [parameter for name, parameter in named.items() if "lora_" in name]
    prefixes = tuple(block.prefix for block in model.blocks) if settings.trained == "blocks" else ("",)
    return [parameter for name, parameter in named.items() if name.startswith(prefixes) and name in base]


def _save_model(opened: OpenZoo, folder: Path) -> None:
    """Write the module's weights in the form of the base, as its library loads it."""
    folder.mkdir()
    part = folder.with_name("weights.safetensors")
    state = opened.model.module.state_dict()
    tensors = {name: state[name] for name in opened.base}
    write_tensors(part, kinds_of(tensors), tensors.items(), {"format": "pt"})
    export_model(frame(opened), Checkpoint(part), folder)
    part.unlink()


def _places(task: UntrainedTask, folder: Path, beside: Path) -> dict[str, str]:
    """The keys of a task that are filled in, as paths relative to the zoo file where that is not far."""
    places = {"model": folder / "model"} | ({"head": folder / "head.safetensors"} if task.head is None else {})
    inside = folder.is_relative_to(beside)
    return {key: os.path.relpath(path, beside) if inside else str(path) for key, path in places.items()}
