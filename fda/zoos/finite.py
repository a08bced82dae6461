"""Check a zoo's checkpoints and heads for NaN and infinity before anything is computed.

One such value spreads silently through a merged model. Each tensor is read once, and the result is cached in FDA_HOME until one
of the files changes. `fda.merging.merge` and `fda.tasks.evaluate` check the values that they compute.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fda.atomic import write_text
from fda.cancel import NEVER, Cancel
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.misfits import MOST_PROBLEMS
from fda.checkpoints.readers.names import RenamedWeights
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.errors import Misfit
from fda.home import fda_home

if TYPE_CHECKING:
    from fda.zoos.survey import OpenZoo

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # dtypes for which torch has `aminmax`
# Buffers that older libraries saved and newer ones compute: masks among them may hold infinity, and nothing reads them.
UNREAD = re.compile(r"(^|\.)(masked_bias|attn_mask|attn\.bias|attention\.bias|rotary_emb\.inv_freq)$")


@dataclass(frozen=True)
class NotFinite:
    """A tensor with `count` values, of which `nan` are NaN and `infinite` are infinite."""

    name: str
    nan: int
    infinite: int
    count: int

    def __str__(self) -> str:
        kinds = ((self.nan, "NaN"), (self.infinite, "infinite"))
        counts = " and ".join(f"{number:,} {kind}" for number, kind in kinds if number)
        return f"tensor {self.name} holds values that are not finite ({counts} of {self.count:,})"


@dataclass(frozen=True)
class Checked:
    """How many floating-point tensors and values were checked. `notes`: on unused tensors that are not finite."""

    tensors: int
    values: int
    notes: tuple[str, ...]


def require_finite(opened: "OpenZoo", cancel: Cancel = NEVER) -> Checked:
    """Check every floating-point tensor of the base, of the opened tasks' checkpoints and of their head files.

    Misfit with file, tensor and task of the first used tensors with NaN or infinity. `cancel` is checked after each tensor and
    may raise to stop.
    """
    problems, notes, tensors, values = [], [], 0, 0
    for whose, reader, used in _readers(opened):
        sizes = [info.count for info in reader.header.values() if info.dtype.startswith(("F", "BF"))]
        tensors, values = tensors + len(sizes), values + sum(sizes)
        for bad in not_finite(reader, cancel):
            if used(bad.name):
                problems.append(f"{_path(reader)}: {bad}, {whose}: copy or download the file again, or give another.")
            else:
                notes.append(f"{_path(reader)}: {bad}, {whose}; it is not used here.")
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise Misfit([*problems[:MOST_PROBLEMS], *([f"{more} more tensors are not finite."] if more > 0 else [])])
    return Checked(tensors, values, tuple(notes))


def not_finite(weights: Weights, cancel: Cancel = NEVER) -> tuple[NotFinite, ...]:
    """Return the tensors of a reader that hold NaN or infinity, in its order. Cached until its files change."""
    path = fda_home() / "cache" / "finite" / f"{_stamp(weights)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return tuple(NotFinite(**fields) for fields in json.loads(path.read_text(encoding="utf-8")))
    bad = []
    for name in weights:
        if weights.header[name].dtype.startswith(("F", "BF")):
            tensor = looked_at(name, weights[name])
            bad += [] if tensor is None else [tensor]
            cancel.check()
    with contextlib.suppress(OSError):  # the cache only saves time
        write_text(path, json.dumps([asdict(tensor) for tensor in bad]))
    return tuple(bad)


def looked_at(name: str, tensor: Tensor) -> NotFinite | None:
    """Count the values of a floating-point tensor that are not finite; None if all are. Does not copy a finite tensor."""
    values = tensor if tensor.dtype in PLAIN else tensor.float()
    if not values.numel() or all(map(math.isfinite, values.aminmax())):  # `aminmax` propagates NaN
        return None
    return NotFinite(name, int(values.isnan().sum()), int(values.isinf().sum()), values.numel())


Reader = tuple[str, Weights, Callable[[str], bool]]  # (owner, its tensors, whether a tensor is used)


def _readers(opened: "OpenZoo") -> Iterator[Reader]:
    """Yield every file of tensors once: for an adapter its own file, since the base is among them anyway."""
    tasks = [opened.zoo.task(name) for name in opened.tasks]
    zero_shot = any(
        task.head is not None and not isinstance(task.head, str) for task in tasks
    )  # uses the base's text tower
    old = getattr(opened.model.module, "_keys_to_ignore_on_load_unexpected", None) or ()
    for role, view, heads in (
        ("of the base", opened.base, zero_shot),
        *(
            (f"of task {task.name!r}", opened.tasks[task.name], task.head is None and opened.model.kind != "open_clip")
            for task in tasks
        ),
    ):
        yield role, _source(view), _used(view, heads, old)
    for task in tasks:
        if isinstance(task.head, str):
            yield f"the head of task {task.name!r}", open_weights(task.head), lambda _: True


def _source(view: Weights) -> Weights:
    while isinstance(view, RenamedWeights):
        view = view.weights
    return view.adapter if isinstance(view, AdaptedWeights) else view


def _used(view: Weights, heads: bool, old: Iterable[str]) -> Callable[[str], bool]:
    """A predicate on a checkpoint's tensor names: whether the tensor is merged, or, with `heads`, may belong to a head."""
    if not isinstance(view, RenamedWeights) or isinstance(view.weights, AdaptedWeights):
        return lambda _: True
    shown, ignored = set(view.names.values()), [re.compile(pattern) for pattern in old]
    return lambda name: (
        name in shown or (heads and not UNREAD.search(name) and not any(pattern.search(name) for pattern in ignored))
    )


def _path(reader: Weights) -> Path:
    """The reader's only file, or its path."""
    files = reader.files
    return files[0] if len(files) == 1 else reader.path


def _stamp(weights: Weights) -> str:
    """A hash of the reader's class and of its files' paths, sizes, mtimes and ctimes."""
    states = [(str(file.absolute()), file.stat()) for file in weights.files]
    files = [(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns) for path, state in states]
    return hashlib.sha256(json.dumps([type(weights).__name__, *files]).encode()).hexdigest()[:32]
