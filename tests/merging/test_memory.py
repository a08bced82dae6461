"""Eight checkpoints of 400 MB merge within 3 GB of peak memory, by every data-free method; of 100 MB, within what that leaves.

The whole size takes ten minutes: `python -m pytest tests/merging/test_memory.py -m large`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.states import DATA_FREE

TASKS = 8
LIMIT = 3 * 10**9
# glibc gives memory of this size and above back as soon as it is freed; smaller memory it may keep, and then the next method's
# peak counts it. Divided as the tensors are, so that small checkpoints are treated as large ones.
RETURNED = 32 * 2**20
KEPT = 15 * 10**7  # what the first merges import and the allocator keeps, whatever the size of the checkpoints


def shapes(part: int) -> dict[str, tuple[int, ...]]:
    """Tensors of 400 MB / part², each dimension of a matrix divided by `part`.

    100 M parameters: the largest and the smallest matrix of a ViT-B block (more of them cost time, not memory), and the bulk
    in convolutions of 105 MB, the size of ViT-B/32's token embedding (49408 × 512).
    """
    width, wide, channels = 768 // part, 3072 // part, 1024 // part
    return {
        "0.mlp.c_fc.weight": (wide, width),
        "0.attn.out_proj.weight": (width, width),
        **{f"{i}.mlp.c_fc.bias": (wide,) for i in range(12)},
        **{f"stem.{i}.weight": (channels, channels, 5, 5) for i in range(3)},
        "stem.3.weight": (channels, channels, 4, 4),
        "visual.conv1.weight": (width, 3, 32, 32),
        "logit_scale": (),
    }


# Memory does not depend on the number of Adam's steps, time does (300 steps: 20 s a matrix on one core).
HYPERPARAMETERS = {"wudi": {"steps": 3}, "optmerge": {"steps": 3}}
SAME_CODE = {"swudi_a", "tact", "dare_ties"}  # swudi, actmat, and dare with ties read, sum and solve for them
PROCESSES = (  # about as much of CPU time each
    ("della", "tsv", "iso_cts", "breadcrumbs", "dare", "ta", "average", "model_stock", "pretrained"),
    ("ties", "iso_c", "consensus_ta", "magmax", "wudi", "slerp"),
)
NEW = tuple(
    name for name in DATA_FREE if name not in (*PROCESSES[0], *PROCESSES[1], *SAME_CODE)
)  # methods that are not balanced yet


@pytest.fixture(
    params=[2, pytest.param(1, marks=(pytest.mark.large, pytest.mark.timeout(1200)))], ids=["100 MB", "400 MB"]
)
def checkpoints(request, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """The folder of base.safetensors and task0 … task7.safetensors, and by how much they are smaller than 400 MB."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randn(30_000_000 // request.param**2, generator=random)
    offset = 0
    try:
        for name in ("base", *(f"task{i}" for i in range(TASKS))):
            state = {}
            for key, shape in shapes(request.param).items():
                count = torch.Size(shape).numel()
                offset = (offset + 7_654_321) % (len(numbers) - count)
                state[key] = numbers[offset : offset + count].reshape(shape).clone()
            save_file(state, tmp_path / f"{name}.safetensors")
        yield tmp_path, request.param**2
    finally:
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()


@pytest.mark.memory
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_every_data_free_method_merges_eight_checkpoints_of_400_mb_within_3_gb(checkpoints):
    folder, smaller = checkpoints
    data_free = set(DATA_FREE) - SAME_CODE
    assert data_free == {name for names in (*PROCESSES, NEW) for name in names}
    sizes = [path.stat().st_size for path in folder.glob("task*.safetensors")]
    assert len(sizes) == TASKS and min(sizes) >= 400 * 10**6 / smaller

    def job(name: str) -> list:
        return [name, HYPERPARAMETERS.get(name, {}), 2 if name == "slerp" else TASKS]

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.peak", str(folder), json.dumps([job(name) for name in names])],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": str(RETURNED // smaller)},
        )
        for names in (PROCESSES[0], PROCESSES[1] + NEW)
    ]
    try:
        lines = [line for process in running for line in process.communicate()[0].splitlines()]
    finally:
        for process in running:
            process.kill()
    peaks = {name: peak for name, peak, _ in map(json.loads, lines)}
    print(
        "\n".join(f"{n:14} {peak / 1e9:.2f} GB  {seconds:5.1f} s of CPU" for n, peak, seconds in map(json.loads, lines))
    )
    idle = peaks.pop("idle")
    limit = LIMIT if smaller == 1 else idle + (LIMIT - idle) / smaller + KEPT
    assert set(peaks) == data_free
    assert {name: peak for name, peak in peaks.items() if peak > limit} == {}
