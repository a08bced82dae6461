"""Write a safetensors file tensor by tensor and atomically. The library's writer needs all tensors in memory at once.

Equal content gives equal bytes.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fda.atomic import whole_file
from fda.cancel import NEVER, Cancel

DTYPE_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}

Kind = tuple[torch.Size, torch.dtype]


def kinds_of(weights: Mapping[str, Tensor]) -> dict[str, Kind]:
    """Return shape and dtype of every tensor, reading one at a time."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in ((name, weights[name]) for name in weights)}


def write_tensors(
    path: Path,
    kinds: Mapping[str, Kind],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, object],
    *,
    cancel: Cancel = NEVER,
) -> None:
    """Write the tensors in the order they arrive, each cast to its dtype in `kinds`.

    `cancel` is checked after each tensor. The file appears when it is complete and on the disk; until then `path`
    keeps its old content. ValueError for a tensor of another shape, for one that is not in `kinds` or arrives twice, and for
    one that never arrives.
    """
    with whole_file(path) as part, part.open("wb") as file:
        header, offsets = _layout(kinds, metadata)
        file.write(header)
        for name, tensor in tensors:
            if name not in offsets:
                raise ValueError(f"{name} was not to be written, or was written before")
            _write(file, offsets.pop(name), kinds[name], tensor)
            cancel.check()
        if offsets:
            raise ValueError(f"{next(iter(offsets))} was not given")


def _layout(kinds: Mapping[str, Kind], metadata: Mapping[str, object]) -> tuple[bytes, dict[str, int]]:
    """(header, name → offset in the file). Wide dtypes come first, which aligns every tensor."""
    entries: dict[str, Any] = {"__metadata__": {key: str(metadata[key]) for key in sorted(metadata)}}
    offsets, end = {}, 0
    for name in sorted(kinds, key=lambda name: (-kinds[name][1].itemsize, name)):
        shape, dtype = kinds[name]
        offsets[name], end = end, end + shape.numel() * dtype.itemsize
        entries[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offsets[name], end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return header, {name: len(header) + offset for name, offset in offsets.items()}


def _write(file: BinaryIO, start: int, kind: Kind, tensor: Tensor) -> None:
    shape, dtype = kind
    if tensor.shape != shape:
        raise ValueError(f"a tensor to be written has shape {tuple(tensor.shape)}, not {tuple(shape)}")
    file.seek(start)
    file.write(tensor.detach().to("cpu", dtype).contiguous().reshape(-1).view(torch.uint8).numpy().data)
