"""Describes a task's data before any download or preparation: splits, columns, classes, size.

For a hub id it reads the card and the list of files and, if the card does not describe the columns, the first bytes of a table
(the last ones of parquet). `fda.tasks.data` loads the samples.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import datasets
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from huggingface_hub import HfApi, HfFileSystem, constants

from fda.checkpoints.readers.misfits import nearest
from fda.errors import UserError, first_line
from fda.home import fda_home
from fda.tasks.loading import READERS, refuse_other_files
from fda.tasks.slices import split_names
from fda.zoos.hub import Unreached, hub_errors
from fda.zoos.nearby import columns_in, table_in
from fda.zoos.zoo import TaskData, ZooTask

MOST_READ = 100 * 2**20  # bytes; the labels of larger local tables are not read
BLOCK = 2**16  # bytes per request for a part of a file on the hub


@dataclass(frozen=True)
class SeenData:
    """What is known about a task's data. `splits`, `columns`: None if unknown, or if any name is accepted.

    `classes`: the number of classes of the label; `names`: their names; None if unknown. `bytes`: the size still to be
    downloaded and unpacked, 0 if unknown. `note`: why the data could not be described.
    """

    splits: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    classes: int | None = None
    names: tuple[str, ...] | None = None
    bytes: int = 0
    note: str | None = None


def describe_data(task: ZooTask) -> SeenData:
    """Describe the data of a task that has some. UserError if they do not exist, or lack the named configuration."""
    data = _data(task)
    if Path(data.path).is_file():  # a single file is every split
        return _of_file(Path(data.path), data)
    try:
        builder = _builder(task, data)
    except Unreached as error:  # merging does not need the data
        return SeenData(note=str(error))
    files = builder.config.data_files or {}
    if Path(data.path).is_dir():
        refuse_other_files(task, Path(data.path), files)
    return _of_builder(builder, files, data)


def _builder(task: ZooTask, data: TaskData) -> datasets.DatasetBuilder:
    """The builder of the data, without preparing them. Unreached, without delay, if the hub does not answer."""
    what = f"task {task.name!r}: the data set {data.path}"
    if not Path(data.path).exists() and not constants.HF_HUB_OFFLINE:
        with hub_errors(what):
            HfApi().dataset_info(data.path)
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset_builder(
            data.path, name=data.name, cache_dir=str(fda_home() / "cache" / "datasets")
        )
    except ConnectionError as error:
        raise Unreached(f"{what} could not be asked for ({first_line(error)}).") from None
    except Exception as error:  # `datasets` passes on anything its readers raise
        raise UserError(
            f"{what} cannot be opened ({first_line(error)}): check `data.path` and `data.name` in the zoo file."
        ) from None


def data_problems(task: ZooTask, seen: SeenData) -> list[str]:
    """A sentence on every split and column that the zoo file names and the data lack."""
    data, problems = _data(task), []
    for role in ("split", "validation_split", "train_split"):
        named = getattr(data, role)
        if named is None or seen.splits is None:
            continue
        missing = [split for split in split_names(named) if split not in seen.splits]
        problems += [_lacks(data, task.name, "split", split, role, seen.splits) for split in missing]
    if seen.columns is None:
        return problems
    columns = [("input", column) for column in data.columns]
    if data.metric != "perplexity" and "label" in data.model_fields_set:
        columns.append(("label", data.label))
    for role, column in columns:
        if column not in seen.columns:
            problems.append(_lacks(data, task.name, "column", column, role, seen.columns))
    return problems


def _data(task: ZooTask) -> TaskData:
    if task.data is None:
        raise ValueError(f"task {task.name!r} has no data")
    return task.data


def _lacks(data: TaskData, task: str, what: str, name: str, role: str, names: tuple[str, ...]) -> str:
    near = nearest(name, names)
    hint = f"the nearest is {near!r}; " if near is not None else ""
    return f"task {task!r}: {data.path} has no {what} {name!r} (`data.{role}`): {hint}it has {', '.join(names)}."


def _of_file(path: Path, data: TaskData) -> SeenData:
    if path.suffix.lower() not in READERS:
        return SeenData()  # loading names the formats
    columns, classes, names = _table(str(path), data.label)
    return SeenData(columns=columns, classes=classes, names=names)


def _of_builder(builder: datasets.DatasetBuilder, files: Mapping[str, Any], data: TaskData) -> SeenData:
    info = builder.info
    splits = tuple(str(name) for name in (info.splits or files)) or None
    columns, names = tuple(info.features or ()) or None, _names(info.features or {}, data.label)
    classes = None if names is None else len(names)
    if columns is None:
        wanted = next(iter(split_names(data.split)), "")
        named: list[str] = list(next((files[name] for name in files if str(name) == wanted), ()))
        columns, classes, names = _first_table(builder, named, data.label)
    prepared = Path(builder.cache_dir).exists()
    sizes = 0 if prepared else (info.download_size or 0) + (info.dataset_size or 0)
    return SeenData(splits, columns, classes, names, sizes)


def _first_table(
    builder: datasets.DatasetBuilder, files: list[str], label: str
) -> tuple[tuple[str, ...] | None, int | None, tuple[str, ...] | None]:
    """(columns, number of classes, their names) of a split's first table.

    An image folder has a table of metadata, or its subfolders are the labels.
    """
    name = table_in(files)
    if name is None:
        return (("image", "label") if builder.name == "imagefolder" and files else None), None, None
    columns, classes, names = _table(name, label)
    if builder.name == "imagefolder" and columns is not None:
        columns = ("image", *(column for column in columns if column != "file_name"))
    return columns, classes, names


def _table(name: str, label: str) -> tuple[tuple[str, ...] | None, int | None, tuple[str, ...] | None]:
    """(columns, number of classes, their names) from a table's header and the features that `datasets` stored in it.

    The classes of a local table are counted by its labels. None for what is unknown or cannot be read: loading the table
    raises the error.
    """
    try:
        with closing(_opened(name)) as file:
            columns, noted = columns_in(file, name)
        features = datasets.Features.from_dict(json.loads(noted)["info"]["features"]) if noted else {}
        names = _names(features, label)
        classes = None if names is None else len(names)
        if classes is None and not name.startswith("hf://") and label in columns:
            classes = _largest(Path(name), label)
    except Exception:  # the hub's file system and the readers raise anything
        return None, None, None
    return tuple(columns) or None, classes, names


def _largest(path: Path, label: str) -> int | None:
    """1 + the largest class number of a table of at most `MOST_READ` bytes; None if labels are not whole numbers."""
    if path.stat().st_size > MOST_READ:
        return None
    if path.suffix == ".parquet":
        column = pyarrow.parquet.read_table(path, columns=[label])[label]
    elif path.suffix == ".csv":
        column = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(include_columns=[label]))[label]
    else:
        return None
    if not pyarrow.types.is_integer(column.type) or not len(column):
        return None
    most = pyarrow.compute.max(column)  # pyright: ignore[reportAttributeAccessIssue]  # pyarrow makes it on import
    return 1 + most.as_py()


def _opened(name: str) -> BinaryIO:
    if not name.startswith("hf://"):
        return open(name, "rb")
    return cast(BinaryIO, HfFileSystem().open(name, "rb", block_size=BLOCK))  # fsspec annotates it for texts too


def _names(features: Mapping[str, Any], label: str) -> tuple[str, ...] | None:
    feature = features.get(label)
    return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
