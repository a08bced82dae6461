"""A merged model as the folder that its library loads: transformers' or open_clip's, tensor by tensor.

A frame checkpoint (the base, or a task's with its head) gives everything that is not merged, and the names under which its
library knows the tensors. Whose model it is, and its card, are left to `fda.cli_export` and `fda.ui.model_card`.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fda.errors import UserError
from fda.models.checkpoints import Weights
from fda.models.hub import SMALL_FILES
from fda.models.kinds import OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG
from fda.models.model import Model
from fda.models.readers.adapters import CONFIG as ADAPTER_CONFIG
from fda.models.readers.adapters import AdaptedWeights
from fda.models.readers.names import RenamedWeights
from fda.models.readers.open import open_weights
from fda.models.survey import OpenZoo
from fda.models.write import DTYPE_NAMES, write_tensors

SHARD_BYTES = 5 * 10**9  # of one file, as transformers cuts them
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True)
class Frame:
    """`weights` under its library's names; `merged`: such a name → the architecture's, for every tensor that is replaced.

    `folders`: where its config and processor are looked for, in this order. `architecture`: the class that loads the result.
    `embeddings`: the architecture's name of its token embeddings, to which a head's matrix may be tied, or None.
    """

    weights: Weights = field(repr=False)
    merged: Mapping[str, str] = field(repr=False)
    folders: tuple[Path, ...]
    kind: str
    architecture: str
    embeddings: str | None


def frame(opened: OpenZoo, task: str | None = None) -> Frame:
    """The checkpoint that a merged model is put into: the base, or that of a task, whose head then goes along.

    UserError for a task's LoRA adapter with no class of its own, and for open_clip, whose checkpoints have no heads.
    """
    base = Path(opened.zoo.base.model)
    others = tuple(path for path in (Path(one.model) for one in opened.zoo.tasks) if path.is_dir())
    if task is None:
        weights, folders = opened.own_base, (base, *others)
    elif opened.model.kind == "open_clip":
        raise UserError(
            "a model of open_clip has no head of a task's own: leave --task away, the heads are written beside it."
        )
    else:
        weights, folders = (
            open_weights(opened.zoo.task(task).model, base=opened.own_base),
            (Path(opened.zoo.task(task).model), base),
        )
        if isinstance(weights, AdaptedWeights):
            raise UserError(
                f"task {task!r} is a LoRA adapter, which has no class to be loaded by: leave --task away for the merged model "
                "without a head."
            )
    fitted = opened.model.fit(weights)
    names = fitted.names if isinstance(fitted, RenamedWeights) else {name: name for name in fitted}
    merged = {own: name for name, own in names.items() if name in opened.base}
    kind = opened.model.kind
    return Frame(weights, merged, folders, kind, _architecture(folders[0], kind), _embeddings(opened.model))


def export_model(
    built: Frame,
    merged: Weights,
    folder: Path,
    *,
    pulse: Callable[[], None] = lambda: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the merged tensors in their frame, with config and processor, into `folder`, which is made.

    Memory follows the largest tensor. `merged`: by the architecture's names, in the dtypes that are written.
    """
    header = built.weights.header
    twins = _twins(built)
    sources = {name: built.merged.get(name) or twins.get(name) for name in header}
    kinds = {
        name: (torch.Size(info.shape), _DTYPES[(merged.header[sources[name]] if sources[name] else info).dtype])
        for name, info in header.items()
    }
    _copy_small_files(built, folder)
    stem = "open_clip_model" if built.kind == "open_clip" else "model"
    shards = _shards(kinds, shard_bytes)
    index: dict[str, str] = {}
    for place, names in enumerate(shards, 1):
        file = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{place:05}-of-{len(shards):05}.safetensors"
        index |= dict.fromkeys(names, file)
        tensors = ((name, merged[sources[name]] if sources[name] else built.weights[name]) for name in names)
        write_tensors(folder / file, {name: kinds[name] for name in names}, tensors, {"format": "pt"}, pulse=pulse)
    if len(shards) > 1:
        total = sum(_bytes(kinds[name]) for name in kinds)
        told = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in that gets the name `folder` when all is well, and is gone otherwise.

    UserError if there is something already, or if it cannot be made.
    """
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


def _architecture(folder: Path, kind: str) -> str:
    """The class that loads the frame, as its config names it."""
    if kind == "open_clip":
        return "open_clip"
    named = json.loads((folder / TRANSFORMERS_CONFIG).read_text(encoding="utf-8")).get("architectures") or ["AutoModel"]
    return str(named[0])


def _embeddings(model: Model) -> str | None:
    """The name of the matrix of a text model's token embeddings."""
    find = getattr(model.module, "get_input_embeddings", None)
    if find is None or model.kind == "open_clip":
        return None
    matrix = getattr(find(), "weight", None)
    return next((name for name, own in model.module.named_parameters() if own is matrix and own.ndim == 2), None)


def _twins(built: Frame) -> dict[str, str]:
    """Matrices that are not merged but were saved as a copy of the token embeddings: name → the architecture's name of those.

    The library ties them again only if they are equal, so they follow.
    """
    header, weights = built.weights.header, built.weights
    own = next((own for own, name in built.merged.items() if name == built.embeddings), None)
    if own is None:
        return {}
    alike = [name for name in header if name not in built.merged and header[name] == header[own]]
    return {name: built.embeddings for name in alike if torch.equal(weights[own], weights[name])}


def _copy_small_files(built: Frame, folder: Path) -> None:
    """Config, processor and tokenizer; what the first folder lacks, the next that has a kind of it gives."""
    wrong = {ADAPTER_CONFIG, TRANSFORMERS_CONFIG if built.kind == "open_clip" else OPEN_CLIP_CONFIG}
    for source in built.folders:
        for name in sorted(SMALL_FILES - wrong):
            if (source / name).is_file() and not (folder / name).exists():
                shutil.copyfile(source / name, folder / name)


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
