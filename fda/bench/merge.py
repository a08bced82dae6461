"""Measure SVD-based merging against plain ports: seconds and peak memory on checkpoints of ViT-B/32's size.

The ports take a full `torch.linalg.svd` of every matrix and task. They share no code with `fda.merging`, so optimising it
does not speed them up. Both read and write the same files tensor by tensor; each measurement runs in its own process, which
isolates its peak memory.
"""

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fda.checkpoints.treatments import is_matrix
from fda.checkpoints.weights import Checkpoint
from fda.checkpoints.write import kinds_of, write_tensors
from fda.merging.merge import merge_to_file, with_rest
from fda.merging.method import Weights, all_weights
from fda.merging.registry import METHODS

SHAPES = {
    "attn.in_proj_weight": (2304, 768),
    "attn.out_proj.weight": (768, 768),
    "mlp.c_fc.weight": (3072, 768),
    "mlp.c_proj.weight": (768, 3072),
    "attn.in_proj_bias": (2304,),
    "mlp.c_fc.bias": (3072,),
}  # of a block of CLIP ViT-B/32
BLOCKS, TASKS = 12, 8
STEP = 2e-3  # size of a task vector's entries, about that of CLIP's finetuned checkpoints

Rule = Callable[[list[Tensor]], Tensor]


@dataclass(frozen=True)
class Merged:
    """One method by one path: seconds (median, least, most) and the process's largest resident size in bytes."""

    method: str
    path: str
    seconds: tuple[float, float, float]
    peak_bytes: int


def bench_merge(
    methods: Sequence[str] = ("tsv", "iso_c"),
    *,
    blocks: int = BLOCKS,
    tasks: int = TASKS,
    repeats: int = 3,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure each method by its plain port, if it has one, and by ours, in turn; return plain data.

    `difference`: ‖ours − plain‖ / ‖plain − θ0‖ over all tensors. A temporary folder holds files of (tasks + 2) models.
    """
    rows, differences = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoints(folder, blocks, tasks)
        for method in methods:
            paths = ("plain", "ours") if method in PLAIN else ("ours",)
            measured: dict[str, list[tuple[float, int]]] = {path: [] for path in paths}
            for _ in range(repeats):
                for path in paths:
                    measured[path].append(_alone(folder, method, path, threads))
            for path, costs in measured.items():
                seconds = [taken for taken, _ in costs]
                spread = (statistics.median(seconds), min(seconds), max(seconds))
                rows.append(Merged(method, path, spread, max(peak for _, peak in costs)))
            if len(paths) == 2:
                differences[method] = _difference(folder, method)
    return {
        "blocks": blocks,
        "tasks": tasks,
        "repeats": repeats,
        "threads": threads or torch.get_num_threads(),
        "rows": [asdict(row) for row in rows],
        "difference": differences,
    }


def write_checkpoints(folder: Path, blocks: int, tasks: int) -> None:
    """Write base.safetensors, task0.safetensors, …: random matrices and task vectors with falling singular values."""
    random = torch.Generator().manual_seed(0)
    base = {
        f"transformer.resblocks.{block}.{name}": 0.02 * torch.randn(shape, generator=random)
        for block in range(blocks)
        for name, shape in SHAPES.items()
    }
    _write(folder / "base.safetensors", base)
    for task in range(tasks):
        moved = {name: tensor + STEP * _step(tuple(tensor.shape), random) for name, tensor in base.items()}
        _write(folder / f"task{task}.safetensors", moved)


def _step(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return torch.randn(shape, generator=random)
    rank = min(shape)
    scales = torch.arange(1, rank + 1) ** -0.7
    left, right = torch.randn(shape[0], rank, generator=random), torch.randn(rank, shape[1], generator=random)
    return (left * scales) @ right / scales.norm()


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    write_tensors(path, kinds_of(tensors), iter(tensors.items()), {})


def plain_tsv(taus: list[Tensor]) -> Tensor:
    """The merged update of one matrix: the top 1/T of each task, concatenated, each side replaced by its polar factor."""
    keep = min(taus[0].shape) // len(taus)
    if keep == 0:
        return sum(taus[1:], taus[0]) / len(taus)
    parts = []
    for tau in taus:
        u, s, vt = torch.linalg.svd(tau, full_matrices=False)
        parts.append((u[:, :keep].clone(), s[:keep].clone(), vt[:keep].clone()))
    left, values, right = (
        torch.cat(list(part), dim) for part, dim in zip(zip(*parts, strict=True), (1, 0, 0), strict=True)
    )
    (a, _, b), (c, _, d) = (torch.linalg.svd(side, full_matrices=False) for side in (left, right))
    return torch.linalg.multi_dot((a, b, torch.diag(values), c, d))


def plain_iso_c(taus: list[Tensor]) -> Tensor:
    """The merged update of one matrix: its sum with every singular value replaced by their mean."""
    u, s, vt = torch.linalg.svd(sum(taus), full_matrices=False)
    return torch.linalg.multi_dot((u, torch.diag(torch.full_like(s, s.mean())), vt))


PLAIN: dict[str, Rule] = {"tsv": plain_tsv, "iso_c": plain_iso_c}


def plain_merge(rule: Rule, base: Weights, finetuned: Sequence[Weights]) -> Iterator[tuple[str, Tensor]]:
    """θ0 + the rule's update of every matrix, and θ0 + the mean task vector elsewhere."""
    for name, theta0, taus in all_weights(base, finetuned):
        yield name, theta0 + (rule(taus) if is_matrix(name, theta0) else sum(taus) / len(taus))


def _alone(folder: Path, method: str, path: str, threads: int | None) -> tuple[float, int]:
    """(seconds, peak bytes) of one merge in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (folder, method, path, threads))


def _measured(folder: Path, method: str, path: str, threads: int | None) -> tuple[float, int]:
    if threads is not None:
        torch.set_num_threads(threads)
    base, finetuned = _opened(folder)
    began = time.perf_counter()
    target = folder / f"{method}-{path}.safetensors"
    if path == "plain":
        floats = plain_merge(PLAIN[method], base, finetuned)
        write_tensors(target, kinds_of(base), with_rest(base, floats), {"method": method})
    else:
        merge_to_file(METHODS[method], base, finetuned, target, {"method": method})
    seconds = time.perf_counter() - began
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _opened(folder: Path) -> tuple[Checkpoint, list[Checkpoint]]:
    return Checkpoint(folder / "base.safetensors"), [
        Checkpoint(path) for path in sorted(folder.glob("task*.safetensors"))
    ]


def _difference(folder: Path, method: str) -> float:
    base, _ = _opened(folder)
    plain, ours = (Checkpoint(folder / f"{method}-{path}.safetensors") for path in ("plain", "ours"))
    error = sum(float((ours[name].double() - plain[name]).square().sum()) for name in base)
    size = sum(float((plain[name].double() - base[name]).square().sum()) for name in base)
    return (error / size) ** 0.5
