"""A task's samples and labels, loaded by `datasets` and prepared by the model's own transform.

Knows the columns and splits that the zoo names; knows nothing of models beyond the transform it is given.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor

from fda.architectures.transforms import Batch, Transform
from fda.errors import UserError
from fda.home import fda_home
from fda.tasks.labels import head_classes, labels_note, numbered, places
from fda.tasks.slices import sliced
from fda.zoos.zoo import TaskData, ZooTask

CACHE_BYTES = 2**30  # prepared samples of one split are kept in memory up to this size
WHOLE = 256  # samples: a multiple of every span and batch, so that pieces are cut between them
SPAN = {
    "image": 256,
    "text": 64,
}  # samples that are answered before anything is kept or told; a multiple of every batch
READERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".txt": "text"}
SAYS_NOTHING = "An error occurred while generating the dataset"
LONGEST = 300  # characters of another library's sentence


@dataclass
class Split:
    """One split of a task. `batches` may be called again and again; small splits are prepared only once.

    `input`: one column, or two columns of texts. `label`: None where the task has none. `classes`: the head's, by number, where
    they have names.
    """

    dataset: datasets.Dataset
    input: str | tuple[str, ...]
    label: str | None
    transform: Transform
    classes: tuple[str, ...] | None = None
    _prepared: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input

    @property
    def fingerprint(self) -> str:
        """Of the data itself: it changes when the files do."""
        return f"{self.dataset._fingerprint} {self.input}"

    @cached_property
    def bytes(self) -> int:
        """About how large all samples are once they are prepared, judged by the first of them."""
        return self.transform(self.samples([0])[0]).nbytes * len(self)

    def pieces(self, limit: int) -> Iterator["Split"]:
        """The split itself where it fits into `limit` bytes; else parts of it that do, in order, of whole batches.

        Each part is prepared once, when it is asked for its samples.
        """
        if self.bytes <= limit:
            yield self
            return
        size = max(1, limit * len(self) // self.bytes // WHOLE) * WHOLE
        for start in range(0, len(self), size):
            chosen = self.dataset.select(range(start, min(start + size, len(self))))
            yield Split(chosen, self.input, self.label, self.transform, self.classes)

    def spans(self) -> Iterator[range]:
        """All places, in order, a few batches at a time."""
        size = SPAN[self.transform.kind]
        for start in range(0, len(self), size):
            yield range(start, min(start + size, len(self)))

    def batches(self, size: int = 256, places: range | None = None) -> Iterator[tuple[Batch, Tensor]]:
        """(inputs, labels (b,)) in the data's order; `places`: of a part without gaps."""
        labels, places = self.labels(), range(len(self)) if places is None else places
        for start in range(places.start, places.stop, size):
            stop = min(start + size, places.stop)
            yield self.at(range(start, stop)), labels[start:stop]

    def labels(self) -> Tensor:
        """(n,): class numbers of the head int64, or numbers float32. Without a label column zeros. UserError for anything else.

        Where the data and the head name their classes, a label is the head's class of the same name.
        """
        return self._labels

    @cached_property
    def _labels(self) -> Tensor:
        if self.label is None:
            return torch.zeros(len(self), dtype=torch.int64)
        values = self.dataset[self.label][:]
        if values and isinstance(values[0], str):
            values = numbered(values, self.label, self.classes)
        if any(not isinstance(value, int | float) for value in values):
            raise UserError(f"the column {self.label!r} has labels that are no numbers: give a column without gaps.")
        if any(isinstance(value, int) and value < 0 for value in values):
            raise UserError(f"the column {self.label!r} hides its labels (-1): name a split whose labels are public.")
        if not isinstance(values[0], int):
            return torch.tensor(values, dtype=torch.float32)
        moved = places(self.names, self.classes)
        if moved is not None and max(values) >= len(moved):
            raise UserError(
                f"the column {self.label!r} has a class {max(values)}, but names only {len(moved)}: correct it."
            )
        return torch.tensor(values if moved is None else [moved[value] for value in values])

    @property
    def names(self) -> tuple[str, ...] | None:
        """The classes of the label column by their numbers there, where the data name them."""
        feature = None if self.label is None else self.dataset.features[self.label]
        return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None

    @property
    def note(self) -> str | None:
        """What a user should know of how labels were taken; None if there is nothing. UserError as `labels`."""
        return labels_note(self.names, self.classes)

    def texts(self, column: str, places: range) -> list[str]:
        """A column as texts: answers that are to be written out."""
        return [str(value) for value in self.dataset[places.start : places.stop][column]]

    def images(self, count: int) -> Batch:
        """The samples at `spread(count)`, images or texts."""
        return self.at(self.spread(count))

    def spread(self, count: int) -> list[int]:
        """The places of at most `count` samples, spaced evenly over the split so that all classes appear."""
        return torch.linspace(0, len(self) - 1, min(count, len(self))).round().long().tolist()

    def samples(self, places: Sequence[int]) -> list[Any]:
        """The samples themselves: images, texts, or pairs of texts. UserError if they are not what the model takes."""
        columns = self.dataset[list(places)]
        parts = [columns[name] for name in self.columns]
        wanted = str if self.transform.kind == "text" else object
        if parts[0] and (not all(isinstance(one[0], wanted) for one in parts) or self._is_no_image(parts[0][0])):
            raise UserError(
                f"the column {self.columns[0]!r} holds {type(parts[0][0]).__name__}, but the model takes "
                f"{self.transform.kind}s: correct `data.input` in the zoo file."
            )
        return list(parts[0]) if len(parts) == 1 else list(zip(*parts, strict=True))

    def at(self, places: Sequence[int]) -> Batch:
        """The samples at these places, prepared and put together; each prepared only once if the split is small."""
        missing = [place for place in places if place not in self._prepared]
        found = self.samples(missing) if missing else []
        fresh = {place: self.transform(sample) for place, sample in zip(missing, found, strict=True)}
        if fresh and next(iter(fresh.values())).nbytes * len(self) <= CACHE_BYTES:
            self._prepared.update(fresh)
        return self.transform.batch([fresh[place] if place in fresh else self._prepared[place] for place in places])

    def _is_no_image(self, value: Any) -> bool:
        return self.transform.kind == "image" and not hasattr(value, "convert")


def load_split(task: ZooTask, split: str | None, transform: Transform) -> Split:
    """Load one split of a task. UserError if there is no data, no such split, or no such column."""
    if task.data is None or split is None:
        raise UserError(f"task {task.name!r} names no data for this: add `data` with its split to the zoo file.")
    data = task.data
    loaded = sliced(split, data.seed, lambda name: _loaded(task, data, name))
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
    return Split(loaded, data.input, label, transform, head_classes(task))


def _loaded(task: ZooTask, data: TaskData, split: str) -> datasets.Dataset:
    datasets.disable_progress_bars()
    path, options = data.path, {"name": data.name}
    if Path(path).is_file():
        reader = READERS.get(Path(path).suffix.lower())
        if reader is None:
            raise UserError(f"task {task.name!r}: {path} is no table ({', '.join(READERS)}): give one, or a folder.")
        options = {"data_files": {split: path}}
        options |= {"sep": "\t"} if Path(path).suffix == ".tsv" else {}
        path = reader
    options["cache_dir"] = str(fda_home() / "cache" / "datasets")
    try:
        if Path(path).is_dir():
            refuse_other_files(task, Path(path), datasets.load_dataset_builder(path, **options).config.data_files)
        loaded = datasets.load_dataset(path, split=split, **options)
    except UserError:
        raise
    except Exception as error:  # `datasets` raises whatever its readers raise
        raise UserError(
            f"task {task.name!r}: the split {split!r} of {data.path} could not be loaded ({_reason(error)}): "
            "check `data.path` and the split's name in the zoo file."
        ) from None
    if Path(data.path).exists():
        _refuse_other_images(task, Path(data.path), loaded)
    return loaded


def _reason(error: BaseException) -> str:
    """What went wrong in one line, which `datasets` tells after a general one, or in the error's cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() not in ("", SAYS_NOTHING)]
    if not lines and error.__cause__ is not None:
        return _reason(error.__cause__)
    told = " ".join(lines) or type(error).__name__
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 100]} … {told[-100:]}"


def refuse_other_files(task: ZooTask, folder: Path, named: Mapping[str, Sequence[str]] | None) -> None:
    """UserError if the folder's README, which may say what its splits are made of, names files outside the folder."""
    for files in (named or {}).values():
        for file in files:
            if not _below(file, folder):
                raise UserError(
                    f"task {task.name!r}: the README of {folder} names {file}, outside that folder: do not trust it, or copy "
                    "the file into the folder."
                )


def _refuse_other_images(task: ZooTask, place: Path, loaded: datasets.Dataset) -> None:
    """UserError if a table holds, in place of an image, the path of a file elsewhere, which would be opened."""
    folder = (place if place.is_dir() else place.parent).absolute()
    for name, feature in loaded.features.items():
        if not isinstance(feature, datasets.Image):
            continue
        for chunk in loaded.data.column(name).chunks:
            paths = chunk.field("path").filter(chunk.field("bytes").is_null()).to_pylist()
            wrong = next((one for one in paths if one and not _below(one, folder)), None)
            if wrong is not None:
                raise UserError(
                    f"task {task.name!r}: the column {name!r} of {place} names the image {wrong}, outside {folder}: do not "
                    "trust it, or copy the images there."
                )


def _below(path: str, folder: Path) -> bool:
    """Whether a path, as it is written, lies below the folder. A link there is the user's: roots say where it may lead."""
    if "://" in path:
        return False
    whole = folder / path
    return (".." not in whole.parts and whole.is_relative_to(folder)) or whole.resolve().is_relative_to(
        folder.resolve()
    )
