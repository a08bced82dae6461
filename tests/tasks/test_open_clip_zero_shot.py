"""The zero-shot head of an open_clip model, against its text tower asked for one prompt at a time."""

import json

import open_clip
import torch
import yaml
from safetensors.torch import save_file

from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 8, "patch_size": 4, "width": 16, "head_width": 8, "layers": 2},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def test_each_template_is_normalised_and_so_is_their_mean(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    content = {"model_cfg": CONFIG, "preprocess_cfg": {}}
    (base / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{base}", load_weights=False).eval()
    save_file(model.state_dict(), base / "open_clip_model.safetensors")
    asked = {"classes": ["cat", "old dog"], "templates": ["a photo of a {}.", "{}, painted"]}
    task = {"name": "pets", "model": "base", "head": {"zero_shot": asked}}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"name": "tiny", "base": {"model": "base"}, "tasks": [task]}))
    head = task_head(open_zoo(load_zoo(tmp_path / "zoo.yaml")), "pets")

    tokenizer, rows = open_clip.SimpleTokenizer(context_length=16), []
    with torch.no_grad():
        for name in asked["classes"]:
            parts = [model.encode_text(tokenizer([text.format(name)]))[0] for text in asked["templates"]]
            mean = sum(part / part.norm() for part in parts)
            rows.append(mean / mean.norm())
        images = torch.randn(3, 3, 8, 8)
        features = model.encode_image(images)
        expected = model.logit_scale.exp() * (features / features.norm(dim=1, keepdim=True)) @ torch.stack(rows).T
    assert torch.allclose(head.logits(features), expected, atol=1e-4)
