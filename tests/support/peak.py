"""Merge checkpoints in a process of its own and report each method's peak memory: what the memory test starts.

`python -m tests.support.peak FOLDER JOBS`: FOLDER holds base.safetensors and task*.safetensors, JOBS is a JSON list of
[method, hyperparameters, number of tasks]. Prints one JSON line a method: name, peak bytes, CPU seconds; first those of
"idle", the process before it merges. The peak is the resident set's high-water mark (VmHWM), Python, torch and mapped pages
of checkpoints included; Linux only.
"""

import json
import sys
import time
from pathlib import Path

import torch

from fda.checkpoints.weights import Checkpoint
from fda.merging.merge import merge_to_file
from fda.merging.registry import METHODS


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main(folder: Path, jobs: list) -> None:
    torch.set_num_threads(1)
    base = Checkpoint(folder / "base.safetensors")
    finetuned = [Checkpoint(path) for path in sorted(folder.glob("task*.safetensors"))]
    reset_peak()
    print(json.dumps(["idle", peak_bytes(), 0.0]))
    for name, hyperparameters, tasks in jobs:
        reset_peak()
        start = time.process_time()
        merged = folder / f"merged-{name}.safetensors"
        merge_to_file(METHODS[name], base, finetuned[:tasks], merged, {"method": name}, **hyperparameters)
        print(json.dumps([name, peak_bytes(), time.process_time() - start]), flush=True)
        merged.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
