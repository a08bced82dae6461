"""Files of a run: whole or not at all, with the metadata that ties them to the checkpoints they came from."""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, safe_open, save
from torch import Tensor

from fda.errors import UserError


def anchors_file(run_dir: Path, task: str, block: int) -> Path:
    return run_dir / "anchors" / task / f"{block}.safetensors"


def merged_file(run_dir: Path, method: str) -> Path:
    return run_dir / "merged" / f"{method}.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write a safetensors file under a temporary name and move it into place; equal content gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        content = save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            metadata={key: str(value) for key, value in metadata.items()},
        )
        part.write_bytes(_sorted_metadata(content))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _sorted_metadata(content: bytes) -> bytes:
    """The same safetensors file with its metadata in sorted order; the library writes it in the order of a hash."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def load_anchors(run_dir: Path, task: str, block: int, *, base: str, finetuned: str) -> Tensor:
    """Anchors of a unit, (n, tokens, d). UserError if they are missing or were made from other checkpoints."""
    path = anchors_file(run_dir, task, block)
    if not path.is_file():
        raise UserError(
            f"run {run_dir.name} has no anchors for task {task}, block {block}: resume it, or choose another run."
        )
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    for what, expected in (("base", base), ("checkpoint", finetuned)):
        if metadata.get(f"{what}_fingerprint") != expected:
            raise UserError(
                f"{path} was made from another {what} than the zoo names now: construct the anchors of {task} again."
            )
    return load_file(path)["anchors"]
