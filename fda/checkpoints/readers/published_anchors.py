"""Read the anchors that the paper's authors published as .npy, without running code in them.

Vision: an array (tokens, anchors, d), the order of open_clip's towers at that time. Language: a pickled dict with the anchors
under `input`, (anchors, tokens, d), or an array (anchors, d) of single tokens.
"""

import math
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

import numpy as np
import torch

from fda.checkpoints.readers.budget import Exceeded, budget_of
from fda.checkpoints.readers.pickles import Damaged, Refused, read_pickle
from fda.checkpoints.readers.rebuild import NumpyArray, rebuild_within
from fda.checkpoints.readers.signs import kind_of, refuse_what_is_no_checkpoint
from fda.checkpoints.readers.spans import Cursor, Span
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

LONGEST_HEADER = 2**16  # bytes; numpy writes some hundred


def read_published_anchors(path: str | Path) -> "Tensor":
    """Return the anchors in a .npy file: (n, tokens, d), float32. UserError if it holds none, or anything but arrays."""
    path = Path(path)
    refuse_what_is_no_checkpoint(path)
    if kind_of(path) != "numpy":
        raise UserError(f"{path} is no .npy file: give one of the published `dual_anchors_layer_….npy`.")
    try:
        shape, dtype, start = _header(path)
        if dtype.hasobject:
            arrays = _arrays(Cursor(Span(path, start, path.stat().st_size - start)))
            if "input" not in arrays:
                raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}, but no anchors (`input`).")
            anchors, pickled = arrays["input"].read(), True
        elif dtype.kind != "f":
            raise UserError(f"{path} holds an array of {dtype}, where anchors are floating-point numbers.")
        else:
            _require_whole(shape, dtype, path.stat().st_size - start)
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            anchors, pickled = torch.from_numpy(np.array(mapped, dtype=np.float32)), False
    except Exceeded as problem:
        raise UserError(f"{path} {problem}, and was not opened: do not trust it.") from None
    except Refused as problem:
        raise UserError(f"{path} {problem}, so it is more than anchors and was not opened: do not trust it.") from None
    except (Damaged, ValueError, TypeError, OSError, EOFError, OverflowError, RecursionError, MemoryError) as problem:
        raise UserError(f"{path} is not a whole .npy file ({problem}): copy or download it again.") from None
    if anchors.ndim == 2:
        anchors = anchors[:, None]
    elif not pickled and anchors.ndim == 3:
        anchors = anchors.transpose(0, 1)
    if anchors.ndim != 3 or not anchors.numel() or not anchors.is_floating_point():
        raise UserError(
            f"{path} holds an array of shape {list(anchors.shape)}, where anchors have three axes of numbers."
        )
    return anchors.float().contiguous()


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """(shape, dtype, offset of the data), from the header of a .npy file."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
        if length > LONGEST_HEADER:  # numpy would allocate this length before reading
            raise Damaged(f"its header is said to have {length:,} bytes")
        file.seek(np.lib.format.MAGIC_LEN)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        try:
            shape, _, dtype = read(file)
        except (TokenError, SyntaxError, KeyError) as error:  # numpy parses the header as text, and lets these through
            raise Damaged(f"its header is no header: {type(error).__name__}") from None
        return shape, dtype, file.tell()


def _require_whole(shape: tuple[int, ...], dtype: np.dtype, length: int) -> None:
    """`Damaged` unless the sizes are positive and take up exactly the `length` bytes that follow the header.

    numpy reads a negative size as "as many as there are".
    """
    if any(type(size) is not int or size < 1 for size in shape):
        raise Damaged(f"its shape is {list(shape)}, and sizes are positive whole numbers")
    if math.prod(shape) * dtype.itemsize != length:
        raise Damaged(f"its shape is {list(shape)}, and {length} bytes follow")


def _arrays(cursor: Cursor) -> dict[str, NumpyArray]:
    """The arrays in a dict that numpy saved: it pickles the dict as an array of one object."""
    budget = budget_of(cursor.left)
    root = read_pickle(cursor, rebuild_within(budget), budget=budget)
    if isinstance(root, NumpyArray) and root.objects is not None and len(root.objects) == 1:
        root = root.objects[0]
    if not isinstance(root, dict):
        raise Damaged("it holds something else than a dict of arrays")
    arrays = {key: value for key, value in root.items() if isinstance(key, str) and isinstance(value, NumpyArray)}
    return {key: array for key, array in arrays.items() if array.problem() is None}
