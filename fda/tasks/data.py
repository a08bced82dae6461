"""A task's images and labels, loaded by `datasets` and prepared by the model's own transform.

Knows the columns and splits that the zoo names; knows nothing of models beyond the transform it is given.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import datasets
import torch
from PIL.Image import Image
from torch import Tensor

from fda.errors import UserError
from fda.home import fda_home
from fda.models.zoo import ZooTask

CACHE_BYTES = 2**30  # prepared images of one split are kept in memory up to this size


@dataclass
class Split:
    """One split of a task. `batches` may be called again and again; small splits are decoded only once."""

    dataset: datasets.Dataset
    input: str
    label: str
    transform: Callable[[Image], Tensor]
    _prepared: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
        """(images (b, 3, height, width), labels (b,)) in the data's order."""
        labels = torch.tensor(self.dataset[self.label])
        for start in range(0, len(self), size):
            yield self._images(start, min(start + size, len(self))), labels[start : start + size]

    def images(self, count: int) -> Tensor:
        """The first `count` images at most, spaced evenly over the split so that all classes appear."""
        picked = torch.linspace(0, len(self) - 1, min(count, len(self))).round().long().tolist()
        return torch.stack([self.transform(self.dataset[i][self.input].convert("RGB")) for i in picked])

    def _images(self, start: int, stop: int) -> Tensor:
        if start in self._prepared:
            return self._prepared[start]
        batch = torch.stack([self.transform(image.convert("RGB")) for image in self.dataset[start:stop][self.input]])
        if batch.nbytes / (stop - start) * len(self) <= CACHE_BYTES:
            self._prepared[start] = batch
        return batch


def load_split(task: ZooTask, split: str | None, transform: Callable[[Image], Tensor]) -> Split:
    """Load one split of a task. UserError if there is no data, no such split, or no such column."""
    if task.data is None or split is None:
        raise UserError(f"task {task.name!r} names no data for this: add `data` with its split to the zoo file.")
    data = task.data
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(
            data.path, data.name, split=split, cache_dir=str(fda_home() / "cache" / "datasets")
        )
    except Exception as error:  # `datasets` raises whatever its readers raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"task {task.name!r}: the split {split!r} of {data.path} could not be loaded ({first}): "
            "check `data.path` and the split's name in the zoo file."
        ) from None
    for column, role in ((data.input, "input"), (data.label, "label")):
        if column not in loaded.column_names:
            raise UserError(
                f"task {task.name!r}: {data.path} has no column {column!r} (`data.{role}`): "
                f"it has {', '.join(loaded.column_names)}."
            )
    return Split(loaded, data.input, data.label, transform)
