"""Decide from a folder's files which library builds a zoo's base model, and build it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from fda.architectures.model import Model
from fda.architectures.transformer_blocks import Part
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.errors import UserError
from fda.zoos.zoo import Zoo

OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
Kind = Literal["auto", "transformers", "open_clip"]


def open_model(zoo: Zoo, weights: Weights | None = None) -> Model:
    """Build the architecture of a zoo's base, without weights. UserError if neither library can build it.

    `weights`: the base's, whose tensors win where its config contradicts them; by default those in its folder, if any.
    """
    folder = Path(zoo.base.model)
    part = part_of(zoo)
    if kind_of(folder, zoo.base.kind) == "transformers":
        from fda.architectures.transformers_model import open_transformers_model

        if weights is None:
            with suppress(UserError):  # the architecture can be built without them
                weights = open_weights(folder)
        return open_transformers_model(folder, part=part, others=_folders(zoo), weights=weights)
    if part == "mlp":
        raise UserError(f"{folder}: open_clip's blocks are taken whole: leave `part` out of the zoo file.")
    from fda.architectures.open_clip_model import open_vision_model

    return open_vision_model(folder, zoo.base.architecture)


def kind_of(folder: Path, kind: Kind = "auto") -> Literal["transformers", "open_clip"]:
    """Resolve the kind `auto` for a folder. If it holds both configs, its weights decide."""
    if kind != "auto":
        return kind
    if not (folder / TRANSFORMERS_CONFIG).is_file():
        return "open_clip"
    if (folder / OPEN_CLIP_CONFIG).is_file() and open_weights(folder).path.name.startswith("open_clip"):
        return "open_clip"
    return "transformers"


def renamings(model: Path) -> Callable[[str], str]:
    """Return a function from a tensor's name in a checkpoint of any version to its name in the installed library.

    For the architecture of this base; names stay as they are if the base has no readable config.
    """
    folder = model if model.is_dir() else model.parent
    if (folder / TRANSFORMERS_CONFIG).is_file():
        from fda.architectures.transformers_build import build_on_meta, library_names
        from fda.architectures.transformers_config import read_config

        with suppress(UserError):
            return library_names(build_on_meta(read_config(folder), folder))
    return lambda name: name


def part_of(zoo: Zoo) -> Part:
    """Whether the zoo merges whole blocks or their MLPs alone: as its file says, by default MLPs for Llama, as in the paper."""
    if zoo.part == "auto":
        return "mlp" if zoo.family == "llama" else "block"
    return zoo.part


def _folders(zoo: Zoo) -> Sequence[Path]:
    return tuple(path for path in (Path(task.model) for task in zoo.tasks) if path.is_dir())
