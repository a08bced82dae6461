"""LoRA adapters on the blocks of a transformers model, made and saved by PEFT (Hu et al. 2022, arXiv 2106.09685)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from fda.architectures.model import Model
from fda.errors import UserError
from fda.settings import FinetuneSettings

if TYPE_CHECKING:
    from peft import PeftModel


def add_adapters(model: Model, settings: FinetuneSettings) -> "PeftModel":
    """Put an adapter beside each linear layer of the blocks, in the model's module itself; all else is frozen.

    UserError for a model of open_clip, whose attention PEFT saves in a form of its own, and if peft is missing.
    """
    if model.kind != "transformers":
        raise UserError(
            "`trained: lora` needs a base of transformers, and this one is open_clip's: train blocks, or all."
        )
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError(
            "`trained: lora` needs peft, which is not installed: pip install 'fda[finetune]', or train blocks."
        ) from None
    from transformers.pytorch_utils import Conv1D

    prefixes = tuple(block.prefix for block in model.blocks)
    names = [
        name
        for name, module in model.module.named_modules()
        if name.startswith(prefixes) and isinstance(module, nn.Linear | Conv1D)
    ]
    config = LoraConfig(r=settings.rank, lora_alpha=cast(Any, settings.alpha), target_modules=names)
    return cast("PeftModel", get_peft_model(cast(Any, model.module), config))


def save_adapters(adapters: "PeftModel", folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, without a path of this machine."""
    configs: Any = adapters.peft_config.values()
    for config in configs:
        config.base_model_name_or_path = None
        config.target_modules = sorted(config.target_modules)
    adapters.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
