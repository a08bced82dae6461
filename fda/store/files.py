"""Paths, writing and reading of a run's tensor files; their metadata names the checkpoints they were made from.

Pages ask for the paths, so functions import torch only where they handle tensors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def anchors_file(run_dir: Path, task: str, block: int) -> Path:
    return run_dir / "anchors" / task / f"{block}.safetensors"


def merged_file(run_dir: Path, method: str) -> Path:
    return run_dir / "merged" / f"{method}.safetensors"


def save_tensors(path: Path, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, object]) -> None:
    """Write a safetensors file, whole or not at all; equal content gives equal bytes."""
    from fda.checkpoints.write import kinds_of, write_tensors

    write_tensors(path, kinds_of(tensors), tensors.items(), metadata)


def adapted_file(run_dir: Path, method: str, block: int) -> Path:
    """One block's tensors after adaptation; deleted once the merged file is whole."""
    return run_dir / "adapted" / method / f"{block}.safetensors"


def load_anchors(run_dir: Path, task: str, block: int, *, base: str, finetuned: str) -> "Tensor":
    """Anchors of a unit, (n, tokens, d). UserError if they are missing or were made from other checkpoints."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    path = anchors_file(run_dir, task, block)
    if not path.is_file():
        raise UserError(
            f"run {run_dir.name} has no anchors for task {task}, block {block}: make them with "
            f"`python -m fda runs resume {run_dir.name}`, or name another run with --anchors."
        )
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    for source, expected in (("base", base), ("checkpoint", finetuned)):
        if metadata.get(f"{source}_fingerprint") != expected:
            raise UserError(
                f"{path} was made from another {source} than the zoo names now: construct the anchors of {task} again."
            )
    return load_file(path)["anchors"]
