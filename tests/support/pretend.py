"""A pretend accelerator on the CPU, to find what only a GPU would find: `install()` once, then use the device `pretend:0`.

A tensor on it wraps a CPU tensor, which computes, so that results can be compared bit for bit with those of a plain CPU run.
Every operation below autograd passes `PretendTensor.__torch_dispatch__`, which follows CUDA's rules:

- Tensors of both devices in one operation raise `MixUp`. Allowed are CPU tensors without dimensions in element-wise operations,
  CPU tensors as indices, and copies.
- What makes the host wait for the device is counted in `WAITS`, by the line of `fda/` that asks for it: reading a value, shapes
  that depend on values, every copy between the devices (pageable memory is copied while the host waits), scalars and indices
  that an operation copies to the device by itself, checked decompositions.
- Storages alive are counted in `MEMORY`. With a limit, or at a chosen allocation, they raise `torch.OutOfMemoryError`.

It cannot find what needs the hardware: wrong numbers of CUDA's kernels, operations without one, streams, races, fragmentation,
the workspace inside a kernel, what `torch.compile` and Triton make, optimisers that update all tensors in one kernel (foreach).
"""

import contextlib
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretend"
DEVICE = f"{NAME}:0"
PACKAGE = str(Path(__file__).parents[2] / "fda")
CHECKED = (
    "bincount",
    "_linalg_eigh",
    "_linalg_svd",
    "_linalg_check_errors",
    "linalg_lstsq",
    "linalg_eig",
)  # CUDA reads their info
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")
FACTORIES = (
    "empty.memory_format",
    "empty_strided",
    "arange",
    "arange.start",
    "arange.start_step",
    "linspace",
    "eye",
    "eye.m",
)
COPIES = ("copy_", "_to_copy", "_copy_from")


class MixUp(RuntimeError):
    """An operation on tensors of both devices that CUDA would refuse."""


_due: list[Exception] = []


def _fail(error: Exception) -> None:
    """Raise it; from within a backward pass, where torch would end the process, at its end."""
    if torch._C._current_graph_task_id() != -1:
        _due.append(error)
        return
    try:
        raise error
    finally:
        del error  # or it would hold itself, and with it every tensor of the frames above


class Waits:
    """How often the host waited for the device: (file:line of the innermost frame in fda/, operation) → times."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()

    def add(self, operation: str) -> None:
        self.seen[_place(), operation] += 1

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[tuple[str, str]]]:
        """Count what happens in the body alone."""
        before, self.seen = self.seen, Counter()
        try:
            yield self.seen
        finally:
            self.seen = before


def _place() -> str:
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "outside"
    return f"{Path(frame.f_code.co_filename).relative_to(PACKAGE)}:{frame.f_code.co_name}"


@dataclass
class Memory:
    """Bytes of the storages on the device, as `torch.cuda` counts them, and where it runs out."""

    live: int = 0
    peak: int = 0
    limit: int | None = None
    fail_at: int | None = None  # the allocation, counted from 1, that fails once
    larger_than: int = 0  # bytes; smaller allocations are not counted for `fail_at`
    allocations: int = 0
    failures: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def take(self, size: int) -> None:
        with self.lock:
            self.allocations += size > self.larger_than
            chosen = size > self.larger_than and self.allocations == self.fail_at
            if chosen or (self.limit is not None and self.live + size > self.limit):
                self.failures += 1
                _fail(torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes."))
            self.live += size
            self.peak = max(self.peak, self.live)

    def give(self, size: int) -> None:
        with self.lock:
            self.live -= size

    @contextlib.contextmanager
    def failing(self, at: int | None = None, *, larger_than: int = 0, limit: int | None = None) -> Iterator["Memory"]:
        """In the body, the `at`-th allocation above so many bytes fails once, and those beyond `limit` bytes always do."""
        self.fail_at, self.larger_than, self.limit, self.allocations, self.failures = at, larger_than, limit, 0, 0
        try:
            yield self
        finally:
            self.fail_at = self.limit = None
            _due.clear()


WAITS, MEMORY = Waits(), Memory()


class _Storage:
    """The bytes of one storage, given back when its last tensor is gone."""

    def __init__(self, size: int) -> None:
        MEMORY.take(size)
        self.size = size

    def __deepcopy__(self, memo: dict) -> "_Storage":
        """A copied tensor has bytes of its own, which it gives back in turn."""
        return _Storage(self.size)

    def __del__(self) -> None:
        if hasattr(self, "size") and MEMORY is not None:  # None when the interpreter ends
            MEMORY.give(self.size)


_storages: "weakref.WeakValueDictionary[int, _Storage]" = weakref.WeakValueDictionary()


class PretendTensor(Tensor):
    """Reports `pretend:0`; `inner` is the CPU tensor with its numbers."""

    inner: Tensor
    storage_: _Storage

    @staticmethod
    def __new__(cls, inner: Tensor) -> "PretendTensor":
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner
        storage = inner.untyped_storage()
        known = _storages.get(storage.data_ptr()) if storage.nbytes() else None
        if known is None:
            known = _Storage(storage.nbytes())
            if storage.nbytes():
                _storages[storage.data_ptr()] = known
        self.storage_ = known

    def __repr__(self, **_: Any) -> str:
        return f"PretendTensor({self.inner})"

    def tolist(self) -> Any:
        return self.cpu().tolist()  # torch's own refuses a subclass

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return dispatched(function, args, kwargs or {})


def dispatched(function: Any, args: tuple, kwargs: dict) -> Any:
    """Check one operation with a tensor of the device, compute it on the CPU, and wrap what it returns."""
    # A backward pass in this thread, as on a CPU: a thread of its own would add gradients in another order, with other bits.
    torch._C._set_multithreading_enabled(False)
    facts = _facts(function)
    _check(facts, args, kwargs)
    inner, leaves = {key: _inner(value) for key, value in kwargs.items()}, False
    if kwargs.get("device") is not None:
        inner["device"], leaves = torch.device("cpu"), _is_cpu(kwargs["device"])
    found = function(*map(_inner, args), **inner)
    if not facts.changed:
        return found if leaves else _wrapped(found)
    if facts.views_in_place:  # the wrapper's own shape changes too
        with no_dispatch():
            function(*args, **kwargs)
    changed = [kwargs[name] if name in kwargs else args[place] for place, name in facts.changed]
    for tensor in _tensors(changed):
        if isinstance(tensor, PretendTensor) and tensor.shape != tensor.inner.shape:
            raise NotImplementedError(f"{facts.name} changes a shape in place, which the pretend device cannot")
    return None if not facts.returns else changed[0] if facts.returns == 1 else tuple(changed[: facts.returns])


@dataclass(frozen=True)
class _Facts:
    """What an operation's schema and tags say. `changed`: (place, name) of the arguments that it writes to."""

    name: str
    names: tuple[str, ...]
    changed: tuple[tuple[int, str], ...]
    returns: int
    pointwise: bool
    draws: bool
    waits: bool
    views_in_place: bool


@cache
def _facts(function: Any) -> _Facts:
    schema, tags, tag = function._schema, set(function.tags), torch.Tag
    name = schema.name.removeprefix("aten::")
    written = [one.alias_info is not None and one.alias_info.is_write for one in schema.arguments]
    return _Facts(
        name,
        tuple(one.name for one in schema.arguments),
        tuple((place, one.name) for place, one in enumerate(schema.arguments) if written[place]),
        len(schema.returns),
        pointwise=tag.pointwise in tags,
        draws=tag.nondeterministic_seeded in tags and "dropout" not in name,
        waits=bool({tag.data_dependent_output, tag.dynamic_output_shape} & tags) or name in CHECKED,
        views_in_place=tag.inplace_view in tags,
    )


def _inner(value: Any) -> Any:
    if isinstance(value, PretendTensor):
        return value.inner
    return type(value)(map(_inner, value)) if type(value) in (list, tuple) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, Tensor):
        return PretendTensor(value)
    return type(value)(map(_wrapped, value)) if type(value) in (list, tuple) else value


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif type(value) in (list, tuple):
            yield from _tensors(value)


def _is_cpu(device: Any) -> bool:
    return torch.device(device).type != NAME


def _check(facts: _Facts, args: tuple, kwargs: dict) -> None:
    of_cpu = [one for one in _tensors((args, tuple(kwargs.values()))) if not isinstance(one, PretendTensor)]
    if facts.name in COPIES:
        if of_cpu or (kwargs.get("device") is not None and _is_cpu(kwargs["device"])):
            WAITS.add(facts.name)
        return
    if facts.draws:
        _fail(MixUp(f"{facts.name} draws random numbers on the device, which no seed makes equal to those of the CPU"))
    if facts.name in INDEXED:
        _check_indices(facts.name, dict(zip(facts.names, args, strict=False)) | kwargs)
        return
    if any(one.ndim for one in of_cpu) or (of_cpu and not facts.pointwise):
        where = ", ".join(f"{tuple(one.shape)} on {one.device}" for one in _tensors((args, tuple(kwargs.values()))))
        _fail(MixUp(f"{facts.name} mixes devices: {where}"))
    if facts.waits or (of_cpu and facts.name == "where"):  # which copies its scalars to the device
        WAITS.add(facts.name)


def _check_indices(name: str, given: dict[str, Any]) -> None:
    """CPU indices are copied to the device; masks are counted first, unless one value fills them."""
    own, values = given["self"], given.get("values")
    indices = [one for one in given["indices"] if one is not None]
    if not isinstance(own, PretendTensor):
        _fail(MixUp(f"{name} indexes a tensor on the CPU by one on the device, or fills it with one"))
    if isinstance(values, Tensor) and not isinstance(values, PretendTensor):
        if values.ndim:
            _fail(MixUp(f"{name} puts values of the CPU into a tensor on the device"))
        WAITS.add(name)
    if any(not isinstance(one, PretendTensor) for one in indices):
        WAITS.add(name)
    masked = any(one.dtype in (torch.bool, torch.uint8) for one in indices)
    if masked and not (values is not None and values.numel() == 1 and not given.get("accumulate", False)):
        WAITS.add(name)


@cache
def install() -> None:
    """Make `pretend:0` known to torch, once and for good in this process."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    library = torch.library.Library("aten", "IMPL")
    _kept.append(library)

    def factory(function: Any) -> Any:
        return lambda *args, device=None, pin_memory=None, **kwargs: PretendTensor(function(*args, **kwargs))

    for name in FACTORIES:
        packet, _, overload = name.partition(".")
        library.impl(name, factory(getattr(getattr(torch.ops.aten, packet), overload or "default")), "PrivateUse1")

    def copy_from(own: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:  # as `torch.tensor` copies a list
        WAITS.add("_copy_from")
        _inner(target).copy_(_inner(own))
        return target

    library.impl("_copy_from", copy_from, "PrivateUse1")
    passed = torch.autograd._engine_run_backward

    def backward(*args: Any, **kwargs: Any) -> Any:
        found = passed(*args, **kwargs)
        if _due:
            _fail(_due.pop())
        return found

    torch.autograd._engine_run_backward = backward


_kept: list[torch.library.Library] = []


class _Module(_DummyBackendModule):
    """What `torch.cuda` offers, for `torch.get_device_module`."""

    TOTAL = 2**34  # bytes

    def is_available(self) -> bool:
        """Not by itself: libraries that ask for any accelerator must not choose it, in whatever test they are used."""
        return False

    def mem_get_info(self, device: object = None) -> tuple[int, int]:
        total = MEMORY.limit or self.TOTAL
        return total - MEMORY.live, total

    def max_memory_allocated(self, device: object = None) -> int:
        return MEMORY.peak

    def reset_peak_memory_stats(self, device: object = None) -> None:
        MEMORY.peak = MEMORY.live

    def empty_cache(self) -> None:
        pass

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.empty(0)  # nothing is drawn on the device

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        pass

    def synchronize(self, device: object = None) -> None:
        WAITS.add("synchronize")
