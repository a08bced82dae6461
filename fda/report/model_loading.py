"""The code on a model card that loads an exported model and runs it: one sample in, logits or features out.

The code needs the model's library but not this package, so it spells out how to apply a head file.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Loading:
    """How to load an exported model.

    `location`: a folder, or a repository id if `pushed`. `architecture`: the library's class. `images`: whether it takes
    images, else texts. `causal`: whether the last token is the one that has seen the whole text. `text_tower`: whether a
    CLIP model has the base's text tower, else an empty one. `task`: the task whose head the model includes, if any.
    `heads`: the tasks whose heads lie beside the model as files.
    """

    kind: str
    architecture: str
    images: bool
    location: str
    pushed: bool = False
    causal: bool = False
    text_tower: bool = True
    task: str | None = None
    heads: Sequence[str] = ()


def loading_code(loading: Loading) -> str:
    """Python that runs beside the folder, or anywhere if the model was pushed; the reader supplies a sample."""
    if not loading.architecture.isidentifier():  # the name comes from a stranger's config
        loading = replace(loading, architecture="AutoModel")
    features = _open_clip(loading) if loading.kind == "open_clip" else _transformers(loading)
    return "\n".join([*features, *(_head(loading) if loading.heads and loading.task is None else ())])


def _open_clip(loading: Loading) -> list[str]:
    source = f"{'hf-hub' if loading.pushed else 'local-dir'}:{loading.location}"
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


def _transformers(loading: Loading) -> list[str]:
    prepare = "AutoImageProcessor" if loading.images else "AutoTokenizer"
    sample = 'images=Image.open("image.png").convert("RGB")' if loading.images else '"a text"'
    lines = ["import torch", *(["from PIL import Image"] if loading.images else [])]
    lines += [
        f"from transformers import {', '.join(sorted((prepare, loading.architecture)))}",
        "",
        f"model = {loading.architecture}.from_pretrained({_quoted(loading.location)}).eval()",
        f"prepare = {prepare}.from_pretrained({_quoted(loading.location)})",
        f'sample = prepare({sample}, return_tensors="pt")',
        "with torch.no_grad():",
    ]
    if loading.architecture == "CLIPModel":
        return [
            *lines,
            "    output = model.get_image_features(**sample)",
            'features = getattr(output, "pooler_output", output)',
        ]
    if loading.architecture == "CLIPVisionModelWithProjection":
        return [*lines, "    features = model(**sample).image_embeds"]
    if loading.heads and loading.task is None:
        return [
            *lines,
            "    output = model.base_model(**sample)",
            'features = getattr(output, "pooler_output", None)',
            "if features is None:",
            f"    features = output.last_hidden_state[:, {-1 if loading.causal else 0}]",
        ]
    if loading.architecture.endswith(("Classification", "ForCausalLM", "LMHeadModel")):
        return [*lines, "    logits = model(**sample).logits"]
    return [*lines, "    output = model(**sample)"]


def _head(loading: Loading) -> list[str]:
    """Code that applies the head file of the first task."""
    file = f"heads/{loading.heads[0]}.safetensors"
    if loading.pushed:
        imports = ["from huggingface_hub import hf_hub_download", "from safetensors.torch import load_file"]
        path = f"hf_hub_download({_quoted(loading.location)}, {_quoted(file)})"
    else:
        imports, path = ["from safetensors.torch import load_file"], _quoted(f"{loading.location}/{file}")
    return [
        "",
        *imports,
        "from torch.nn.functional import linear, normalize",
        "",
        f"head = load_file({path})",
        'if "logit_scale" in head:',
        '    logits = head["logit_scale"] * normalize(features, dim=-1) @ normalize(head["weight"], dim=-1).T',
        "else:",
        '    logits = linear(features, head["weight"], head.get("bias"))',
    ]


def _quoted(text: str) -> str:
    """A Python string literal of any text."""
    return json.dumps(text, ensure_ascii=False)
