"""The inputs of one task for merging methods: real inputs, or anchors in their place.

Implements `TaskInputs` and `TaskMoments` of `fda.merging.method`. The caller chooses the split and supplies the anchors.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fda.architectures.blocks import Block
from fda.architectures.linears import linear_moments
from fda.architectures.model import Model
from fda.architectures.transforms import Batch
from fda.cancel import NEVER, Cancel
from fda.checkpoints.weights import Weights
from fda.tasks.data import Split
from fda.tasks.heads import TaskHead

BATCH = 64  # samples per forward pass for moments


class RealInputs:
    """The samples of one split of a task, its finetuned model and its head. Does not read labels.

    Tasks share the model's module: `moments` overwrites its weights, `logits` neither reads nor changes them. Not thread-safe.
    `cancel` is checked before every batch.
    """

    def __init__(
        self,
        model: Model,
        finetuned: Weights,
        head: TaskHead,
        split: Split,
        device: str = "cpu",
        cancel: Cancel = NEVER,
    ) -> None:
        self.model, self.finetuned, self.split, self.device, self.cancel = model, finetuned, split, device, cancel
        self.head = head.to(device)
        self._whole = _Whole(model, self.head)
        floats = {name for name, tensor in model.module.state_dict().items() if tensor.is_floating_point()}
        self._floats = floats & set(finetuned)

    def batches(self, size: int, *, examples: int | None = None, seed: int | None = None) -> Iterator[Batch]:
        """Prepared samples on the device, `size` at a time; the last batch of a pass may be smaller.

        Without a seed: one pass in order over `examples` samples spread over the split (None: all). With a seed: endless
        passes over the same samples, each shuffled anew.
        """
        indices = torch.tensor(self.split.spread(len(self.split) if examples is None else examples))
        if seed is None:
            yield from self._pass(indices, size)
            return
        random = torch.Generator().manual_seed(seed)
        while True:
            yield from self._pass(indices[torch.randperm(len(indices), generator=random)], size)

    def moments(self, examples: int | None = None) -> dict[str, Tensor]:
        """Linear weight → mean of x xᵀ (in × in) on `examples` samples through the finetuned model, fp32, on the CPU."""
        self.model.load(self.finetuned)
        self.model.to(self.device)

        def run() -> None:
            for batch in self.batches(BATCH, examples=examples):
                self.model.outputs(batch)

        return linear_moments(self.model.module, run)

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(block.prefix for block in self.model.blocks)

    def block_moments(self, block: int, weights: Weights, examples: int | None = None) -> dict[str, Tensor]:
        """Linear weight of one block → mean of x xᵀ on `examples` samples through the model with these weights.

        The model runs only as far as that block.
        """
        self.model.load(weights)
        self.model.to(self.device)
        chosen_block = self.model.blocks[block]
        last = chosen_block.module.register_forward_hook(_stop)

        def run() -> None:
            for batch in self.batches(BATCH, examples=examples):
                with suppress(_Reached):
                    self.model.outputs(batch)

        try:
            return {
                chosen_block.prefix + name: moment for name, moment in linear_moments(chosen_block.module, run).items()
            }
        finally:
            last.remove()

    def logits(self, weights: Mapping[str, Tensor], inputs: Batch) -> Tensor:
        """(batch, classes), differentiable in `weights`: every floating-point tensor of the model, on the device.

        Other buffers come from the module. ValueError if a floating-point tensor is missing.
        """
        if missing := self._floats - set(weights):
            raise ValueError(f"weights lack {sorted(missing)[:3]}")
        self.model.to(self.device)
        return functional_call(self._whole, {f"module.{name}": tensor for name, tensor in weights.items()}, (inputs,))

    def _pass(self, indices: Tensor, size: int) -> Iterator[Batch]:
        for batch in indices.split(size):
            self.cancel.check()
            yield self.split.at(batch.tolist()).to(self.device)


class _Reached(Exception):
    """The block that was asked for has run."""


def _stop(*_: object) -> None:
    raise _Reached


class _Whole(nn.Module):
    """The model and its head as one module, for `functional_call`."""

    def __init__(self, model: Model, head: TaskHead) -> None:
        super().__init__()
        self.model, self.module, self.head = model, model.module, head

    def forward(self, batch: Batch) -> Tensor:
        return self.head.answer(self.model, batch)


class AnchorMoments:
    """Moments of the inputs of linear layers, from a task's anchors passed through its finetuned blocks.

    `anchors`: (n, tokens, d) for each of `blocks`, on the device that computes the moments; None for a block without anchors,
    which the task left unchanged.
    """

    def __init__(self, blocks: Sequence[Block], finetuned: Weights, anchors: Sequence[Tensor | None]) -> None:
        self.blocks, self.finetuned, self.anchors = tuple(blocks), finetuned, tuple(anchors)

    def moments(self, examples: int | None = None) -> dict[str, Tensor]:
        """Linear weight → mean of x xᵀ (in × in) over all tokens of all anchors, fp32, on the CPU; `examples` is ignored."""
        moments: dict[str, Tensor] = {}
        for block, anchors in zip(self.blocks, self.anchors, strict=True):
            if anchors is None:
                continue
            weights = block.of(self.finetuned, anchors.device)

            def run(block: Block = block, weights: Mapping[str, Tensor] = weights, anchors: Tensor = anchors) -> None:
                for part in anchors.split(BATCH):
                    block(weights, part)

            moments |= {block.prefix + name: moment for name, moment in linear_moments(block.module, run).items()}
        return moments
