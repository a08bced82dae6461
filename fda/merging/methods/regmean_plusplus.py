"""RegMean++: RegMean block by block, each fed by the blocks that are merged already."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from fda.merging.method import TaskInputs, Weights, all_weights, merging_method, summed
from fda.merging.methods.regmean import EXAMPLES, KEEP, Layer, add_task, least_squares

if TYPE_CHECKING:
    from torch import Tensor


@merging_method(
    name="regmean_plusplus",
    title="RegMean++",
    idea="RegMean whose inputs come from the model merged so far, block by block.",
    paper="https://arxiv.org/abs/2508.03121",
    year=2025,
    needs="inputs",
)
def regmean_plusplus(
    base: Weights,
    finetuned: Sequence[Weights],
    inputs: Sequence[TaskInputs],
    *,
    keep: Annotated[float, KEEP] = 0.95,
    examples: Annotated[int, EXAMPLES] = 256,
) -> Iterator[tuple[str, "Tensor"]]:
    """RegMean with Gi from task i's block behind the merged blocks before it (RegMean++, 2508.03121).

    The embeddings are averaged first. Then, in forward order, each task's inputs go through what is merged and through the
    task's own block, whose linear layers give Gi; then the block is merged. All else is averaged, also linear layers
    outside blocks. The merged model is in memory. Raises UserError as RegMean.
    """
    merged = {name: summed(taus).div_(len(taus)).add_(theta0) for name, theta0, taus in all_weights(base, finetuned)}
    for block, prefix in enumerate(inputs[0].blocks):
        layers: dict[str, Layer] = {}
        for weights, task in zip(finetuned, inputs, strict=True):
            moments = task.block_moments(block, _Ahead(merged, weights, prefix), examples)
            add_task(layers, base, weights, {**moments}, keep)
        for name, layer in layers.items():
            if layer.moved:
                update = least_squares(name, layer.moments, layer.pull, keep).T.float()
                merged[name] = base[name].float() + update
    yield from merged.items()


class _Ahead(Mapping[str, "Tensor"]):
    """The merged model, but with a task's own tensors where names begin with `prefix`, and where nothing is merged."""

    def __init__(self, merged: Weights, weights: Weights, prefix: str) -> None:
        self.merged, self.weights, self.prefix = merged, weights, prefix

    def __getitem__(self, name: str) -> "Tensor":
        return self.weights[name] if name.startswith(self.prefix) or name not in self.merged else self.merged[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)
