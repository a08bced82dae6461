"""A task's samples and labels, prepared by the model's transform.

Selects the columns and splits that the zoo file names. `fda.tasks.loading` reads whole splits, `fda.tasks.pixels` converts
images, `fda.tasks.rows` detects bad rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor

from fda.architectures.transforms import Batch, Transform
from fda.errors import UserError
from fda.tasks.label_column import label_gap, label_numbers
from fda.tasks.labels import head_classes, head_numbers, head_size, labels_note, named
from fda.tasks.loading import load_whole
from fda.tasks.pixels import Pixels
from fda.tasks.rows import BadRow, original_row, read_rows, require_few, row_name, unreadable
from fda.tasks.slices import sliced
from fda.zoos.zoo import TaskData, ZooTask

PIXELS = "by range"  # how images become RGB; part of the fingerprint, so that answers to clipped images are not reused
CACHE_BYTES = 2**30  # prepared samples of one split stay in memory up to this size
WHOLE = 256  # samples; a multiple of every span and batch, so that pieces end between batches
SPAN = {"image": 256, "text": 64}  # samples between two saves of answers; multiples of every batch


@dataclass
class Split:
    """One split of a task. `batches` may be called repeatedly; the samples of a small split are prepared only once.

    `input`: one column, or two columns of texts. `label`: None for a task without labels. `classes`: the head's classes by
    number, if they have names; `size`: the number of the head's classes, if known. `where`: task and split, for messages.
    `skipped`: a sentence on rows that were left out. `prompt`: the text around each sample that the model reads, `{}` in its
    place.
    """

    dataset: datasets.Dataset
    input: str | tuple[str, ...]
    label: str | None
    transform: Transform
    classes: tuple[str, ...] | None = None
    size: int | None = None
    where: str = "the data"
    skipped: str | None = None
    prompt: str | None = None
    pixels: Pixels | None = field(default=None, repr=False)  # of the whole split, also in a part of it
    _prepared: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._inputs = self.dataset.select_columns(list(self.columns))
        if self.pixels is None:
            self.pixels = Pixels(self.dataset.features[self.columns[0]], self._all_inputs)

    def __len__(self) -> int:
        return len(self.dataset)

    def part(self, indices: Sequence[int]) -> "Split":
        """Some of its samples, prepared exactly as in the whole split."""
        return replace(self, dataset=self.dataset.select(indices), _prepared={})

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input

    @property
    def fingerprint(self) -> str:
        """Changes when the files change, or when this program prepares them differently."""
        prompt = "" if self.prompt is None else f" {self.prompt!r}"
        return f"{self.dataset._fingerprint} {self.input} {PIXELS}{prompt}"

    @cached_property
    def bytes(self) -> int:
        """The approximate size of all prepared samples, from the first one."""
        return self._prepare(0, self.samples([0])[0]).nbytes * len(self)

    def pieces(self, limit: int) -> Iterator["Split"]:
        """The split if its prepared samples fit into `limit` bytes; else parts that fit, in order, of whole batches.

        A part prepares its samples when they are first read.
        """
        if self.bytes <= limit:
            yield self
            return
        size = max(1, limit * len(self) // self.bytes // WHOLE) * WHOLE
        for start in range(0, len(self), size):
            yield self.part(range(start, min(start + size, len(self))))

    def spans(self) -> Iterator[range]:
        """All indices in order, a few batches at a time."""
        size = SPAN[self.transform.kind]
        for start in range(0, len(self), size):
            yield range(start, min(start + size, len(self)))

    def batches(self, size: int = 256, indices: range | None = None) -> Iterator[tuple[Batch, Tensor]]:
        """(inputs, labels (b,)) in the data's order, of the samples `indices` (a range of step 1), None: all."""
        labels, indices = self.labels(), range(len(self)) if indices is None else indices
        for start in range(indices.start, indices.stop, size):
            stop = min(start + size, indices.stop)
            yield self.at(range(start, stop)), labels[start:stop]

    def labels(self) -> Tensor:
        """(n,): the head's class numbers, int64, or numbers, float32; zeros without a label column. UserError for other values.

        If the data and the head name their classes, a label is the head's class of the same name.
        """
        return self._labels

    @cached_property
    def _labels(self) -> Tensor:
        if self.label is None:
            return torch.zeros(len(self), dtype=torch.int64)
        values = list(self.dataset[self.label][:])
        for index, value in enumerate(values):
            if (reason := label_gap(value)) is not None:
                raise self._refused(BadRow(index, f"it {reason} in the column {self.label!r}"))
        if any(isinstance(value, int) and value < 0 for value in values):
            raise UserError(
                f"{self.where}: the column {self.label!r} hides its labels (-1): name a split whose labels are public."
            )
        try:
            numbers, by_name = label_numbers(values, self.label, self.classes, _Rows(self.dataset))
        except UserError as error:
            raise UserError(f"{self.where}: {error}") from None
        if not isinstance(numbers[0], int):
            return torch.tensor(numbers, dtype=torch.float32)
        mapping = None if by_name else head_numbers(self.names, self.classes)
        if mapping is None:
            return torch.tensor(numbers)
        classes = [int(number) for number in numbers]
        if max(classes) >= len(mapping):
            raise UserError(
                f"{self.where}: the column {self.label!r} has a class {max(classes)}, but names only {len(mapping)}: "
                "correct it."
            )
        return torch.tensor([mapping[number] for number in classes])

    @property
    def names(self) -> tuple[str, ...] | None:
        """The classes of the label column by number; None if the data do not name them."""
        feature = None if self.label is None else self.dataset.features[self.label]
        return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes by number in the head: the head's own if they are words, else those of the data, or None."""
        return self.classes if named(self.classes) else self.names

    @property
    def note(self) -> str | None:
        """A sentence on how labels map to the head's classes, if a user should know it; else None. UserError as `labels`."""
        return None if self.label is None else labels_note(self.names, self.classes, self.size)

    def texts(self, column: str, indices: range) -> list[str]:
        """The values of a column as texts: the right answers for exact match. UserError for an empty value."""
        values = self.dataset[indices.start : indices.stop][column]
        for index, value in zip(indices, values, strict=True):
            if label_gap(value) is not None:
                raise self._refused(BadRow(index, f"the column {column!r} is empty"))
        return [str(value) for value in values]

    def images(self, count: int) -> Batch:
        """The prepared samples at `spread(count)`, images or texts."""
        return self.at(self.spread(count))

    def spread(self, count: int) -> list[int]:
        """The indices of at most `count` samples, spaced evenly over the split so that all classes appear."""
        return torch.linspace(0, len(self) - 1, min(count, len(self))).round().long().tolist()

    def samples(self, indices: Sequence[int]) -> list[Any]:
        """The samples before the transform: RGB images, texts, or pairs of texts.

        UserError for a row that cannot be read, or for a column of a type that the model does not take.
        """
        rows = self.raw(indices)
        if self.transform.kind == "text":
            for row in rows:
                for column, value in zip(self.columns, row, strict=True):
                    if not isinstance(value, str):
                        raise self._wrong_kind(column, value)
            return [row[0] if len(row) == 1 else row for row in rows]
        return [self._rgb(index, value) for index, (value, *_) in zip(indices, rows, strict=True)]

    def raw(self, indices: Sequence[int]) -> list[tuple[Any, ...]]:
        """The inputs as stored, images decoded. UserError for a row that is empty or cannot be read."""
        try:
            return read_rows(self._inputs, list(indices))
        except BadRow as bad:
            raise self._refused(bad) from None

    def _rgb(self, index: int, value: Any) -> Any:
        assert self.pixels is not None, "`__post_init__` fills it"
        try:
            return self.pixels.rgb(value)
        except TypeError:
            raise self._wrong_kind(self.columns[0], value) from None
        except ValueError as error:  # a mode that PIL cannot convert
            raise self._refused(BadRow(index, f"the image cannot be converted to RGB, {error}")) from None
        except UserError as error:
            message = str(error)
            raise UserError(message if message.startswith(self.where) else f"{self.where}: {message}") from None

    def _all_inputs(self) -> Iterator[Any]:
        for span in self.spans():
            for value, *_ in self.raw(span):
                yield value

    def _wrong_kind(self, column: str, value: Any) -> UserError:
        return UserError(
            f"{self.where}: the column {column!r} holds {type(value).__name__}, but the model takes "
            f"{self.transform.kind}s: correct `data.input` in the zoo file."
        )

    def _refused(self, bad: BadRow) -> UserError:
        return UserError(
            f"{self.where}, {row_name(self._inputs, bad.index)}: {bad.reason}: mend the row, or leave such rows out with "
            "`bad_rows: skip` in the zoo file (up to 1 % of a split)."
        )

    def at(self, indices: Sequence[int]) -> Batch:
        """The samples at these indices, prepared, as one batch; the samples of a small split are prepared only once."""
        missing = [index for index in indices if index not in self._prepared]
        samples = self.samples(missing) if missing else []
        fresh = {index: self._prepare(index, sample) for index, sample in zip(missing, samples, strict=True)}
        if fresh and next(iter(fresh.values())).nbytes * len(self) <= CACHE_BYTES:
            self._prepared.update(fresh)
        return self.transform.batch([fresh[index] if index in fresh else self._prepared[index] for index in indices])

    def _prepare(self, index: int, sample: Any) -> Tensor:
        try:
            return self.transform(sample if self.prompt is None else self.prompt.replace("{}", sample))
        except UserError:
            raise
        except (ValueError, TypeError, ArithmeticError, IndexError) as error:  # a processor rejects the sample
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{self.where}, {row_name(self._inputs, index)}: the sample cannot be prepared ({reason}): mend or remove it."
            ) from None


class _Rows(Sequence[int]):
    """Index in a selection of a data set → row of the whole."""

    def __init__(self, dataset: datasets.Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> int:
        return original_row(self.dataset, index)


def load_split(task: ZooTask, split: str | None, transform: Transform) -> Split:
    """Load one split of a task. UserError if there is no data, no such split, or no such column.

    `bad_rows: skip` leaves bad rows out; UserError if they are more than 1 %.
    """
    if task.data is None or split is None:
        raise UserError(f"task {task.name!r} names no data for this: add `data` with its split to the zoo file.")
    data = task.data
    loaded = sliced(split, data.seed, lambda name: load_whole(task, data, name))
    if len(loaded) == 0:
        raise UserError(f"task {task.name!r}: the split {split!r} of {data.path} is empty: name another.")
    needed = {"input": data.columns}
    if data.metric != "perplexity" and (data.label in loaded.column_names or "label" in data.model_fields_set):
        needed["label"] = (data.label,)
    for role, columns in needed.items():
        for column in columns:
            if column not in loaded.column_names:
                raise UserError(
                    f"task {task.name!r}: {data.path} has no column {column!r} (`data.{role}`): "
                    f"it has {', '.join(loaded.column_names)}."
                )
    if data.samples is not None and data.samples < len(loaded):
        chosen = np.random.default_rng(data.seed).permutation(len(loaded))[: data.samples]
        loaded = loaded.select(sorted(chosen.tolist()))
    label = data.label if "label" in needed else None
    joined = " (rows counted through its parts)" if "+" in split else ""
    where, skipped = f"task {task.name!r}, split {split!r}{joined}", None
    if data.bad_rows == "skip":
        bad = _bad_rows(loaded, data, label)
        skipped = require_few(loaded, bad, where)
        loaded = loaded.select([index for index in range(len(loaded)) if index not in bad]) if bad else loaded
    size = head_size(task) if data.metric in ("auto", "accuracy", "matthews") else None
    return Split(loaded, data.input, label, transform, head_classes(task), size, where, skipped, data.prompt)


def _bad_rows(loaded: datasets.Dataset, data: TaskData, label: str | None) -> dict[int, str]:
    bad = unreadable(loaded.select_columns(list(data.columns)))
    for index, value in enumerate([] if label is None else loaded[label][:]):
        if (reason := label_gap(value)) is not None:
            bad.setdefault(index, f"it {reason} in the column {label!r}")
    return bad
