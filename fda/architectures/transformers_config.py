"""Read the config.json of a transformers checkpoint, without running code or downloading anything that it names."""

from pathlib import Path
from typing import Any

from fda.checkpoints.json_files import read_json
from fda.errors import UserError, first_line

CONFIG = "config.json"
# Fields by which a config asks for other models or code when the model is built.
_REACHES_OUT = {
    "auto_map": "brings code of its own",
    "quantization_config": "is quantised",
    "use_pretrained_backbone": "loads a backbone from elsewhere",
    "use_timm_backbone": "needs a backbone from timm",
    "backbone": "needs another model as its backbone",
}


def read_config(folder: Path) -> Any:
    """Return a folder's config as transformers reads it. UserError if it needs anything outside the folder."""
    from transformers import AutoConfig

    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} holds no {CONFIG}: give the folder of a model saved by transformers.")
    try:
        fields = read_json(path)
        if not isinstance(fields, dict) or not isinstance(fields.get("model_type"), str):
            raise ValueError("it names no model_type")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not the config of a transformers model ({error}): download it again.") from None
    for name, what in _REACHES_OUT.items():
        if _is_set(fields, name):
            raise UserError(
                f"{path} {what} (`{name}`), which is not allowed here: give a checkpoint of an architecture that the "
                "transformers library has built in, with plain weights."
            )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # each config class validates its fields with errors of its own
        raise UserError(f"transformers cannot read {path} ({first_line(error)}): correct it.") from None


def merged_part(config: Any) -> Any:
    """Return the config of the part that is merged: the image tower of a CLIP model, else the whole model."""
    if config.model_type != "clip":
        return config
    config.vision_config.projection_dim = config.projection_dim  # as CLIPModel does
    return config.vision_config


def has_language_head(config: Any) -> bool:
    """Whether the installed library has a causal language model of this architecture, and no masked one."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def _is_set(fields: Any, name: str) -> bool:
    """Whether a config, or a config nested in it, has a true value in the field `name`."""
    if isinstance(fields, dict):
        return bool(fields.get(name)) or any(_is_set(value, name) for value in fields.values())
    return isinstance(fields, list) and any(_is_set(value, name) for value in fields)
