"""The code on a model card that loads an exported model and asks it: one sample in, logits or features out.

Text only. It is for whoever has the library and not this package, so it says itself what a head file's tensors mean.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Loading:
    """`place`: a folder, or a repository's id if `pushed`. `architecture`: the library's class; `images`: else it takes texts.

    `causal`: its last token is the one that has seen the whole text. `text_tower`: whether a CLIP model has the base's; else it
    is empty. `task`: whose own head is within, if any; `heads`: the tasks whose heads lie beside it as files.
    """

    kind: str
    architecture: str
    images: bool
    place: str
    pushed: bool = False
    causal: bool = False
    text_tower: bool = True
    task: str | None = None
    heads: Sequence[str] = ()


def loading_code(own: Loading) -> str:
    """Python that runs beside the folder, or anywhere if it was pushed; a sample is the reader's."""
    if not own.architecture.isidentifier():  # out of a stranger's config
        own = replace(own, architecture="AutoModel")
    features = _open_clip(own) if own.kind == "open_clip" else _transformers(own)
    return "\n".join([*features, *(_head(own) if own.heads and own.task is None else ())])


def _open_clip(own: Loading) -> list[str]:
    source = f"{'hf-hub' if own.pushed else 'local-dir'}:{own.place}"
    return [
        "import open_clip",
        "import torch",
        "from PIL import Image",
        "",
        f"model, _, preprocess = open_clip.create_model_and_transforms({_quoted(source)})",
        'image = preprocess(Image.open("image.png").convert("RGB"))[None]',
        "with torch.no_grad():",
        "    features = model.eval().encode_image(image)",
    ]


def _transformers(own: Loading) -> list[str]:
    prepare = "AutoImageProcessor" if own.images else "AutoTokenizer"
    sample = 'images=Image.open("image.png").convert("RGB")' if own.images else '"a text"'
    lines = ["import torch", *(["from PIL import Image"] if own.images else [])]
    lines += [
        f"from transformers import {', '.join(sorted((prepare, own.architecture)))}",
        "",
        f"model = {own.architecture}.from_pretrained({_quoted(own.place)}).eval()",
        f"prepare = {prepare}.from_pretrained({_quoted(own.place)})",
        f'sample = prepare({sample}, return_tensors="pt")',
        "with torch.no_grad():",
    ]
    if own.architecture == "CLIPModel":
        return [
            *lines,
            "    found = model.get_image_features(**sample)",
            'features = getattr(found, "pooler_output", found)',
        ]
    if own.architecture == "CLIPVisionModelWithProjection":
        return [*lines, "    features = model(**sample).image_embeds"]
    if own.heads and own.task is None:
        return [
            *lines,
            "    found = model.base_model(**sample)",
            'features = getattr(found, "pooler_output", None)',
            "if features is None:",
            f"    features = found.last_hidden_state[:, {-1 if own.causal else 0}]",
        ]
    if own.architecture.endswith(("Classification", "ForCausalLM", "LMHeadModel")):
        return [*lines, "    logits = model(**sample).logits"]
    return [*lines, "    found = model(**sample)"]


def _head(own: Loading) -> list[str]:
    """The contract of head files, for the first task."""
    file = f"heads/{own.heads[0]}.safetensors"
    if own.pushed:
        get = ["from huggingface_hub import hf_hub_download", "from safetensors.torch import load_file"]
        place = f"hf_hub_download({_quoted(own.place)}, {_quoted(file)})"
    else:
        get, place = ["from safetensors.torch import load_file"], _quoted(f"{own.place}/{file}")
    return [
        "",
        *get,
        "from torch.nn.functional import linear, normalize",
        "",
        f"head = load_file({place})",
        'if "logit_scale" in head:',
        '    logits = head["logit_scale"] * normalize(features, dim=-1) @ normalize(head["weight"], dim=-1).T',
        "else:",
        '    logits = linear(features, head["weight"], head.get("bias"))',
    ]


def _quoted(text: str) -> str:
    """A text of Python's, whatever is in it."""
    return json.dumps(text, ensure_ascii=False)
