"""What a task's data are, told before any of them is downloaded or prepared: splits, columns, classes, size.

Of a hub id by its card and its list of files, and where the card does not describe the columns, by the first bytes of a table
(of parquet the last). Loading and the samples themselves are `fda.tasks.data`.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

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

MOST_READ = 100 * 2**20  # bytes of a table that is here whose labels are read
BLOCK = 2**16  # bytes that one request for a part of a file on the hub brings


@dataclass(frozen=True)
class SeenData:
    """`splits` and `columns`: None where they are not known, or any will do.
    `classes`: how many the label has; `names`: theirs, where the data have some.

    `bytes`: what is still to be downloaded and unpacked, where that is known. `note`: why nothing could be seen.
    """

    splits: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    classes: int | None = None
    names: tuple[str, ...] | None = None
    bytes: int = 0
    note: str | None = None


def look_at_data(task: ZooTask) -> SeenData:
    """Of a task that has data. UserError if they are not there, or have no such configuration."""
    data = task.data
    if Path(data.path).is_file():  # it is whatever split is asked for
        return _of_file(Path(data.path), data)
    try:
        builder = _builder(task, data)
    except Unreached as error:  # the models may be merged without
        return SeenData(note=str(error))
    files = builder.config.data_files or {}
    if Path(data.path).is_dir():
        refuse_other_files(task, Path(data.path), files)
    return _of_builder(builder, files, data)


def _builder(task: ZooTask, data: TaskData) -> datasets.DatasetBuilder:
    """What `datasets` makes of the path, nothing prepared. Unreached, at once, if it is on a hub that does not answer."""
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
    except Exception as error:  # `datasets` raises whatever its readers raise
        raise UserError(
            f"{what} cannot be opened ({first_line(error)}): check `data.path` and `data.name` in the zoo file."
        ) from None


def data_problems(task: ZooTask, found: SeenData) -> list[str]:
    """A sentence on every split and column that the zoo names and the data have not."""
    data, problems = task.data, []
    for role in ("split", "validation_split", "train_split"):
        named = getattr(data, role)
        for split in split_names(named) if named is not None and found.splits is not None else ():
            if split not in found.splits:
                problems.append(_lacks(task, "split", split, role, found.splits))
    columns = [("input", column) for column in data.columns]
    if data.metric != "perplexity" and "label" in data.model_fields_set:
        columns.append(("label", data.label))
    for role, column in columns if found.columns is not None else ():
        if column not in found.columns:
            problems.append(_lacks(task, "column", column, role, found.columns))
    return problems


def _lacks(task: ZooTask, what: str, name: str, role: str, there: tuple[str, ...]) -> str:
    near = nearest(name, there)
    hint = f"the nearest is {near!r}; " if near is not None else ""
    return (
        f"task {task.name!r}: {task.data.path} has no {what} {name!r} (`data.{role}`): {hint}it has {', '.join(there)}."
    )


def _of_file(path: Path, data: TaskData) -> SeenData:
    if path.suffix.lower() not in READERS:
        return SeenData()  # loading says what is read
    columns, classes, names = _table(str(path), data.label)
    return SeenData(columns=columns, classes=classes, names=names)


def _of_builder(builder: datasets.DatasetBuilder, files: Mapping[str, Any], data: TaskData) -> SeenData:
    info = builder.info
    splits = tuple(str(name) for name in (info.splits or files)) or None
    columns, names = tuple(info.features or ()) or None, _names(info.features or {}, data.label)
    classes = None if names is None else len(names)
    if columns is None:
        wanted = next(iter(split_names(data.split)), "")
        named = list(next((files[name] for name in files if str(name) == wanted), ()))
        columns, classes, names = _first_table(builder, named, data.label)
    prepared = Path(builder.cache_dir).exists()
    sizes = 0 if prepared else (info.download_size or 0) + (info.dataset_size or 0)
    return SeenData(splits, columns, classes, names, sizes)


def _first_table(
    builder: datasets.DatasetBuilder, files: list[str], label: str
) -> tuple[tuple[str, ...] | None, int | None, tuple[str, ...] | None]:
    """(columns, classes, their names) of a split's first table.

    Beside images lies one that describes them, or folders are the labels.
    """
    name = table_in(files)
    if name is None:
        return (("image", "label") if builder.name == "imagefolder" and files else None), None, None
    columns, classes, names = _table(name, label)
    if builder.name == "imagefolder" and columns is not None:
        columns = ("image", *(column for column in columns if column != "file_name"))
    return columns, classes, names


def _table(name: str, label: str) -> tuple[tuple[str, ...] | None, int | None, tuple[str, ...] | None]:
    """(columns, classes, their names) as a table's own header says, with what `datasets` noted in it.

    The classes of a table that is here are counted by its labels.

    None for what is not known, or cannot be read: it is looked at again when it is loaded, which says what is wrong with it.
    """
    try:
        with closing(_opened(name)) as file:
            columns, noted = columns_in(file, name)
        features = datasets.Features.from_dict(json.loads(noted)["info"]["features"]) if noted else {}
        names = _names(features, label)
        classes = None if names is None else len(names)
        if classes is None and not name.startswith("hf://") and label in columns:
            classes = _largest(Path(name), label)
    except Exception:  # whatever the file system of the hub, or a reader, raises
        return None, None, None
    return tuple(columns) or None, classes, names


def _largest(path: Path, label: str) -> int | None:
    """One more than the largest class number in a table of moderate size; None where labels are no whole numbers."""
    if path.stat().st_size > MOST_READ:
        return None
    if path.suffix == ".parquet":
        column = pyarrow.parquet.read_table(path, columns=[label])[label]
    elif path.suffix == ".csv":
        column = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(include_columns=[label]))[label]
    else:
        return None
    return 1 + pyarrow.compute.max(column).as_py() if pyarrow.types.is_integer(column.type) and len(column) else None


def _opened(name: str) -> BinaryIO:
    if not name.startswith("hf://"):
        return open(name, "rb")
    return HfFileSystem().open(name, "rb", block_size=BLOCK)


def _names(features: Mapping[str, Any], label: str) -> tuple[str, ...] | None:
    feature = features.get(label)
    return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
