"""Eight checkpoints of 400 MB merge within 3 GB of peak memory, by every data-free method (issue 3, "Done when")."""

import json
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

# 100 M parameters: the largest and the smallest matrix of a ViT-B block (more of them cost time, not memory), and the bulk
# in convolutions of 105 MB, the size of ViT-B/32's token embedding (49408 × 512).
SHAPES = {
    "0.mlp.c_fc.weight": (3072, 768),
    "0.attn.out_proj.weight": (768, 768),
    **{f"{i}.mlp.c_fc.bias": (3072,) for i in range(12)},
    **{f"stem.{i}.weight": (1024, 1024, 5, 5) for i in range(3)},
    "stem.3.weight": (1024, 1024, 4, 4),
    "visual.conv1.weight": (768, 3, 32, 32),
    "logit_scale": (),
}

# Memory does not depend on the number of Adam's steps, time does (300 steps: 20 s a matrix on one core).
HYPERPARAMETERS = {"wudi": {"steps": 3}, "optmerge": {"steps": 3}}
SAME_CODE = {"swudi_a", "tact"}  # swudi and actmat read, sum and solve for them
PROCESSES = (  # about 100 s of CPU each
    ("della", "tsv", "iso_cts", "breadcrumbs", "dare", "ta", "average", "model_stock", "pretrained"),
    ("dare_ties", "ties", "iso_c", "consensus_ta", "magmax", "wudi", "slerp"),
)
NEW = tuple(
    name for name in DATA_FREE if name not in (*PROCESSES[0], *PROCESSES[1], *SAME_CODE)
)  # methods that are not balanced yet


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Path]:
    """The folder of base.safetensors and task0 … task7.safetensors, removed afterwards."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randn(30_000_000, generator=random)
    offset = 0
    try:
        for name in ("base", *(f"task{i}" for i in range(TASKS))):
            state = {}
            for key, shape in SHAPES.items():
                count = torch.Size(shape).numel()
                offset = (offset + 7_654_321) % (len(numbers) - count)
                state[key] = numbers[offset : offset + count].reshape(shape).clone()
            save_file(state, tmp_path / f"{name}.safetensors")
        yield tmp_path
    finally:
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()


@pytest.mark.memory
@pytest.mark.timeout(1200)  # two minutes on two idle cores
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_every_data_free_method_merges_eight_checkpoints_of_400_mb_within_3_gb(checkpoints: Path):
    data_free = set(DATA_FREE) - SAME_CODE
    assert data_free == {name for names in (*PROCESSES, NEW) for name in names}
    sizes = [path.stat().st_size for path in checkpoints.glob("task*.safetensors")]
    assert len(sizes) == TASKS and min(sizes) >= 400 * 10**6

    def job(name: str) -> list:
        return [name, HYPERPARAMETERS.get(name, {}), 2 if name == "slerp" else TASKS]

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.peak", str(checkpoints), json.dumps([job(name) for name in names])],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
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
    assert set(peaks) == data_free
    assert {name: peak for name, peak in peaks.items() if peak > LIMIT} == {}
