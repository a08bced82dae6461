"""Which library builds a zoo's base model, told from what its folder holds, and the model itself."""

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


def open_model(zoo: Zoo, weights: Weights | None = None) -> Model:
    """The architecture of a zoo's base, without weights. UserError if neither library can build it.

    `weights`: the base's, whose tensors win where its config says otherwise; without them those in its folder, if any.
    """
    folder = Path(zoo.base.model)
    part = part_of(zoo)
    if kind_of(folder, zoo.base.kind) == "transformers":
        from fda.architectures.transformers_model import open_transformers_model

        if weights is None:
            with suppress(UserError):  # they are opened by those who need them
                weights = open_weights(folder)
        return open_transformers_model(folder, part=part, others=_folders(zoo), weights=weights)
    if part == "mlp":
        raise UserError(f"{folder}: open_clip's blocks are taken whole: leave `part` away in the zoo file.")
    from fda.architectures.open_clip_model import open_vision_model

    return open_vision_model(folder, zoo.base.architecture)


def kind_of(folder: Path, asked: str = "auto") -> Literal["transformers", "open_clip"]:
    """What `auto` means for a folder. Of one that holds both configs, the library whose weights it holds."""
    if asked != "auto":
        return asked
    if not (folder / TRANSFORMERS_CONFIG).is_file():
        return "open_clip"
    if (folder / OPEN_CLIP_CONFIG).is_file() and open_weights(folder).path.name.startswith("open_clip"):
        return "open_clip"
    return "transformers"


def renamings(model: Path) -> Callable[[str], str]:
    """What the installed library calls a tensor of this base's architecture, by its name in a checkpoint of any version.

    Names stay as they are where no config that can be read lies with the base.
    """
    folder = model if model.is_dir() else model.parent
    if (folder / TRANSFORMERS_CONFIG).is_file():
        from fda.architectures.transformers_build import build_on_meta, library_names
        from fda.architectures.transformers_config import read_config

        with suppress(UserError):
            return library_names(build_on_meta(read_config(folder), folder))
    return lambda name: name


def part_of(zoo: Zoo) -> Part:
    """Whole blocks, or their MLPs alone: the paper takes these for Llama, and the zoo's own word goes first."""
    if zoo.part == "auto":
        return "mlp" if zoo.family == "llama" else "block"
    return zoo.part


def _folders(zoo: Zoo) -> Sequence[Path]:
    return tuple(path for path in (Path(task.model) for task in zoo.tasks) if path.is_dir())
