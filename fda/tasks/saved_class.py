"""The transformers class that a task's checkpoint is saved as, and building it: a base model with a head.

`build_class` can replace the base model by a stub, so that the head alone runs, with the library's own code.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fda.architectures.disagreements import agreed, unused
from fda.architectures.transformers_build import compute_buffers, library_names
from fda.architectures.transformers_config import CONFIG, read_config
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.errors import UserError, first_line
from fda.zoos.survey import OpenZoo

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification")
LANGUAGE_HEADS = ("ForCausalLM", "LMHeadModel", "BertGenerationDecoder")


@dataclass(frozen=True)
class SavedClass:
    """What a task's checkpoint is saved as: the name of its class, its config, the folder of that config, and its tensors.

    `changed`: fields of config.json that the tensors contradict, with the values from the tensors; `notes`: a sentence on each.
    """

    kind: str
    config: Any
    folder: Path
    weights: Weights
    changed: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def causal(self) -> bool:
        return self.kind.endswith(LANGUAGE_HEADS)


class BaseStub(nn.Module):
    """Stands in for the base model: returns the output that was assigned to `output`.

    `alias`: the name of a part through which some heads call the base model (OPT's `model.decoder`).
    """

    output: Any = None

    def __init__(self, config: Any = None, alias: str | None = None) -> None:
        super().__init__()
        self.config, self.alias = config, alias

    def __getattr__(self, name: str) -> Any:
        return self if name == self.__dict__.get("alias") else super().__getattr__(name)

    def forward(self, *args: Any, **keywords: Any) -> Any:
        return self.output


def saved_class(opened: OpenZoo, name: str) -> SavedClass:
    """Return the class of task `name`'s checkpoint. UserError if it has no head, or one of a kind that is not read."""
    task = opened.zoo.task(name)
    folders = (Path(task.model), Path(opened.zoo.base.model))  # an adapter has no config of its own
    folder = next((folder for folder in folders if (folder / CONFIG).is_file()), Path(task.model))
    weights = open_weights(task.model, base=opened.own_base, rename=opened.model.rename)
    return class_in(name, folder, weights)


def class_in(name: str, folder: Path, weights: Weights) -> SavedClass:
    """Return the class of task `name`, whose config is in `folder`. Reads headers only. UserError as `saved_class`."""
    config = read_config(folder)
    kind = next(iter(config.architectures or ()), "")
    if isinstance(weights, AdaptedWeights):
        kind, config = _of_adapter(weights, config, kind)
    if not _has_head(kind):
        raise UserError(
            f"task {name!r}: {folder} is saved as {kind or 'no class'}, which has no head of its own: give the task a `head` "
            f"(file or zero_shot), or save it as …{CLASSIFIERS[0]}, …{CLASSIFIERS[1]} or …{LANGUAGE_HEADS[0]}."
        )
    saved = SavedClass(kind, config, folder, weights)
    if isinstance(weights, AdaptedWeights):
        return saved
    agreement = agreed(
        config, weights, lambda config: build_class(replace(saved, config=config)), library_names, folder / CONFIG
    )
    notes = [f"task {name!r}: {note}" for note in agreement.notes]
    if extra := unused(weights, agreement.module, library_names(agreement.module)):
        notes.append(
            f"task {name!r}: {len(extra)} tensors of {weights.path} have no place in {kind}, the class in its config, and are "
            f"left out, as the library leaves them out: the first is {extra[0]}."
        )
    return replace(saved, config=agreement.config, changed=agreement.changed, notes=tuple(notes))


def build_class(saved: SavedClass, *, stubbed: bool = False) -> "PreTrainedModel":
    """Build the class on the meta device, without weights; with `stubbed`, its base model is a `BaseStub`."""
    import transformers
    from transformers.utils import logging as library_logging

    library_class = getattr(transformers, saved.kind, None)
    if library_class is None:
        raise UserError(f"{saved.folder / CONFIG}: the installed transformers library has no {saved.kind}.")
    config = deepcopy(saved.config)
    level = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    try:
        with torch.device("meta"):
            module = library_class._from_config(config, dtype=torch.float32, attn_implementation="eager")
        if stubbed:
            _stub_base(module, saved.folder)
            compute_buffers(module)
    except UserError:
        raise
    except Exception as error:  # model classes raise anything for fields that contradict each other
        raise UserError(
            f"transformers cannot build {saved.folder / CONFIG} ({first_line(error)}): correct it."
        ) from None
    finally:
        library_logging.set_verbosity(level)
    return module.eval().requires_grad_(False)


def _has_head(kind: str) -> bool:
    return kind.endswith(LANGUAGE_HEADS) or any(part in kind for part in CLASSIFIERS)


def _of_adapter(weights: AdaptedWeights, config: Any, kind: str) -> tuple[str, Any]:
    """(class, config) that an adapter's config selects over its base, whose own config does not know the task.

    Where PEFT has no task type, as for images, it names the class in `auto_mapping`.
    """
    from transformers.models.auto import modeling_auto as auto

    mappings: dict[str, Any] = {
        "SEQ_CLS": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "CAUSAL_LM": auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    }
    mapping, auto_mapping = mappings.get(str(weights.config.get("task_type")), {}), weights.config.get("auto_mapping")
    if type(config) in mapping:
        kind = mapping[type(config)].__name__
    elif isinstance(auto_mapping, dict) and str(auto_mapping.get("base_model_class")).endswith(
        LANGUAGE_HEADS + CLASSIFIERS
    ):
        kind = auto_mapping["base_model_class"]
    config = deepcopy(config)
    ends = tuple(f".{end}.weight" for end in ("classifier", "classifier.out_proj", "score"))
    rows = [weights.header[name].shape[0] for name in weights if f".{name}".endswith(ends)]
    if kind.endswith(CLASSIFIERS) and rows:
        config.num_labels = rows[-1]
    return kind, config


def _stub_base(module: nn.Module, folder: Path) -> None:
    for name in (getattr(type(module), "base_model_prefix", None), "vision_model", "model"):
        base = getattr(module, name, None) if name else None
        if name and isinstance(base, nn.Module):
            setattr(module, name, BaseStub(getattr(base, "config", None), _only_part(base)))
            return
    raise UserError(f"{folder / CONFIG}: the base model within {type(module).__name__} could not be found.")


def _only_part(base: nn.Module) -> str | None:
    """The name of the base model's only child, if that is a whole model itself."""
    from transformers import PreTrainedModel

    parts = dict(base.named_children())
    return next(iter(parts)) if len(parts) == 1 and isinstance(next(iter(parts.values())), PreTrainedModel) else None
