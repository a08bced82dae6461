"""Llama-style checkpoints larger than memory allows, on disk, and their peak memory: what `test_llama.py` starts.

`python -m tests.support.llama ZOO merge METHOD…` merges the zoo's tasks with each method as a run does.
`python -m tests.support.llama ZOO construct OPTION…` is `python -m fda construct --zoo ZOO OPTION…`.
Both print JSON lines: name, peak bytes, bytes before, CPU seconds; what counts is told in `tests.support.peak`. Linux only.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig

from fda.cli import app as cli
from fda.merging.merge import merge_to_file
from fda.merging.registry import METHODS
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.peak import peak_bytes, reset_peak

TASKS = ("maths", "code")


@dataclass(frozen=True)
class Size:
    """A Llama: width, width of the MLP, layers, vocabulary; `moved` are the layers that finetuning has changed."""

    width: int
    inner: int
    layers: int
    vocabulary: int
    moved: tuple[int, ...]

    def config(self) -> LlamaConfig:
        return LlamaConfig(
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.width // 128,
            vocab_size=self.vocabulary,
            tie_word_embeddings=False,
            architectures=["LlamaForCausalLM"],
            dtype="bfloat16",
        )

    def shards(self) -> list[dict[str, tuple[int, ...]]]:
        """Name → shape of the tensors in each file: the embeddings, one layer each, the head."""
        d, inner = self.width, self.inner
        layer = {
            **{f"self_attn.{one}_proj.weight": (d, d) for one in "qkvo"},
            **{f"mlp.{one}_proj.weight": (inner, d) for one in ("gate", "up")},
            "mlp.down_proj.weight": (d, inner),
            "input_layernorm.weight": (d,),
            "post_attention_layernorm.weight": (d,),
        }
        return [
            {"model.embed_tokens.weight": (self.vocabulary, d)},
            *({f"model.layers.{i}.{name}": shape for name, shape in layer.items()} for i in range(self.layers)),
            {"model.norm.weight": (d,), "lm_head.weight": (self.vocabulary, d)},
        ]

    @property
    def count(self) -> int:
        return sum(torch.Size(shape).numel() for shard in self.shards() for shape in shard.values())


def make_zoo(folder: Path, size: Size) -> Path:
    """A base and two finetuned versions as transformers saves them, in bfloat16; the path of their zoo file.

    What finetuning has not changed is the base's own file under a second name (a hard link), which takes no space.
    """
    numbers = torch.randn(30_000_000, generator=torch.Generator().manual_seed(0)).bfloat16()
    random = torch.Generator().manual_seed(1)
    for number, name in enumerate(("base", *TASKS)):
        place = folder / name
        place.mkdir(parents=True)
        size.config().save_pretrained(place)
        shards = size.shards()
        weight_map = {}
        for index, shapes in enumerate(shards):
            file = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
            weight_map |= dict.fromkeys(shapes, file)
            if number and index and index - 1 not in size.moved:
                os.link(folder / "base" / file, place / file)
                continue
            state = {key: _values(numbers, shape, 1000 * index + i) for i, (key, shape) in enumerate(shapes.items())}
            for tensor in state.values() if number else ():  # independent numbers, as tasks' own are
                tensor += 0.002 * torch.randn(tensor.shape, generator=random)
            save_file(state, place / file, metadata={"format": "pt"})
        index = {"metadata": {"total_size": 2 * size.count}, "weight_map": weight_map}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
    zoo = {"name": "llama", "family": "llama", "base": {"model": "base", "kind": "transformers"}}
    (folder / "zoo.yaml").write_text(yaml.safe_dump(zoo | {"tasks": [{"name": one, "model": one} for one in TASKS]}))
    return folder / "zoo.yaml"


def _values(numbers: Tensor, shape: Sequence[int], seed: int) -> Tensor:
    """σ 0.02, from the given standard normal numbers, which repeat in a tensor larger than they are."""
    found = torch.empty(torch.Size(shape).numel(), dtype=numbers.dtype)
    start = seed * 7_654_321 % len(numbers)
    for place in found.split(len(numbers) // 2):
        start = start if start + len(place) <= len(numbers) else 0
        place.copy_(numbers[start : start + len(place)]).mul_(0.02)
        start += len(place)
    return found.reshape(shape)


def merge(zoo: Path, names: Sequence[str]) -> None:
    opened = open_zoo(load_zoo(zoo))
    for name in names:
        before = reset_and_read()
        start = time.process_time()
        merged = zoo.parent / f"merged-{name}.safetensors"
        merge_to_file(METHODS[name], opened.base, list(opened.tasks.values()), merged, {"method": name})
        print(json.dumps([name, peak_bytes(), before, time.process_time() - start]), flush=True)
        merged.unlink()


def construct(zoo: Path, options: Sequence[str]) -> None:
    before = reset_and_read()
    sys.argv = ["fda", "construct", "--zoo", str(zoo), *options]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise
    print(json.dumps(["construct", peak_bytes(), before, time.process_time()]), flush=True)


def reset_and_read() -> int:
    """Bytes in use now, from which the peak is counted anew."""
    reset_peak()
    return peak_bytes()


if __name__ == "__main__":
    {"merge": merge, "construct": construct}[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:])
