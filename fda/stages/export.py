"""A merged model as the folder that its library loads: transformers' or open_clip's, tensor by tensor.

A frame checkpoint (the base, or a task's with its head) gives everything that is not merged, and the names under which its
library knows the tensors. Whose model it is, and its card, are left to `export_run.py` and `fda.report.model_card`.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from fda.checkpoints.readers.adapters import CONFIG as ADAPTER_CONFIG
from fda.checkpoints.readers.names import RenamedWeights
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.checkpoints.write import DTYPE_NAMES, write_tensors
from fda.errors import UserError
from fda.zoos.hub import SMALL_FILES
from fda.zoos.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG
from fda.zoos.survey import OpenZoo

if TYPE_CHECKING:
    from fda.architectures.open_clip_model import VisionModel
    from fda.architectures.transformers_model import TransformersModel

Progress = Callable[[int, int], None]
SHARD_BYTES = 5 * 10**9  # of one file, as transformers cuts them; open_clip reads whole files only
GENERATION_CONFIG = "generation_config.json"
PREPARATION = SMALL_FILES - {ADAPTER_CONFIG, TRANSFORMERS_CONFIG, OPEN_CLIP_CONFIG, GENERATION_CONFIG}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True)
class Frame:
    """`weights` under its library's names; `merged`: such a name → the architecture's, for every tensor that is replaced.

    `folders`: where its processor or tokenizer is looked for, in this order; its config is in the first. `config`: what differs
    in that; of open_clip all of it. `architecture`: the class that loads the result. `embeddings`: the architecture's name of
    its token embeddings, to which a head's matrix may be tied, or None.
    """

    weights: Weights = field(repr=False)
    merged: Mapping[str, str] = field(repr=False)
    folders: tuple[Path, ...]
    kind: str
    architecture: str
    embeddings: str | None
    config: Mapping[str, Any] = field(default_factory=dict)


def frame(opened: OpenZoo, task: str | None = None) -> Frame:
    """The checkpoint that a merged model is put into: the base, or that of a task, whose head then goes along.

    A base of open_clip without a text tower gets one that open_clip can build, of zeros and as small as it can be.
    UserError for a task of open_clip, whose checkpoints have no heads. For an adapter: `fda.stages.adapter_frame`.
    """
    base = Path(opened.zoo.base.model)
    others = tuple(path for path in (Path(one.model) for one in opened.zoo.tasks) if path.is_dir())
    if opened.model.kind == "open_clip":
        if task is not None:
            raise UserError(
                "a model of open_clip has no head of a task's own: leave --task away, the heads are written beside it."
            )
        config, weights = cast("VisionModel", opened.model).whole(opened.base)
        names = {name: name for name in opened.base}
        return Frame(weights, names, (base, *others), "open_clip", "open_clip", None, config)
    if task is None:
        weights, folders = opened.own_base, (base, *others)
    else:
        folder = Path(opened.zoo.task(task).model)
        weights, folders = open_weights(folder, base=opened.own_base, rename=opened.model.rename), (folder, base)
    fitted = opened.model.fit(weights, base=opened.base)
    names = fitted.names if isinstance(fitted, RenamedWeights) else {name: name for name in fitted}
    merged = {library_name: name for name, library_name in names.items() if name in opened.base}
    named = _read(folders[0] / TRANSFORMERS_CONFIG).get("architectures") or [type(opened.model.module).__name__]
    embeddings = opened.model.embeddings if getattr(opened.model.config, "tie_word_embeddings", False) else None
    config = cast("TransformersModel", opened.model).changed if task is None else {}
    return Frame(weights, merged, folders, opened.model.kind, str(named[0]), embeddings, config)


def export_model(
    built: Frame,
    merged: Weights,
    folder: Path,
    *,
    progress: Progress = lambda *_: None,
    shard_bytes: int = SHARD_BYTES,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the merged tensors in their frame, with config and processor, into `folder`, which is made.

    Memory follows the largest tensor. `merged`: by the architecture's names, in the dtypes that are written. `progress` gets
    the bytes written and those of the whole after each tensor, and may raise. `metadata`: of the files, beside their format.
    """
    header = built.weights.header
    twins = _twins(built)
    sources = {name: source for name in header if (source := built.merged.get(name) or twins.get(name))}
    kinds = {
        name: (torch.Size(info.shape), _DTYPES[(merged.header[sources[name]] if name in sources else info).dtype])
        for name, info in header.items()
    }
    _write_small_files(built, merged, folder)
    stem = "open_clip_model" if built.kind == "open_clip" else "model"
    shards = [list(kinds)] if built.kind == "open_clip" else _shards(kinds, shard_bytes)
    total, written = sum(_bytes(kind) for kind in kinds.values()), 0

    def tensors(names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
        nonlocal written
        for name in names:
            yield name, _rows(merged[sources[name]], built.weights, name) if name in sources else built.weights[name]
            written += _bytes(kinds[name])
            progress(written, total)

    index: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        index |= dict.fromkeys(names, file)
        shard_kinds, about = {name: kinds[name] for name in names}, {**(metadata or {}), "format": "pt"}
        write_tensors(folder / file, shard_kinds, tensors(names), about)
    if len(shards) > 1:
        listing = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
        _write(folder / f"{stem}.safetensors.index.json", listing)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in that gets the name `folder` when all is well, and is gone otherwise.

    UserError if there is something already, or if it cannot be made.
    """
    folder = folder.resolve()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is already there: choose another folder, or remove it.")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): choose another place.") from None
    try:
        yield part
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise UserError(
            f"{folder} could not be written ({error.strerror}): check the disk and the permissions."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rows(tensor: torch.Tensor, stored: Weights, name: str) -> torch.Tensor:
    """The merged tensor with as many rows as the frame has.

    Rows that only the frame has, of tokens that were added to its vocabulary, come behind it; rows that were cut from its
    vocabulary are left out.
    """
    if tensor.ndim == 0 or stored.header[name].shape[0] == len(tensor):
        return tensor
    if stored.header[name].shape[0] < len(tensor):
        return tensor[: stored.header[name].shape[0]]
    return torch.cat([tensor, stored[name][len(tensor) :].to(tensor.dtype)])


def _twins(built: Frame) -> dict[str, str]:
    """Matrices that are not merged but were saved as a copy of the token embeddings: name → the architecture's name of those.

    The library ties them again only if they are equal, so they follow.
    """
    header, weights = built.weights.header, built.weights
    saved_embeddings = next(
        (library_name for library_name, name in built.merged.items() if name == built.embeddings), None
    )
    if saved_embeddings is None or built.embeddings is None:
        return {}
    alike = [name for name in header if name not in built.merged and header[name] == header[saved_embeddings]]
    return {name: built.embeddings for name in alike if torch.equal(weights[saved_embeddings], weights[name])}


def _write_small_files(built: Frame, merged: Weights, folder: Path) -> None:
    """The config, and what prepares samples: of one folder only, since files of two tokenizers do not belong together."""
    first = built.folders[0]
    if built.kind == "open_clip":
        _write(folder / OPEN_CLIP_CONFIG, built.config)
    else:
        config = _read(first / TRANSFORMERS_CONFIG) | dict(built.config) | {"architectures": [built.architecture]}
        config.pop("_name_or_path", None)  # where it lay on somebody's disk
        fields = [name for name in ("torch_dtype", "dtype") if name in config] or [
            "dtype"
        ]  # the older name and today's
        _write(folder / TRANSFORMERS_CONFIG, config | dict.fromkeys(fields, _precision(merged)))
        if (first / GENERATION_CONFIG).is_file():
            shutil.copyfile(first / GENERATION_CONFIG, folder / GENERATION_CONFIG)
    for source in built.folders:
        present = [name for name in sorted(PREPARATION) if (source / name).is_file()]
        for name in present:
            shutil.copyfile(source / name, folder / name)
        if present:
            return


def _precision(merged: Weights) -> str:
    """The dtype of the largest floating-point tensor, as a config says it: what the library loads all of them in."""
    floating = [info for info in merged.header.values() if _DTYPES[info.dtype].is_floating_point]
    return str(_DTYPES[max(floating, key=lambda info: info.count).dtype]).removeprefix("torch.")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _shards(kinds: Mapping[str, tuple[torch.Size, torch.dtype]], limit: int) -> Sequence[list[str]]:
    """Names in their order, cut where a file would pass `limit` bytes."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, kind in kinds.items():
        if shards[-1] and size + _bytes(kind) > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += _bytes(kind)
    return shards


def _bytes(kind: tuple[torch.Size, torch.dtype]) -> int:
    return kind[0].numel() * kind[1].itemsize
