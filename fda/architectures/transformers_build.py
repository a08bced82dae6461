"""Build a transformers base model from its config without weights, and the library's own renamings of its tensors.

Only classes of the installed transformers library are used. Parameters stay on the meta device, so that a model takes no memory
before weights are loaded into it.
"""

from collections.abc import Callable, Collection
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fda.architectures.transformers_config import CONFIG, merged_part
from fda.checkpoints.weights import Weights
from fda.errors import UserError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build_on_meta(config: Any, folder: Path) -> "PreTrainedModel":
    """Build a config's base model in eval mode: float32 parameters on the meta device, real buffers. UserError if it fails.

    Of a CLIP model only the image tower and its projection are built. `folder`: of the config, for messages.
    """
    from transformers import AutoModel, CLIPVisionModelWithProjection
    from transformers.models.auto.modeling_auto import MODEL_MAPPING
    from transformers.utils import logging as library_logging

    config = deepcopy(config)
    projected = config.model_type == "clip" or "CLIPVisionModelWithProjection" in (config.architectures or ())
    config = merged_part(config)
    if not projected and type(config) not in MODEL_MAPPING:
        raise UserError(
            f"{folder / CONFIG}: transformers has no base model of the type {config.model_type}, only whole models with a "
            "head, so it is not read: docs/architectures.md lists what is."
        )
    level = library_logging.get_verbosity()
    library_logging.set_verbosity_error()  # it warns about everything that a base model lacks
    try:
        with torch.device("meta"):
            if projected:
                options = {"dtype": torch.float32, "attn_implementation": "eager"}
                module = CLIPVisionModelWithProjection._from_config(config, **options)
            else:
                module = AutoModel.from_config(
                    config, trust_remote_code=False, dtype=torch.float32, attn_implementation="eager"
                )
        compute_buffers(module)
    except Exception as error:  # model classes raise anything for fields that contradict each other
        raise UserError(f"transformers cannot build {folder / CONFIG} ({first_line(error)}): correct it.") from None
    finally:
        library_logging.set_verbosity(level)
    return module.eval().requires_grad_(False)


def compute_buffers(module: "PreTrainedModel") -> None:
    """Compute the buffers (rotary frequencies, positions), as transformers does when it loads a checkpoint."""
    parts: list[Any] = list(module.modules())
    for part in parts:
        part._is_hf_initialized = False
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.zeros_like(buffer, device="cpu")
    module.initialize_weights()


def give_memory(module: nn.Module, names: Collection[str] | None = None) -> None:
    """Allocate the parameters that are on the meta device on the CPU, uninitialised; with `names`, only these."""
    for path, part in module.named_modules():
        for name, parameter in part._parameters.items():
            chosen = names is None or f"{path}.{name}".removeprefix(".") in names
            if chosen and parameter is not None and parameter.is_meta:
                real = torch.empty_like(parameter, device="cpu")
                part._parameters[name] = nn.Parameter(real, requires_grad=False)


def library_names(module: "PreTrainedModel") -> Callable[[str], str]:
    """Return a function from a checkpoint's tensor name to the name in the installed library, by the library's renamings."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [rule for rule in get_model_conversion_mapping(module) if isinstance(rule, WeightRenaming)]
    return lambda name: rename_source_key(name, renamings, [])[0]


def library_converts(module: "PreTrainedModel", weights: Weights) -> str | None:
    """Return a sentence if the library would split, join or transpose some of these tensors on loading, which we do not do."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(module)
    renamings = [rule for rule in mapping if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in mapping if isinstance(rule, WeightConverter)]
    for name in weights:
        new, converted = rename_source_key(name, renamings, converters)
        if converted is None:
            continue
        if "expert" in new:
            return (
                f"{weights.path} keeps each expert by itself ({name}), and the library joins them as it loads them: a mixture "
                "of experts is not read in this form: give a dense model."
            )
        return (
            f"{weights.path}: the library makes {new} from {name} as it loads it, which is not done here: load the model with "
            "transformers and write `torch.save(model.state_dict(), 'pytorch_model.bin')` beside its config."
        )
    return None
