"""What a zoo is, told from headers and configs alone: before anything is downloaded, and before any tensor is read.

How one model is seen is `fda.models.seen`; here what the models of a zoo are to each other.
What a run will need of memory, disk and time is `fda.models.needs`.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from fda.errors import Misfit, UserError
from fda.models.checkpoints import TensorInfo, Weights
from fda.models.hub import hub_cache
from fda.models.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, open_model
from fda.models.model import Model
from fda.models.needs import construction_seconds, memory_bytes, product_rate, run_bytes
from fda.models.seen import Seen, described, look, model_type
from fda.models.survey import fit_base, fit_task
from fda.models.zoo import Zoo

CONNECTIONS = 8  # models of a zoo that are asked for side by side


class ModelPreview(BaseModel):
    """One checkpoint. `known`: whether its header could be read without a download; else the numbers are its config's, or None.

    `adapter_of`: of a LoRA adapter, the base that it names as its own; its tensors are then those of the adapted base.
    """

    model_config = ConfigDict(frozen=True)

    role: str
    model: str
    where: str
    architecture: str | None = None
    parameters: int | None = None
    tensors: int | None = None
    dtype: str | None = None
    bytes: int
    to_download: int
    blocks: int | None = None
    tensors_per_block: int | None = None
    width: int | None = None
    known: bool
    adapter_of: str | None = None


class Preview(BaseModel):
    """`problems`: why it cannot be merged, a sentence each; `notes`: what does not hinder that. `disk_bytes`: of the download,
    the anchors and a merged model; `memory_bytes`: at the peak of a run, about; `seconds`: of construction on this machine,
    roughly; None where the blocks are not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str | None
    models: tuple[ModelPreview, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    download_bytes: int
    disk_free_bytes: int
    disk_bytes: int
    memory_bytes: int | None
    seconds: float | None = None


def preview(zoo: Zoo) -> Preview:
    """Look at every model of a zoo; what does not fit together is among the `problems`. UserError without a base."""
    base = described(look(zoo.base.model))
    seen, problems, notes = {"base": base}, [], []
    model, fitted = None, None
    try:
        model = open_model(_with_base(zoo, base))
    except UserError as error:
        problems += sentences(error)
    known = {} if model is None else {"rename": model.rename}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        looks = {task.name: pool.submit(look, task.model, base.weights, role=task.name, **known) for task in zoo.tasks}
    for name, found in looks.items():
        try:
            seen[name] = described(found.result())
        except UserError as error:
            problems += sentences(error)
    try:
        if model is not None and base.weights is not None:
            fitted = fit_base(model, base.weights)
            problems += _mismatches(zoo, model, fitted, seen)
            notes += _notes(zoo, seen, fitted)
    except UserError as error:
        problems += sentences(error)
    download = sum({one.model: one.to_download for one in seen.values()}.values())
    free = shutil.disk_usage(_existing(hub_cache())).free
    disk = download + (run_bytes(zoo, model) + base.bytes if model is not None else 0)
    if disk > free:
        problems.append(
            f"{disk / 1e9:.1f} GB of disk are needed and {free / 1e9:.1f} GB are free: make room, or set HF_HOME and "
            "FDA_HOME to a larger disk."
        )
    return Preview(
        name=zoo.name,
        kind=None if model is None else model.kind,
        models=tuple(_row(role, one, model) for role, one in seen.items()),
        problems=tuple(problems),
        notes=tuple(notes),
        download_bytes=download,
        disk_free_bytes=free,
        disk_bytes=disk,
        memory_bytes=None if model is None or fitted is None else memory_bytes(zoo, model, fitted),
        seconds=None if model is None else construction_seconds(zoo, model, product_rate()),
    )


def sentences(error: UserError) -> tuple[str, ...]:
    """All that is wrong, a sentence each."""
    return error.problems if isinstance(error, Misfit) else (str(error),)


def _with_base(zoo: Zoo, base: Seen) -> Zoo:
    """The zoo with its base where its config is. Of a folder with two configs its weights say which library's it is."""
    kind = zoo.base.kind
    if kind == "auto" and (base.folder / OPEN_CLIP_CONFIG).is_file():
        kind = "open_clip" if base.open_clip or not (base.folder / TRANSFORMERS_CONFIG).is_file() else "transformers"
    return zoo.model_copy(update={"base": zoo.base.model_copy(update={"model": str(base.folder), "kind": kind})})


def _mismatches(zoo: Zoo, model: Model, fitted: Weights, seen: Mapping[str, Seen]) -> Iterator[str]:
    for name, one in seen.items():
        if name == "base" or one.weights is None:
            continue
        try:
            fit_task(model, fitted, name, one.weights)
        except UserError as error:
            other = _other_architecture(zoo, name, one.folder, seen["base"].folder)
            yield from sentences(error) if other is None else (other,)


def _notes(zoo: Zoo, seen: Mapping[str, Seen], fitted: Weights) -> Iterator[str]:
    usual = _usual_dtype(fitted)
    for name, one in seen.items():
        whose = "the base" if name == "base" else f"task {name!r}"
        if not one.known:
            compared = "" if one.weights is None else "; compared was what its config describes"
            yield f"{whose} ({one.model}): its tensors are known only after the download{compared}."
        if one.adapter_of is not None:
            yield f"{whose} ({one.model}) is a LoRA adapter of {one.adapter_of}; here its base is {zoo.base.model}."
        elif one.weights is not None and name != "base" and _usual_dtype(one.weights) != usual:
            yield f"{whose} ({one.model}) is {_usual_dtype(one.weights)}, the base {usual}; merged models are as the base is."


def _usual_dtype(weights: Weights) -> str | None:
    found = Counter(info.dtype for info in weights.header.values()).most_common(1)
    return found[0][0] if found else None


def _other_architecture(zoo: Zoo, task: str, folder: Path, base: Path) -> str | None:
    """A sentence if the configs name different architectures: clearer than the first tensor that is missing."""
    own, expected = model_type(folder), model_type(base)
    if own is None or expected is None or own == expected or own.startswith(expected) or expected.startswith(own):
        return None
    return (
        f"task {task!r} ({zoo.task(task).model}) is a {own} model, but the base is a {expected} model: give a "
        "checkpoint that was finetuned from this base."
    )


def _row(role: str, one: Seen, model: Model | None) -> ModelPreview:
    header = {} if one.weights is None else one.weights.header
    dtypes = Counter(info.dtype for info in header.values())
    if model is not None and role == "base":
        blocks, tensors, width = len(model.blocks), len(model.blocks[0].names), model.width
    else:
        blocks, tensors, width = repeated(header)
    return ModelPreview(
        role=role,
        model=one.model,
        where=one.where,
        architecture=model_type(one.folder) or ("open_clip" if _is_open_clip(one, model) else None),
        parameters=sum(info.count for info in header.values()) if header else None,
        tensors=len(header) or None,
        dtype=", ".join(name for name, _ in dtypes.most_common()) or None,
        bytes=one.bytes,
        to_download=one.to_download,
        blocks=blocks,
        tensors_per_block=tensors,
        width=width,
        known=one.known,
        adapter_of=one.adapter_of,
    )


def _is_open_clip(one: Seen, model: Model | None) -> bool:
    """Whether it is that library's by its config; weights without one are of the library of the base."""
    return (one.folder / OPEN_CLIP_CONFIG).is_file() or (model is not None and model.kind == "open_clip")


def repeated(header: Mapping[str, TensorInfo]) -> tuple[int | None, int | None, int | None]:
    """(blocks, tensors in each, width) told by names alone: the largest group of tensors that differ by one number in them.

    The width is the size that most tensors of a block have, the smallest of several.
    """
    groups: dict[str, dict[int, list[TensorInfo]]] = {}
    for name, info in header.items():
        parts = name.split(".")
        place = next((at for at, part in enumerate(parts) if part.isdigit()), None)
        if place is not None:
            groups.setdefault(".".join(parts[:place]), {}).setdefault(int(parts[place]), []).append(info)
    if not groups:
        return None, None, None
    blocks = max(groups.values(), key=lambda group: sum(info.count for block in group.values() for info in block))
    first = blocks[min(blocks)]
    sizes = Counter(size for info in first for size in set(info.shape))
    return len(blocks), len(first), min(sizes, key=lambda size: (-sizes[size], size), default=None)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
