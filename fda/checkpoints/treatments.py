"""How merging treats a tensor, decided by its name, shape and dtype: one rule for every method and for display."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from fda.checkpoints.weights import TensorInfo

Treatment = Literal["matrix", "vector", "untouched"]


def treatment(name: str, tensor: "Tensor | TensorInfo") -> Treatment:
    """Return how methods treat a tensor.

    matrix: 2-D and not the text projection; SVD-based methods merge its singular vectors. vector: every other
    floating-point tensor (biases, norms, convolutions); SVD-based methods average its task vectors. untouched: integers
    and booleans, which every method copies from the base. Entry-wise methods treat matrices and vectors alike.
    Source: the released code of TSV-M and Iso-C.
    """
    if not _is_floating(tensor.dtype):
        return "untouched"
    return "matrix" if len(tensor.shape) == 2 and "text_projection" not in name else "vector"


def is_matrix(name: str, tensor: "Tensor | TensorInfo") -> bool:
    """Whether SVD-based methods merge this tensor's singular vectors (`treatment`)."""
    return treatment(name, tensor) == "matrix"


NOT_LINEAR = ("embed", "wte", "wpe", "projection", "classifier", "lm_head")


def is_linear(name: str, tensor: "Tensor | TensorInfo") -> bool:
    """Whether this tensor is the weight of a linear layer inside a block; WUDI merges only these.

    Source: WUDI's released code lists them for CLIP (in_proj, out_proj, c_fc, c_proj) and leaves out embeddings and the
    classifier for RoBERTa. Here: a matrix called "…weight" that is no embedding, projection head or classifier.
    """
    return is_matrix(name, tensor) and name.endswith("weight") and not any(word in name for word in NOT_LINEAR)


def is_inner_matrix(name: str, tensor: "Tensor | TensorInfo") -> bool:
    """Whether SWUDI and OptMerge solve for this tensor: every matrix but `lm_head`. Source: their released code."""
    return len(tensor.shape) == 2 and _is_floating(tensor.dtype) and "lm_head" not in name


@dataclass(frozen=True)
class TreatedTensor:
    """One row of the table of treatments: a tensor and how methods treat it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    treatment: Treatment
    linear: bool


def treatments(header: Mapping[str, "TensorInfo"]) -> tuple[TreatedTensor, ...]:
    """Return the treatment of every tensor of a header (`Checkpoint.header`), in its order. Reads no tensor."""
    return tuple(
        TreatedTensor(name, tuple(info.shape), info.dtype, treatment(name, info), is_linear(name, info))
        for name, info in header.items()
    )


def _is_floating(dtype: Any) -> bool:
    """`dtype`: a torch dtype, or a safetensors code such as "F16", "BF16" or "I64"."""
    return dtype.startswith(("F", "BF")) if isinstance(dtype, str) else dtype.is_floating_point
