"""Some test samples of a run, kept as small pictures or short texts for the view Examples.

One file a task, `examples/TASK.safetensors` in the run's folder: `indices` int32 (m,) in the split, ascending; `bytes` uint8,
the samples one after the other (WebP files, or UTF-8 texts); `ends` int64 (m,), where each ends; metadata `about` holds the
kind and the names of the classes. At most MOST samples, so a file takes a few MB whatever the split's size. Imports no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fda.atomic import whole_file
from fda.errors import UserError

Kind = Literal["image", "text"]
MOST = 600  # samples of a task
MOST_BYTES = 64 << 20  # of a file; MOST pictures of 128 pixels take 5 MB


@dataclass(frozen=True, eq=False)
class Samples:
    """`content`: index in the split → the sample, a WebP file or a UTF-8 text. `classes`: names by number, or None."""

    kind: Kind
    content: Mapping[int, bytes]
    classes: tuple[str, ...] | None

    @property
    def indices(self) -> np.ndarray:
        """(m,), ascending."""
        return np.array(list(self.content), int)


def samples_file(run_dir: Path, task: str) -> Path:
    return run_dir / "examples" / f"{task}.safetensors"


def save_samples(path: Path, samples: Samples) -> None:
    """Write the samples of a task, whole or not at all; equal samples give equal bytes."""
    content = [samples.content[index] for index in samples.indices]
    tensors = {
        "indices": samples.indices.astype(np.int32),
        "ends": np.cumsum([len(sample) for sample in content], dtype=np.int64),
        "bytes": np.frombuffer(b"".join(content), np.uint8),
    }
    about = {"kind": samples.kind, "classes": samples.classes}
    with whole_file(path) as part:
        save_file(tensors, part, {"about": json.dumps(about)})


def load_samples(run_dir: Path, task: str) -> Samples | None:
    """The kept samples of a task; None if the run keeps none. UserError if the file is damaged."""
    path = samples_file(run_dir, task)
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["about"])
            indices, ends, data = (file.get_tensor(name) for name in ("indices", "ends", "bytes"))
        return _checked(about, indices, ends, data)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"the kept samples of {task} in {path} cannot be read: delete the file, then Examples reads them again."
        ) from error


def _checked(about: dict, indices: np.ndarray, ends: np.ndarray, data: np.ndarray) -> Samples:
    """ValueError or TypeError for a file that another program wrote."""
    kind, classes = about["kind"], about["classes"]
    begins = np.concatenate([[0], ends])
    if kind not in ("image", "text") or len(indices) != len(ends) or (np.diff(begins) < 0).any():
        raise ValueError("the parts do not fit together")
    if begins[-1] != data.size or (indices < 0).any() or (np.diff(indices) <= 0).any():
        raise ValueError("the parts do not fit together")
    blob = data.astype(np.uint8).tobytes()
    pairs = zip(indices.tolist(), begins[:-1].tolist(), ends.tolist(), strict=True)
    names = None if classes is None else tuple(str(name) for name in classes)
    return Samples(kind, {index: blob[begin:end] for index, begin, end in pairs}, names)
