"""Run a merging method over lazily read weights: checks, dtype, and the tensors no method touches.

Into memory (`merge`), or tensor by tensor into a safetensors file (`merge_to_file`), so that memory follows the largest
tensor and not the model. Which method, and where the file belongs, is left to the callers.
"""

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fda.errors import UserError
from fda.merging.method import Method, Weights

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


def merge(method: Method, base: Weights, finetuned: Sequence[Weights], **hyperparameters: Any) -> dict[str, Tensor]:
    """The merged state dict, in the base's order and dtypes; computed in fp32, non-floating tensors taken from the base.

    Raises UserError for a hyperparameter the method does not have, or that is out of its range.
    """
    floats = dict(_floats(method, base, finetuned, hyperparameters))
    return {name: floats[name].to(base[name].dtype) if name in floats else base[name] for name in base}


def merge_to_file(
    method: Method,
    base: Weights,
    finetuned: Sequence[Weights],
    path: Path,
    metadata: Mapping[str, object],
    **hyperparameters: Any,
) -> None:
    """Write what `merge` returns as a safetensors file, each tensor as soon as it is merged.

    Whole or not at all: written under a temporary name and moved into place. Raises as `merge`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            header, places = _layout(base, metadata)
            file.write(header)
            for name, tensor in _floats(method, base, finetuned, hyperparameters):
                _write(file, places.pop(name), tensor)
            for name in list(places):  # what the method did not yield is the base's
                _write(file, places.pop(name), base[name])
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _floats(
    method: Method, base: Weights, finetuned: Sequence[Weights], hyperparameters: Mapping[str, Any]
) -> Iterator[tuple[str, Tensor]]:
    """What the method yields, after a check of its hyperparameters."""
    if method.merge is None:
        raise ValueError(f"{method.name} is not a weight-space method")
    unknown = sorted(set(hyperparameters) - set(method.defaults))
    if unknown:
        known = ", ".join(method.defaults) or "none"
        raise UserError(f"{method.name} has no hyperparameter {unknown[0]!r}: it has {known}.")
    for hyper in method.hyperparameters:
        value = hyperparameters.get(hyper.name, hyper.default)
        if (hyper.low is not None and value < hyper.low) or (hyper.high is not None and value > hyper.high):
            above = f"at least {hyper.low:g}" if hyper.high is None else f"between {hyper.low:g} and {hyper.high:g}"
            raise UserError(f"{method.name}: {hyper.name} must be {above}, not {value:g}.")
    return method.merge(base, finetuned, **hyperparameters)


_Place = tuple[int, torch.Size, torch.dtype]  # where in the file, and what


def _layout(base: Weights, metadata: Mapping[str, object]) -> tuple[bytes, dict[str, _Place]]:
    """The header of a file with the base's tensors, and the place of each. Wide dtypes first keeps all of them aligned."""
    kinds = {name: (tensor.shape, tensor.dtype) for name, tensor in ((name, base[name]) for name in base)}
    entries: dict[str, Any] = {"__metadata__": {key: str(metadata[key]) for key in sorted(metadata)}}
    offsets, end = {}, 0
    for name in sorted(kinds, key=lambda name: (-kinds[name][1].itemsize, name)):
        shape, dtype = kinds[name]
        offsets[name], end = end, end + shape.numel() * dtype.itemsize
        entries[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [offsets[name], end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return header, {name: (len(header) + offsets[name], *kinds[name]) for name in kinds}


def _write(file: Any, place: _Place, tensor: Tensor) -> None:
    start, shape, dtype = place
    if tensor.shape != shape:
        raise ValueError(f"a merged tensor has shape {tuple(tensor.shape)}, the base's {tuple(shape)}")
    file.seek(start)
    file.write(tensor.detach().to("cpu", dtype).contiguous().reshape(-1).view(torch.uint8).numpy())
