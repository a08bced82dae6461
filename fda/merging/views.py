"""What all views of weights share: tensors under another mapping's names, each computed when it is read."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class View(Mapping[str, "Tensor"]):
    """Has the names of `base`; a subclass says what is read under each. Asking whether a name is there reads no tensor."""

    base: Mapping[str, "Tensor"]

    def __contains__(self, name: object) -> bool:  # Mapping's own would compute the tensor
        return name in self.base

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)
