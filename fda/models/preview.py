"""What a zoo is, told from headers and configs alone: before anything is downloaded, and before any tensor is read.

Of a model on the hub the config is fetched, and the headers of its safetensors files are asked for by range requests, some KB.
Weights of other formats are known only after the download. How long a run takes is left to `fda.runs.cost`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from fda.anchors.settings import presets
from fda.errors import UserError
from fda.models.checkpoints import TensorInfo, Weights
from fda.models.hub import cached_folder, config_folder, hub_cache, is_hub_id, listing, told
from fda.models.hub_files import remote_header
from fda.models.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, open_model
from fda.models.model import Model
from fda.models.readers.adapters import CONFIG as ADAPTER_CONFIG
from fda.models.readers.open import open_weights
from fda.models.survey import fit_base, fit_task
from fda.models.zoo import Zoo

if TYPE_CHECKING:
    from torch import Tensor

FLOAT_BYTES = 4  # construction computes in float32
# Of one step of construction, measured on blocks of ViT-B/32, RoBERTa base and Llama's form: θ0, θi, τ and their gradients, and
# what the double backward keeps of each anchor's way through the block. Within about a third.
COPIES_OF_BLOCK, COPIES_OF_ANCHORS = 5, 100
PROGRAM_BYTES = 700 * 2**20  # the libraries themselves


class ModelPreview(BaseModel):
    """One checkpoint. `known`: whether its tensors could be read without a download; without it the numbers are None."""

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


class Preview(BaseModel):
    """`problems`: a sentence each. `disk_bytes`: of the download, the paper's number of anchors and a merged model;
    `memory_bytes`: of construction with the paper's settings, about; None where the blocks are not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str | None
    models: tuple[ModelPreview, ...]
    problems: tuple[str, ...]
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
    """What could be found out about a model. `folder`: where its config is; `weights`: None if they are not known."""

    model: str
    where: str
    folder: Path
    weights: Weights | None
    bytes: int
    to_download: int
    open_clip: bool = field(default=False)


def preview(zoo: Zoo) -> Preview:
    """Look at every model of a zoo; what does not fit together is among the `problems`. UserError without a base."""
    base = _look(zoo.base.model)
    seen, problems = {"base": base}, []
    for task in zoo.tasks:
        try:
            seen[task.name] = _look(task.model, base.weights)
        except UserError as error:
            problems.append(str(error))
    model = None
    try:
        model = open_model(_with_base(zoo, base))
        problems += _mismatches(zoo, model, seen)
    except UserError as error:
        problems.append(str(error))
    download = sum({one.model: one.to_download for one in seen.values()}.values())
    free = shutil.disk_usage(_existing(hub_cache())).free
    disk = download + (_run_bytes(zoo, model, base) if model is not None else 0)
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
        download_bytes=download,
        disk_free_bytes=free,
        disk_bytes=disk,
        memory_bytes=None if model is None else _memory(zoo, model),
    )


def _look(model: str, base: Weights | None = None) -> _Seen:
    if Path(model).exists() or not is_hub_id(model):
        return _look_here(model, Path(model), base)
    folder = cached_folder(model)
    if folder is not None:
        return _look_here(model, folder, base)
    found = listing(model)
    folder = config_folder(found)
    weights = None
    readable = all(name.endswith((".safetensors", ".index.json")) for name in found.weights)
    if readable and ADAPTER_CONFIG not in found.files:
        header: dict[str, TensorInfo] = {}
        for name in (one for one in found.weights if one.endswith(".safetensors")):
            with told(model):
                header |= remote_header(found.id, found.path(name), found.commit)
        weights = HeaderWeights(model, header, found.bytes)
    missing = sum(size for name, size in found.files.items() if not (folder / name).exists())
    return _Seen(
        model, "hub", folder, weights, found.bytes, missing, any(name.startswith("open_clip") for name in found.weights)
    )


def _look_here(model: str, path: Path, base: Weights | None) -> _Seen:
    weights = open_weights(path, base=base)
    _ = weights.header  # a file that is not whole is told now
    return _Seen(model, "here", path, weights, weights.bytes, 0, weights.path.name.startswith("open_clip"))


def _with_base(zoo: Zoo, base: _Seen) -> Zoo:
    """The zoo with its base where its config is. Of a folder with two configs its weights say which library's it is."""
    kind = zoo.base.kind
    if kind == "auto" and (base.folder / OPEN_CLIP_CONFIG).is_file():
        kind = "open_clip" if base.open_clip or not (base.folder / TRANSFORMERS_CONFIG).is_file() else "transformers"
    return zoo.model_copy(update={"base": zoo.base.model_copy(update={"model": str(base.folder), "kind": kind})})


def _mismatches(zoo: Zoo, model: Model, seen: Mapping[str, _Seen]) -> list[str]:
    base = seen["base"].weights
    if base is None:
        return []
    fitted, problems = fit_base(model, base), []
    for name, one in seen.items():
        if name == "base" or one.weights is None:
            continue
        try:
            fit_task(model, fitted, name, one.weights)
        except UserError as error:
            problems.append(_other_architecture(zoo, name, one.folder, seen["base"].folder) or str(error))
    return problems


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
    blocks = model.blocks if model is not None and role == "base" else ()
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
        blocks=len(blocks) or None,
        tensors_per_block=len(blocks[0].names) if blocks else None,
        width=blocks[0].width if blocks else None,
        known=one.weights is not None,
    )


def _anchor_values(zoo: Zoo, model: Model) -> int:
    """Numbers in the anchors of one unit, with the paper's settings."""
    paper = presets(zoo.family)["paper"]
    return paper.anchors * (paper.tokens or model.tokens) * model.width


def _memory(zoo: Zoo, model: Model) -> int:
    largest = max(sum(_count(shape) for shape in block.shapes.values()) for block in model.blocks)
    values = COPIES_OF_BLOCK * largest + COPIES_OF_ANCHORS * _anchor_values(zoo, model)
    return PROGRAM_BYTES + FLOAT_BYTES * values


def _run_bytes(zoo: Zoo, model: Model, base: _Seen) -> int:
    return FLOAT_BYTES * _anchor_values(zoo, model) * len(model.blocks) * len(zoo.tasks) + base.bytes


def _count(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
