"""Whether all numbers of a zoo's checkpoints and heads are numbers: NaN and infinity are named before anything is computed.

One value that is none spreads through a merged model without a word. Each tensor is read once, and what was found is kept in
FDA_HOME until one of the files changes. Whether what methods and models make of finite numbers stays finite is checked where
it is made (`fda.merging.merge`, `fda.tasks.evaluate`).
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fda.atomic import write_text
from fda.checkpoints.readers.adapters import AdaptedWeights
from fda.checkpoints.readers.misfits import MOST_PROBLEMS
from fda.checkpoints.readers.names import RenamedWeights
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.weights import Weights
from fda.errors import Misfit
from fda.home import fda_home

if TYPE_CHECKING:
    from fda.zoos.survey import OpenZoo

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of which torch knows the extremes
# Buffers that older libraries saved and newer ones compute: masks of them may hold infinity, and nothing reads them.
UNREAD = re.compile(r"(^|\.)(masked_bias|attn_mask|attn\.bias|attention\.bias|rotary_emb\.inv_freq)$")


@dataclass(frozen=True)
class NotFinite:
    """A tensor of `count` values, of which `nan` are NaN and `infinite` are infinite."""

    name: str
    nan: int
    infinite: int
    count: int

    def __str__(self) -> str:
        kinds = ((self.nan, "NaN"), (self.infinite, "infinite"))
        told = " and ".join(f"{number:,} {kind}" for number, kind in kinds if number)
        return f"tensor {self.name} holds values that are not finite ({told} of {self.count:,})"


@dataclass(frozen=True)
class Looked:
    """What was looked at: floating-point tensors and their values. `notes`: on tensors that are not finite and not used."""

    tensors: int
    values: int
    notes: tuple[str, ...]


def require_finite(opened: "OpenZoo", pulse: Callable[[], None] = lambda: None) -> Looked:
    """Look at every floating-point tensor of the base, of the opened tasks' checkpoints and of their head files.

    Misfit that names file, tensor and task of the first that hold NaN or infinity, if they are merged or answer. `pulse` is
    called after each tensor and may raise to stop.
    """
    problems, notes, tensors, values = [], [], 0, 0
    for whose, reader, used in _readers(opened):
        sizes = [info.count for info in reader.header.values() if info.dtype.startswith(("F", "BF"))]
        tensors, values = tensors + len(sizes), values + sum(sizes)
        for one in not_finite(reader, pulse):
            if used(one.name):
                problems.append(f"{_path(reader)}: {one}, {whose}: copy or download the file again, or give another.")
            else:
                notes.append(f"{_path(reader)}: {one}, {whose}; it is not used here.")
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise Misfit([*problems[:MOST_PROBLEMS], *([f"{more} more tensors are not finite."] if more > 0 else [])])
    return Looked(tensors, values, tuple(notes))


def not_finite(weights: Weights, pulse: Callable[[], None] = lambda: None) -> tuple[NotFinite, ...]:
    """The tensors of a reader that hold NaN or infinity, in its order. Read once for each state of its files."""
    path = fda_home() / "cache" / "finite" / f"{_stamp(weights)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return tuple(NotFinite(**one) for one in json.loads(path.read_text(encoding="utf-8")))
    found = []
    for name in weights:
        if weights.header[name].dtype.startswith(("F", "BF")):
            one = looked_at(name, weights[name])
            found += [] if one is None else [one]
            pulse()
    with contextlib.suppress(OSError):  # the cache only saves time
        write_text(path, json.dumps([asdict(one) for one in found]))
    return tuple(found)


def looked_at(name: str, tensor: Tensor) -> NotFinite | None:
    """What is not finite in a floating-point tensor, or None. Makes no copy of a tensor that is finite."""
    values = tensor if tensor.dtype in PLAIN else tensor.float()
    if not values.numel() or torch.stack(values.aminmax()).isfinite().all():  # the extremes of NaN are NaN
        return None
    return NotFinite(name, int(values.isnan().sum()), int(values.isinf().sum()), values.numel())


Reader = tuple[str, Weights, Callable[[str], bool]]  # whose it is, its tensors, which of them are used


def _readers(opened: "OpenZoo") -> Iterator[Reader]:
    """Every file of tensors once: of an adapter its own, since its base's are among them already."""
    tasks = [opened.zoo.task(name) for name in opened.tasks]
    described = any(task.head is not None and not isinstance(task.head, str) for task in tasks)  # by the base's texts
    old = getattr(opened.model.module, "_keys_to_ignore_on_load_unexpected", None) or ()
    for role, view, heads in (
        ("of the base", opened.base, described),
        *(
            (f"of task {task.name!r}", opened.tasks[task.name], task.head is None and opened.model.kind != "open_clip")
            for task in tasks
        ),
    ):
        yield role, _own(view), _used(view, heads, old)
    for task in tasks:
        if isinstance(task.head, str):
            yield f"the head of task {task.name!r}", open_weights(task.head), lambda _: True


def _own(view: Weights) -> Weights:
    while isinstance(view, RenamedWeights):
        view = view.weights
    return view.adapter if isinstance(view, AdaptedWeights) else view


def _used(view: Weights, heads: bool, old: Iterable[str]) -> Callable[[str], bool]:
    """Whether a tensor of a checkpoint is used, by its name there: shown, or, with `heads`, part of what answers."""
    if not isinstance(view, RenamedWeights) or isinstance(view.weights, AdaptedWeights):
        return lambda _: True
    shown, passed = set(view.names.values()), [re.compile(pattern) for pattern in old]
    return lambda name: (
        name in shown or (heads and not UNREAD.search(name) and not any(one.search(name) for one in passed))
    )


def _path(reader: Weights) -> Path:
    """The file, where there is but one."""
    files = reader.files
    return files[0] if len(files) == 1 else reader.path


def _stamp(weights: Weights) -> str:
    """Of a reader's kind and its files: sizes, and times of change of content and of their entries in the folder."""
    states = [(str(file.absolute()), file.stat()) for file in weights.files]
    told = [(path, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in states]
    return hashlib.sha256(json.dumps([type(weights).__name__, *told]).encode()).hexdigest()[:32]
