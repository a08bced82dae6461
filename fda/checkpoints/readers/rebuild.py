"""What the names in a checkpoint's pickle mean: torch storages and tensors, numpy arrays, and plain containers. Nothing else.

`REBUILD` maps each name to a function of ours with the same signature; the named function itself is never called. Tensors are
only described: `StoredTensor.read` reads exactly the bytes of one tensor.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fda.checkpoints.readers.budget import Budget
from fda.checkpoints.readers.pickles import Damaged, Held, Name, Refused, Shell, described, keys
from fda.checkpoints.readers.spans import Cursor, Span
from fda.checkpoints.weights import TensorInfo
from fda.checkpoints.write import DTYPE_NAMES

TORCH_DTYPES = {code: dtype for dtype, code in DTYPE_NAMES.items()}
_DTYPE_OF_STORAGE = {
    "BoolStorage": "BOOL",
    "ByteStorage": "U8",
    "CharStorage": "I8",
    "ShortStorage": "I16",
    "IntStorage": "I32",
    "LongStorage": "I64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
}
_DIMENSIONS, _LARGEST = 64, 2**63 - 1  # of a shape
_DTYPE_OF_NAME = {Name("torch", str(dtype).removeprefix("torch.")): code for dtype, code in DTYPE_NAMES.items()}


@dataclass(eq=False)
class Storage:
    """A torch storage: `count` elements of a dtype (None: bytes; the tensor has the dtype). The container sets `data`."""

    key: str
    dtype: str | None
    count: int
    data: Span | None = None


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor as a view of a storage; offset and strides count elements. `read` reads it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.shape, self.dtype)

    def problem(self) -> str | None:
        """What is wrong with the description, as a predicate, or None."""
        if len(self.shape) != len(self.stride) or not all(map(_are_sizes, ((self.offset,), self.shape, self.stride))):
            return "has a shape, stride or offset that no tensor has"
        available = 0 if self.storage.data is None else self.storage.data.length // TORCH_DTYPES[self.dtype].itemsize
        if self.offset + self._extent > available or self.info.count > available:
            return f"has shape {list(self.shape)}, but its storage holds {available} elements"
        return None

    def read(self) -> Tensor:
        """Read the tensor: contiguous, on the CPU. ValueError if the file has become shorter since it was opened."""
        dtype = TORCH_DTYPES[self.dtype]
        if not self.info.count:
            return torch.empty(self.shape, dtype=dtype)
        if self.storage.data is None:
            raise ValueError("the tensor's storage is missing")
        length = self._extent * dtype.itemsize
        data = bytearray(self.storage.data.read(self.offset * dtype.itemsize, length))
        if len(data) != length:
            raise ValueError(f"{length} bytes of a tensor were expected, {len(data)} are there")
        return torch.frombuffer(data, dtype=dtype).as_strided(self.shape, self.stride).contiguous()

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file `read` reads."""
        return self._extent * TORCH_DTYPES[self.dtype].itemsize

    @property
    def _extent(self) -> int:
        """Number of storage elements from the tensor's first to its last."""
        if not self.info.count:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


class NumpyType(Shell):
    """A numpy dtype of numbers ("f4", "i8"), or "O": an array of objects."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?([biufc]\d{1,2}|O\d?)", code):
            raise Refused(f"holds a numpy array of {described(code)}")
        self.code, self.order = code.lstrip("<>=|"), "="

    def fill(self, state: Any) -> None:
        if state[1] in ("<", ">", "=", "|"):
            self.order = "=" if state[1] == "|" else state[1]

    @property
    def objects(self) -> bool:
        return self.code.startswith("O")

    def dtype(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class NumpyArray(Shell):
    """A numpy array: `read` reads its numbers; an array of objects has them in `objects`."""

    def __init__(self, of: Any, *_: Any) -> None:
        if of != Name("numpy", "ndarray"):
            raise Refused(f"makes a numpy array of the class {described(of)}")
        self.type, self.shape, self.fortran = NumpyType("f4"), (0,), False
        self.data: Span | bytes | None = None
        self.objects: list[Any] | None = None

    def fill(self, state: Any) -> None:
        _, self.shape, self.type, self.fortran, raw = state
        if not isinstance(self.type, NumpyType) or not _are_sizes(self.shape):
            raise Damaged("a numpy array has no dtype or no shape")
        count = math.prod(self.shape)
        if self.type.objects:
            if not isinstance(raw, list) or len(raw) != count:
                raise Damaged("a numpy array of objects holds no objects")
            self.objects = raw
            return
        length = raw.length if isinstance(raw, Span) else len(raw)
        if not isinstance(raw, bytes | Span) or length != count * self.type.dtype().itemsize:
            raise Damaged(f"a numpy array of shape {list(self.shape)} holds {length} bytes")
        self.data = raw

    @property
    def info(self) -> TensorInfo:
        dtype = self.type.dtype().newbyteorder("=")
        return TensorInfo(tuple(self.shape), _dtype_code(dtype) or str(dtype))

    def problem(self) -> str | None:
        if self.data is None:
            return "is a numpy array without numbers"
        return None if self.info.dtype in TORCH_DTYPES else f"is a numpy array of {self.info.dtype}"

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file `read` reads."""
        return 0 if self.data is None else self.data.length if isinstance(self.data, Span) else len(self.data)

    def read(self) -> Tensor:
        """Read the array as a tensor. ValueError if it has no numbers."""
        if self.data is None:
            raise ValueError("the array has no numbers")
        data = self.data.read() if isinstance(self.data, Span) else self.data
        array = np.frombuffer(bytearray(data), self.type.dtype())
        array = array.reshape(self.shape, order="F" if self.fortran else "C")
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _are_sizes(values: Any) -> bool:
    """Whether the values can be a shape or strides."""
    return len(values) <= _DIMENSIONS and all(type(value) is int and 0 <= value <= _LARGEST for value in values)


def _dtype_code(dtype: np.dtype) -> str | None:
    """The safetensors code of a numpy dtype; None for a dtype that torch does not have."""
    try:
        return DTYPE_NAMES.get(torch.from_numpy(np.empty(0, dtype)).dtype)
    except TypeError:
        return None


def _scalar(of: Any, data: Any = b"") -> Any:
    """A numpy number, as a Python number."""
    if not isinstance(of, NumpyType) or of.objects or not isinstance(data, bytes):
        raise Refused("holds a numpy scalar that is no number")
    return np.frombuffer(data, of.dtype(), count=1)[0].item()


def _latin1(text: Any, encoding: Any) -> bytes:
    """`_codecs.encode(text, "latin1")`: how protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("encodes something that is not bytes")
    return text.encode("latin-1")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)"""
    if not isinstance(storage, Storage) or storage.dtype is None:
        raise Damaged("a tensor has no typed storage")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride), storage.dtype)


def _tensor_of_dtype(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Any:
    """torch._utils._rebuild_tensor_v3, for dtypes without a storage class"""
    if not isinstance(storage, Storage) or not isinstance(dtype, Name) or dtype not in _DTYPE_OF_NAME:
        raise Refused(f"holds a tensor of {described(dtype)}")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride), _DTYPE_OF_NAME[dtype])


def _parameter(data: Any, *_: Any) -> Any:
    """torch._utils._rebuild_parameter(data, requires_grad, hooks): the tensor itself."""
    if not isinstance(data, StoredTensor):
        raise Damaged("a parameter is no tensor")
    return data


def _tensor_of_type(function: Any, of: Any, args: Any, *_: Any) -> Any:
    """torch._tensor._rebuild_from_type_v2(function, type, args, state): a tensor with attributes, which are dropped."""
    if not isinstance(function, Name) or function not in _TENSORS or not isinstance(args, tuple):
        raise Refused(f"asks to run {described(function)}")
    return _TENSORS[function](*args)


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    pairs = list(pairs)
    return dict(zip(keys(key for key, _ in pairs), (value for _, value in pairs), strict=True))


def _set(elements: Any = ()) -> set[Any]:
    return set(keys(elements))


def _frozen_set(elements: Any = ()) -> frozenset[Any]:
    return frozenset(keys(elements))


def _default(*_: Any) -> dict[Any, Any]:
    return {}


def _held(name: Name) -> Callable[..., Held]:
    return lambda *args: Held(name, args)


def storage_type(of: Any) -> str | None:
    """Return the dtype of a storage class, None for an untyped one. `Refused` for any other name."""
    if isinstance(of, Name) and of.module in ("torch", "torch.cuda", "torch.storage"):
        if of.name in _DTYPE_OF_STORAGE:
            return _DTYPE_OF_STORAGE[of.name]
        if of.name == "UntypedStorage":
            return None
    raise Refused(f"stores numbers as {described(of)}")


def storage_of(value: Any) -> Storage:
    """Return the storage that a persistent id describes: ("storage", class, key, device, count …)."""
    if not isinstance(value, tuple) or len(value) < 5 or value[0] != "storage":
        raise Refused("refers to something that is no tensor's storage")
    if not isinstance(value[2], str) or type(value[4]) is not int or value[4] < 0:
        raise Damaged("a storage has no key or no size")
    if len(value) > 5 and value[5] is not None:
        raise Refused("holds views of storages, as only very old versions of torch wrote them")
    return Storage(value[2], storage_type(value[1]), value[4])


def _from_bytes(data: Any, budget: Budget | None = None) -> Storage:
    """torch.storage._load_from_bytes: a storage pickled without torch.save, as a legacy torch file within the pickle.

    Such files may not be nested, since reading the inner one twice at each level would take exponential time. All spend from
    one `budget`.
    """
    from fda.checkpoints.readers.torch_files import read_legacy  # that module imports this one

    if not isinstance(data, bytes | Span):
        raise Damaged("a storage is no bytes")
    span = data if isinstance(data, Span) else Span(data, 0, len(data))
    root = read_legacy(Cursor(span), _WITHIN, budget)
    if not isinstance(root, Storage):
        raise Damaged("a storage's bytes hold something else")
    return root


def rebuild_within(budget: Budget) -> dict[Name, Callable[..., Any]]:
    """Return `REBUILD` with files within the pickle spending from this budget."""
    return REBUILD | {Name("torch.storage", "_load_from_bytes"): lambda data: _from_bytes(data, budget)}


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
# Calls that are recorded and not carried out: settings of models and image transforms, which nothing reads.
_KEPT = (
    Name("functools", "partial"),
    Name("torch", "device"),
    Name("torchvision.transforms.functional", "InterpolationMode"),
    Name("torchvision.transforms.functional_tensor", "InterpolationMode"),
    Name("pathlib", "Path"),
    Name("pathlib", "PosixPath"),
    Name("pathlib", "WindowsPath"),
    Name("pathlib._local", "PosixPath"),
)
_TENSORS: dict[Name, Callable[..., Any]] = {
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
    Name("torch._utils", "_rebuild_parameter_with_state"): _parameter,
}
REBUILD: dict[Name, Callable[..., Any]] = {
    **_TENSORS,
    Name("torch._tensor", "_rebuild_from_type_v2"): _tensor_of_type,
    Name("torch.storage", "_load_from_bytes"): _from_bytes,
    Name("torch", "Size"): tuple,
    Name("collections", "OrderedDict"): _ordered,
    Name("collections", "defaultdict"): _default,
    Name("builtins", "set"): _set,
    Name("__builtin__", "set"): _set,
    Name("builtins", "frozenset"): _frozen_set,
    Name("__builtin__", "frozenset"): _frozen_set,
    Name("_codecs", "encode"): _latin1,
    Name("numpy", "dtype"): NumpyType,
    **{Name(module, "_reconstruct"): NumpyArray for module in _MULTIARRAY},
    **{Name(module, "scalar"): _scalar for module in _MULTIARRAY},
    **{name: _held(name) for name in _KEPT},
}
_WITHIN = {name: rebuild for name, rebuild in REBUILD.items() if rebuild is not _from_bytes}
