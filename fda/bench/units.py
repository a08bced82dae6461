"""The units on which construction is measured: blocks of real size with task vectors from training.

The demo's weights are those of a trained model. The other units are library blocks with random weights, finetuned for a few
steps on random targets, so that their task vectors, too, are sums of gradients.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fda.architectures.blocks import Block
from fda.settings import Family

TRAINING_STEPS = 20


@contextmanager
def threads_of_torch(count: int | None) -> Iterator[None]:
    """Give torch `count` threads of the CPU, by default as many as it has, and the former number back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Unit:
    """A block with θ0 and θi on the device, its numbers of anchors and tokens, and the family that names its presets."""

    block: Block
    base: dict[str, Tensor]
    finetuned: dict[str, Tensor]
    anchors: int
    tokens: int
    family: Family


def demo_unit(device: str) -> Unit:
    """Block 1 of the embedded demo zoo, task digits."""
    from fda.zoos.survey import open_zoo
    from fda.zoos.zoo import load_zoo

    zoo = load_zoo("demo")
    opened = open_zoo(zoo, ("digits",))
    block = opened.model.blocks[1]
    return Unit(
        block, block.of(opened.base, device), block.of(opened.tasks["digits"], device), 64, block.tokens, zoo.family
    )


def vit_b_32_unit(device: str) -> Unit:
    """A residual block of CLIP ViT-B/32: 7.1 million parameters, 64 × 50 × 768."""
    from open_clip.transformer import ResidualAttentionBlock

    return _made(ResidualAttentionBlock(768, 12), 768, 50, 64, "vision", device)


def roberta_base_unit(device: str) -> Unit:
    """An encoder layer of RoBERTa base: 7.1 million parameters, 64 × 5 × 768."""
    from transformers import RobertaConfig
    from transformers.models.roberta.modeling_roberta import RobertaLayer

    options: dict[str, Any] = {"attn_implementation": "eager"}  # an option of the base class
    config = RobertaConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **options)
    return _made(_First(RobertaLayer(config)), 768, 5, 64, "roberta-base", device)


def llama_mlp_unit(device: str) -> Unit:
    """A Llama MLP, a fifth as wide as Llama-2-13B's: 8.5 million parameters, 1024 × 1 × 1024."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    config = LlamaConfig(hidden_size=1024, intermediate_size=2764)
    return _made(LlamaMLP(config), 1024, 1, 1024, "llama", device)


def dinov2_small_unit(device: str) -> Unit:
    """A layer of DINOv2-small at 56 pixels: 1.8 million parameters, 64 × 17 × 384."""
    from transformers import Dinov2Config
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer

    options: dict[str, Any] = {"attn_implementation": "sdpa"}  # an option of the base class
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, **options)
    return _made(_First(Dinov2Layer(config)), 384, 17, 64, "vision", device)


UNITS: dict[str, Callable[[str], Unit]] = {
    "demo": demo_unit,
    "dinov2-small": dinov2_small_unit,
    "vit-b-32": vit_b_32_unit,
    "roberta-base": roberta_base_unit,
    "llama-mlp": llama_mlp_unit,
}


class _First(nn.Module):
    """Makes a layer that returns a tuple return its first item, the hidden states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return out[0] if isinstance(out, tuple) else out


def _made(module: nn.Module, width: int, tokens: int, anchors: int, family: Family, device: str) -> Unit:
    """A unit of a freshly initialised block."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in module.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=width**-0.5)
    module = module.eval()
    base = {name: tensor.detach().clone().to(device) for name, tensor in module.named_parameters()}
    shapes = {name: tuple(tensor.shape) for name, tensor in base.items()}
    block = Block(0, "", shapes, width, tokens, module)
    return Unit(block, base, _finetuned(block, base, tokens, device), anchors, tokens, family)


def _finetuned(block: Block, base: Mapping[str, Tensor], tokens: int, device: str) -> dict[str, Tensor]:
    """θi: a few Adam steps towards random targets, on random inputs in a subspace (real inputs lie near one)."""
    random = torch.Generator().manual_seed(1)
    rank = block.width // 8
    mixing = torch.randn(rank, block.width, generator=random) / rank**0.5
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in base.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-4)
    for _ in range(TRAINING_STEPS):
        x = (torch.randn(16, tokens, rank, generator=random) @ mixing).to(device)
        with torch.no_grad():
            target = block(base, x) + (torch.randn(16, tokens, rank, generator=random) @ mixing).to(device)
        loss = (block(parameters, x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: tensor.detach() for name, tensor in parameters.items()}
