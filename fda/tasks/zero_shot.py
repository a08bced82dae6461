"""Zero-shot heads: the row of a class is the base's text embedding of its name, averaged over prompt templates.

Source: CLIP (arXiv 2103.00020, section 3.1.4): each prompt's embedding is normalised, their mean is normalised again, and
logits are the logit scale times cosines. The text tower is the base's, because finetuning on images does not change it. Heads
are cached in FDA_HOME.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from fda.architectures.model import Model
from fda.checkpoints.weights import Weights
from fda.checkpoints.write import kinds_of, write_tensors
from fda.errors import UserError, first_line
from fda.home import fda_home
from fda.tasks.heads import Head
from fda.zoos.survey import OpenZoo
from fda.zoos.zoo import ZeroShot

if TYPE_CHECKING:
    from fda.architectures.open_clip_model import VisionModel

BATCH = 64  # prompts per forward pass


def zero_shot_head(opened: OpenZoo, spec: ZeroShot) -> Head:
    """The head for these classes and templates. UserError if the base is no CLIP model with both towers."""
    identity = json.dumps([opened.own_base.fingerprint, opened.model.identity, spec.model_dump()], sort_keys=True)
    path = fda_home() / "cache" / "heads" / f"{sha256(identity.encode()).hexdigest()[:32]}.safetensors"
    if not path.is_file():
        embed = _open_clip if opened.model.kind == "open_clip" else _transformers
        weight, scale = embed(opened, spec)
        tensors = {"weight": weight.contiguous(), "logit_scale": scale}
        write_tensors(path, kinds_of(tensors), tensors.items(), {"classes": json.dumps(spec.classes)})
    tensors = load_file(path)
    return Head(tensors["weight"], None, tensors["logit_scale"])


def prompts(spec: ZeroShot) -> list[list[str]]:
    """For each class, every template with the name of the class filled in."""
    return [[template.replace("{}", name) for template in spec.templates] for name in spec.classes]


def averaged(embeddings: Tensor) -> Tensor:
    """(templates, d) → (d,): the normalised mean of the normalised embeddings."""
    return normalize(normalize(embeddings, dim=-1).mean(dim=0), dim=-1)


@torch.no_grad()
def _open_clip(opened: OpenZoo, spec: ZeroShot) -> tuple[Tensor, Tensor]:
    import open_clip

    base = opened.zoo.base.model
    model = cast("VisionModel", opened.model)  # what has the kind open_clip
    if not model.has_text_tower(opened.base):
        raise UserError(
            f"{base} has no whole text tower, which a zero-shot head needs: give each task's `head` a head file, or a base "
            "that is a whole CLIP model."
        )
    try:
        tokenizer = open_clip.get_tokenizer(model.source)
    except Exception as error:  # a tokenizer raises anything on bad files
        raise UserError(f"open_clip cannot make the tokenizer of {base} ({error}): give head files.") from None
    module = model.load(opened.base)
    device = next(module.parameters()).device

    def embed(texts: Sequence[str]) -> Tensor:
        return module.encode_text(tokenizer(list(texts)).to(device)).float().cpu()

    return _rows(embed, spec), module.logit_scale.detach().exp().float().cpu().clone()


@torch.no_grad()
def _transformers(opened: OpenZoo, spec: ZeroShot) -> tuple[Tensor, Tensor]:
    folder, weights = Path(opened.zoo.base.model), opened.own_base
    config = opened.model.config
    require_text_tower(opened.model, weights, str(folder))
    tokenizer = text_tokenizer(folder)
    module = _text_tower(config, weights)

    def embed(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=_longest(config), return_tensors="pt")
        return module(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).text_embeds

    return _rows(embed, spec), weights["logit_scale"].float().exp()


def require_text_tower(model: Model, weights: Weights, base: str) -> None:
    """UserError if the base, with these weights, is no CLIP model with both towers. Reads only headers."""
    if model.kind == "transformers" and (model.config.model_type != "clip" or "logit_scale" not in weights):
        raise UserError(
            f"{base} has no text tower, which a zero-shot head needs: give the folder of a whole CLIP model, or head files."
        )


def text_tokenizer(folder: Path) -> Any:
    """The tokenizer of a transformers base. UserError if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a tokenizer raises anything on bad files
        raise UserError(
            f"transformers cannot read the tokenizer in {folder} ({first_line(error)}): save it beside the weights."
        ) from None


def _text_tower(config: Any, weights: Weights) -> torch.nn.Module:
    """The text tower with its projection, float32."""
    from transformers import CLIPTextModelWithProjection

    from fda.architectures.transformers_build import compute_buffers, give_memory, library_names
    from fda.checkpoints.readers.names import fitted

    text_config = deepcopy(config.text_config)
    text_config.projection_dim = config.projection_dim  # a whole CLIP model takes this one, a tower text_config's
    with torch.device("meta"):
        module = CLIPTextModelWithProjection._from_config(text_config, dtype=torch.float32)
    compute_buffers(module)
    give_memory(module)
    tensors = module.state_dict()
    loaded = fitted(weights, {name: tuple(t.shape) for name, t in tensors.items()}, rename=library_names(module))
    for name, tensor in tensors.items():
        tensor.copy_(loaded[name])
    return module.eval().requires_grad_(False)


def _longest(config: Any) -> int:
    return config.text_config.max_position_embeddings


def _rows(embed: Callable[[Sequence[str]], Tensor], spec: ZeroShot) -> Tensor:
    """(classes, d): the averaged embedding of each class."""
    return torch.stack(
        [
            averaged(torch.cat([embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]))
            for texts in prompts(spec)
        ]
    )
