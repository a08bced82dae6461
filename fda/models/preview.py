"""What a zoo is, told from headers and configs alone: before anything is downloaded, and before any tensor is read.

Of a model on the hub the config is fetched, and the headers of its safetensors files are asked for by range requests, some KB.
Weights of other formats are known only after the download; until then the tensors that their config describes stand for them.
What a run will need of memory and disk is `fda.models.needs`; how long it takes is left to `fda.runs.cost`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from fda.errors import Misfit, UserError
from fda.models.checkpoints import TensorInfo, Weights
from fda.models.hub import cached_folder, config_folder, hub_cache, is_hub_id, listing, told
from fda.models.hub_files import remote_header
from fda.models.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, open_model
from fda.models.model import Model
from fda.models.needs import memory_bytes, run_bytes
from fda.models.readers.adapters import CONFIG as ADAPTER_CONFIG
from fda.models.readers.adapters import AdaptedWeights
from fda.models.readers.adapters import read_config as read_adapter_config
from fda.models.readers.open import open_weights
from fda.models.survey import fit_base, fit_task
from fda.models.zoo import Zoo

if TYPE_CHECKING:
    from torch import Tensor

CONNECTIONS = 8  # models of a zoo that are asked for side by side
CONFIG_DTYPES = {"float64": "F64", "float16": "F16", "bfloat16": "BF16"}  # any other is float32


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
    the anchors and a merged model; `memory_bytes`: at the peak of a run, about; None where the blocks are not known.
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


class HeaderWeights(Weights):
    """A checkpoint of which only the header is known."""

    def __init__(self, model: str, header: Mapping[str, TensorInfo], size: int) -> None:
        self.path, self._header, self._size = Path(model), dict(sorted(header.items())), size

    @property
    def header(self) -> dict[str, TensorInfo]:
        return self._header

    @property
    def fingerprint(self) -> str:
        raise ValueError(f"the content of {self.path} is not known")

    @property
    def bytes(self) -> int:
        return self._size

    def __getitem__(self, name: str) -> "Tensor":
        raise ValueError(f"the content of {self.path} is not known")


@dataclass(frozen=True)
class _Seen:
    """What could be found out about a model. `folder`: where its config is; `weights`: None if nothing tells its tensors.

    `known`: whether they are told by a header, not by the config.
    """

    model: str
    where: str
    folder: Path
    weights: Weights | None
    bytes: int
    to_download: int
    known: bool = True
    open_clip: bool = False

    @property
    def adapter_of(self) -> str | None:
        if not isinstance(self.weights, AdaptedWeights):
            return None
        return str(self.weights.config.get("base_model_name_or_path") or "not named")


def preview(zoo: Zoo) -> Preview:
    """Look at every model of a zoo; what does not fit together is among the `problems`. UserError without a base."""
    base = _look(zoo.base.model)
    seen, problems, notes = {"base": base}, [], []
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        looks = {task.name: pool.submit(_look, task.model, base.weights) for task in zoo.tasks}
    for name, look in looks.items():
        try:
            seen[name] = look.result()
        except UserError as error:
            problems += sentences(error)
    model, fitted = None, None
    try:
        model = open_model(_with_base(zoo, base))
        if base.weights is not None:
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
    )


def sentences(error: UserError) -> tuple[str, ...]:
    """All that is wrong, a sentence each."""
    return error.problems if isinstance(error, Misfit) else (str(error),)


def _look(model: str, base: Weights | None = None) -> _Seen:
    if Path(model).exists() or not is_hub_id(model):
        return _look_here(model, Path(model), base)
    folder = cached_folder(model)
    if folder is not None:
        return _look_here(model, folder, base)
    found = listing(model)
    folder = config_folder(found)
    known = all(name.endswith((".safetensors", ".index.json")) for name in found.weights)
    adapter = any(name.startswith("adapter_model") for name in found.weights)
    weights: Weights | None = None
    if known:
        header: dict[str, TensorInfo] = {}
        for name in (one for one in found.weights if one.endswith(".safetensors")):
            with told(model):
                header |= remote_header(found.id, found.path(name), found.commit)
        weights = HeaderWeights(model, header, found.bytes)
        if adapter:
            weights, known = (None, False) if base is None else (AdaptedWeights(folder, base, weights), True)
            _ = weights and weights.header  # an adapter of another base is told now
    elif adapter:
        read_adapter_config(folder / ADAPTER_CONFIG)  # what cannot be carried out is told now
    else:
        weights = _described(model, folder, found.bytes)
    missing = sum(size for name, size in found.files.items() if not (folder / name).exists())
    open_clip = any(name.startswith("open_clip") for name in found.weights)
    return _Seen(model, "hub", folder, weights, found.bytes, missing, known, open_clip)


def _look_here(model: str, path: Path, base: Weights | None) -> _Seen:
    weights = open_weights(path, base=base)
    _ = weights.header  # a file that is not whole is told now
    return _Seen(model, "here", path, weights, weights.bytes, 0, open_clip=weights.path.name.startswith("open_clip"))


def _described(model: str, folder: Path, size: int) -> Weights | None:
    """The tensors that a transformers config describes, in place of a header that cannot be asked for."""
    if _model_type(folder) is None:
        return None
    from fda.models.transformers_model import build_on_meta, read_config

    config = read_config(folder)
    tensors = build_on_meta(config, folder).state_dict()
    dtype = CONFIG_DTYPES.get(str(config.dtype).removeprefix("torch."), "F32")
    return HeaderWeights(model, {name: TensorInfo(tuple(one.shape), dtype) for name, one in tensors.items()}, size)


def _with_base(zoo: Zoo, base: _Seen) -> Zoo:
    """The zoo with its base where its config is. Of a folder with two configs its weights say which library's it is."""
    kind = zoo.base.kind
    if kind == "auto" and (base.folder / OPEN_CLIP_CONFIG).is_file():
        kind = "open_clip" if base.open_clip or not (base.folder / TRANSFORMERS_CONFIG).is_file() else "transformers"
    return zoo.model_copy(update={"base": zoo.base.model_copy(update={"model": str(base.folder), "kind": kind})})


def _mismatches(zoo: Zoo, model: Model, fitted: Weights, seen: Mapping[str, _Seen]) -> Iterator[str]:
    for name, one in seen.items():
        if name == "base" or one.weights is None:
            continue
        try:
            fit_task(model, fitted, name, one.weights)
        except UserError as error:
            other = _other_architecture(zoo, name, one.folder, seen["base"].folder)
            yield from sentences(error) if other is None else (other,)


def _notes(zoo: Zoo, seen: Mapping[str, _Seen], fitted: Weights) -> Iterator[str]:
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
    own, expected = _model_type(folder), _model_type(base)
    if own is None or expected is None or own == expected or own.startswith(expected) or expected.startswith(own):
        return None
    return (
        f"task {task!r} ({zoo.task(task).model}) is a {own} model, but the base is a {expected} model: give a "
        "checkpoint that was finetuned from this base."
    )


def _model_type(folder: Path) -> str | None:
    try:
        found = json.loads((folder / TRANSFORMERS_CONFIG).read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _row(role: str, one: _Seen, model: Model | None) -> ModelPreview:
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
        architecture=_model_type(one.folder) or ("open_clip" if (one.folder / OPEN_CLIP_CONFIG).is_file() else None),
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


def repeated(header: Mapping[str, TensorInfo]) -> tuple[int | None, int | None, int | None]:
    """(blocks, tensors in each, width) told by names alone: the largest group of tensors that differ by one number in them.

    The width is the size that most tensors of a block have.
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
    sizes = Counter(size for info in first for size in set(info.shape)).most_common(1)
    return len(blocks), len(first), sizes[0][0] if sizes else None


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
