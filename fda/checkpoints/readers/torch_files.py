"""Read checkpoints of torch.save or pickle.dump (.pt, .pth, .bin) lazily, without running anything in them.

Three containers: a zip archive with one pickle and one member per storage (torch ≥ 1.6); the older stream of pickles followed
by the storages; and a plain pickle with such streams inside. The pickle has names, shapes and offsets; a tensor's bytes are
read on access. `fda.checkpoints.readers.modules` decides which tensors a checkpoint consists of.
"""

import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fda.checkpoints.readers.budget import Budget, Exceeded, budget_of
from fda.checkpoints.readers.modules import tensors_in
from fda.checkpoints.readers.pickles import Damaged, Name, Rebuild, Refused, read_pickle
from fda.checkpoints.readers.rebuild import (
    REBUILD,
    TORCH_DTYPES,
    NumpyArray,
    Storage,
    StoredTensor,
    rebuild_within,
    storage_of,
)
from fda.checkpoints.readers.signs import kind_of, refuse_what_is_no_checkpoint
from fda.checkpoints.readers.spans import Cursor, Span
from fda.checkpoints.weights import TensorInfo, Weights, file_fingerprint
from fda.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LONGEST_PICKLE = 1 << 29  # bytes, in a zip archive: enough for names and shapes of millions of tensors
# All tensors together may be this many times as large as the file, because tied weights and shared layers are stored once.
_TIMES_THE_FILE, _AT_LEAST = 16, 64 * 2**20


class PickledCheckpoint(Weights):
    """The state dict in a pickled file; `root` is the pickled object as data."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def root(self) -> Any:
        """The pickled object: plain data, `Held` and `StoredTensor`. UserError if the file asks for more than data."""
        return read_root(self.path)

    @cached_property
    def _tensors(self) -> dict[str, StoredTensor | NumpyArray]:
        tensors = tensors_in(self.root, self.path)
        for name, tensor in tensors.items():
            problem = tensor.problem()
            if problem:
                raise UserError(
                    f"{self.path}: tensor {name} {problem}: the file is damaged, copy or download it again."
                )
        total = sum(tensor.bytes_read for tensor in tensors.values())
        if total > _TIMES_THE_FILE * self.bytes + _AT_LEAST:
            raise UserError(
                f"{self.path}: its {len(tensors):,} tensors are {total:,} bytes, which overlap in a file of {self.bytes:,}: no "
                "checkpoint shares so much, do not trust this file."
            )
        return dict(sorted(tensors.items()))

    @cached_property
    def header(self) -> dict[str, TensorInfo]:
        return {name: tensor.info for name, tensor in self._tensors.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes."""
        return file_fingerprint(self.path)

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def __getitem__(self, name: str) -> "Tensor":
        tensor = self._tensors[name]
        try:
            return tensor.read()
        except (OSError, ValueError) as problem:
            raise UserError(
                f"{self.path} changed while it was read ({problem}): start again with a whole file."
            ) from None


def read_root(path: Path) -> Any:
    """Return the object in a pickled file, as data. UserError for anything that is wrong with the file."""
    refuse_what_is_no_checkpoint(path)
    try:
        if kind_of(path) == "zip":
            return _read_zip(path)
        size = path.stat().st_size
        budget = budget_of(size)
        return read_legacy(Cursor(Span(path, 0, size)), rebuild_within(budget), budget)
    except Exceeded as problem:
        raise UserError(
            f"{path} {problem}, and was not opened: do not trust it, or ask its authors for a safetensors file."
        ) from None
    except Refused as problem:
        raise UserError(
            f"{path} {problem}, so it is more than weights and was not opened: "
            "ask its authors for a safetensors file, and do not load this one with other programs."
        ) from None
    except (Damaged, zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as problem:
        raise UserError(f"{path} is not a whole PyTorch checkpoint ({problem}): copy or download it again.") from None


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Damaged("it is a zip archive without one data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if folder + "constants.pkl" in members:
            raise UserError(
                f"{path} is a TorchScript archive, a program with its weights, as OpenAI publishes CLIP: if you trust it, "
                f"write plain weights with `torch.save(torch.jit.load({path.name!r}, map_location='cpu').state_dict(), "
                "'weights.pt')` and give that file."
            )
        order = members.get(folder + "byteorder")
        if order is not None and (order.file_size > 16 or archive.read(order) != b"little"):
            raise Refused("was written by a machine of the other byte order")
    text = _pickle_of(path, members[pickles[0]])
    budget = budget_of(len(text))
    storages: dict[str, Storage] = {}

    def persistent(value: Any) -> Storage:
        storage = storage_of(value)
        known = storages.get(storage.key)
        if known is not None and known.dtype == storage.dtype:
            return known
        if known is not None:  # the same bytes as another dtype, which torch.save allows
            storage.data = known.data
            return storage
        if f"{folder}data/{storage.key}" not in members:
            raise Damaged(f"member data/{storage.key} is missing")
        storage.data = _member(path, members[f"{folder}data/{storage.key}"])
        storages[storage.key] = storage
        return storage

    return read_pickle(Cursor(Span(text, 0, len(text))), rebuild_within(budget), persistent, budget)


def _pickle_of(path: Path, info: zipfile.ZipInfo) -> bytes:
    """The bytes of data.pkl. It must be stored uncompressed: otherwise a kilobyte could become a megabyte."""
    if info.file_size > _LONGEST_PICKLE:
        raise Damaged("its data.pkl is too long")
    text = _member(path, info).read()
    if zlib.crc32(text) != info.CRC:
        raise Damaged("its data.pkl has another checksum than the archive says")
    return text


def _member(path: Path, info: zipfile.ZipInfo) -> Span:
    """The span of a member's bytes in the archive. `Refused` if they are compressed or encrypted."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise Refused("is compressed or encrypted, which torch.save never does")
    header = Span(path, info.header_offset, 30).read()
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Damaged(f"member {info.filename} is not where it should be")
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = info.header_offset + 30 + names
    if start + info.file_size > path.stat().st_size:
        raise Damaged(f"member {info.filename} is cut off")
    return Span(path, start, info.file_size)


def read_legacy(cursor: Cursor, rebuild: Rebuild = REBUILD, budget: Budget | None = None) -> Any:
    """Return the object in an old torch file (magic number, version, machine, object, storage keys, storages) or plain pickle.

    All its pickles spend from one `budget`, by default that of the rest of the stream.
    """
    budget = budget or budget_of(cursor.left)
    storages: dict[str, Storage] = {}

    def persistent(value: Any) -> Any:
        if isinstance(value, tuple) and len(value) > 1 and value[0] == "module" and isinstance(value[1], Name):
            return value[1]  # a module's class; the source text beside it is ignored
        storage = storage_of(value)
        return storages.setdefault(storage.key, storage)

    root = read_pickle(cursor, rebuild, persistent, budget)
    if root != _LEGACY_MAGIC:
        return root
    version, machine = (read_pickle(cursor, rebuild, None, budget) for _ in range(2))
    if version != 1001 or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("was written by an unknown version of torch or another kind of machine")
    root = read_pickle(cursor, rebuild, persistent, budget)
    keys = read_pickle(cursor, rebuild, None, budget)
    for key in keys if isinstance(keys, list) else ():
        size, storage = cursor.read(8), storages.get(key) if isinstance(key, str) else None
        count = int.from_bytes(size, "little")
        if len(size) < 8 or storage is None or count != storage.count:
            raise Damaged("its storages are not those of its tensors")
        try:
            storage.data = cursor.skip(count * (1 if storage.dtype is None else TORCH_DTYPES[storage.dtype].itemsize))
        except ValueError as problem:
            raise Damaged(str(problem)) from None
    if any(storage.data is None for storage in storages.values()):
        raise Damaged("a storage is missing")
    return root
