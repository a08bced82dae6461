"""The matrices that the closed forms of ACTMat, TACT and the anchored ridge merge, and how they are cut."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from fda.checkpoints.treatments import is_matrix
from fda.merging.method import Weights, task_vectors

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_SIDE = 20_000  # ACTMat leaves matrices with a longer side, which are embeddings of words
FUSED = (
    "in_proj_weight",
    "c_attn.weight",
    "qkv.weight",
    "query_key_value.weight",
)  # query, key and value on one another


def is_solved(name: str, theta0: "Tensor") -> bool:
    """Whether the closed form merges the tensor: matrices but the text projection and those with a very long side."""
    return is_matrix(name, theta0) and max(theta0.shape) < LONGEST_SIDE


def parts(name: str, theta0: "Tensor") -> tuple[slice, ...]:
    """The rows that are merged together: query, key and value of a fused projection are three layers in one tensor."""
    rows, columns = theta0.shape
    if rows == 3 * columns and name.endswith(FUSED):
        return tuple(slice(start, start + columns) for start in range(0, rows, columns))
    return (slice(0, rows),)


def rows_of(part: slice, name: str, theta0: "Tensor", finetuned: Sequence[Weights]) -> Iterator["Tensor"]:
    """These rows of τ1 … τT, read lazily."""
    return map(itemgetter(part), task_vectors(name, theta0, finetuned))
