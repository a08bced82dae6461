"""Loads a whole split with `datasets`, from a table, a folder or the hub.

Local text tables are read without loss: cells stay the written texts (`null` and `NA` are words), quotation marks have a
meaning only in a quoted table, and the number of rows read must equal the number of rows in the file. `fda.tasks.data` selects
samples and labels.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets.config import DATASET_STATE_JSON_FILENAME

from fda.errors import UserError
from fda.home import fda_home
from fda.tasks.tables import Table, count_json_lines, read_layout
from fda.zoos.zoo import TaskData, ZooTask

READERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".txt": "text"}
SAYS_NOTHING = "An error occurred while generating the dataset"
LONGEST = 300  # characters of another library's message
Files = Mapping[str, Sequence[str]]  # split → its files


def load_whole(task: ZooTask, data: TaskData, split: str) -> datasets.Dataset:
    """All rows of a split. UserError if it cannot be read, or not completely."""
    datasets.disable_progress_bars()
    path = data.path
    options: dict[str, Any] = {"name": data.name}
    where = f"task {task.name!r}, split {split!r}"
    files: Files = {}
    if Path(path).is_file():
        reader = READERS.get(Path(path).suffix.lower())
        if reader is None:
            raise UserError(f"task {task.name!r}: {path} is no table ({', '.join(READERS)}): give one, or a folder.")
        files = {split: [path]}
        options["data_files"] = files
        options |= {"sep": "\t"} if Path(path).suffix.lower() == ".tsv" else {}
        path = reader
    elif Path(path, DATASET_STATE_JSON_FILENAME).is_file():
        raise UserError(f"task {task.name!r}: {path} was written by `save_to_disk`: write it by `to_parquet` instead.")
    options["cache_dir"] = str(fda_home() / "cache" / "datasets")
    tables: dict[str, Table] = {}
    try:
        local = bool(files) or Path(path).is_dir()
        builder = datasets.load_dataset_builder(path, **options)
        if local:
            if not files:
                refuse_other_files(task, Path(path), builder.config.data_files)
                files = builder.config.data_files or {}
            if builder.name == "csv":
                tables = _layouts(where, builder.config, files, data)
                options |= _text_options(builder.config, tables)
                builder = datasets.load_dataset_builder(path, **options)
        builder.download_and_prepare()
        loaded: Any = builder.as_dataset(split=split)  # a Dataset, as it is one split
    except UserError:
        raise
    except Exception as error:  # `datasets` passes on anything its readers raise
        raise UserError(
            f"task {task.name!r}: the split {split!r} of {data.path} could not be loaded ({_reason(error)}): "
            "check `data.path` and the split's name in the zoo file."
        ) from None
    if local:
        _require_all_rows(where, loaded, [str(file) for file in files.get(split, ())], tables)
    if Path(data.path).exists():
        _refuse_other_images(task, Path(data.path), loaded)
    return loaded


def _layouts(where: str, config: Any, files: Files, data: TaskData) -> dict[str, Table]:
    """File → layout, for all splits, which are read together; empty if the folder's README sets how to read its tables."""
    if config.quoting != csv.QUOTE_MINIMAL or config.quotechar != '"' or config.header != "infer" or config.skiprows:
        return {}
    if config.names is not None or len(config.sep) != 1:
        return {}
    tables = {}
    for file in dict.fromkeys(str(file) for split_files in files.values() for file in split_files):
        try:
            table = read_layout(file, config.sep, data.label)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if table is not None:
            _require_inputs(where, file, table, data)
            tables[file] = table
    return tables


def _require_inputs(where: str, file: str, table: Table, data: TaskData) -> None:
    """UserError for a row that ends before an input. A row that ends before its label has a missing label."""
    needed = [table.header.index(column) for column in data.columns if column in table.header]
    row, fields = next(((row, fields) for row, fields in table.short if max(needed, default=-1) >= fields), (0, 0))
    if fields:
        raise UserError(
            f"{where}: row {row} of {file} has {fields} fields, its header {len(table.header)}: add the missing ones."
        )


def _text_options(config: Any, tables: Mapping[str, Table]) -> dict[str, Any]:
    """Options that make pandas read every cell as the written text."""
    quoted = {table.quoted for table in tables.values()} - {None}
    if len(quoted) == 2:
        names = ", ".join(
            next(f for f, table in tables.items() if table.quoted is quoting) for quoting in (True, False)
        )
        raise UserError(
            f"of these tables one has its texts in quotation marks and one has not ({names}): write both alike."
        )
    typed = config.features or {}
    columns = dict.fromkeys(name for table in tables.values() for name in table.header if name not in typed)
    options: dict[str, Any] = {"keep_default_na": False}
    if columns:
        options["converters"] = dict.fromkeys(columns, str)
    if quoted == {False}:
        options["quoting"] = csv.QUOTE_NONE
    return options


def _require_all_rows(where: str, loaded: datasets.Dataset, files: list[str], tables: Mapping[str, Table]) -> None:
    """UserError if the number of rows read differs from that of the files, if their rows can be counted."""
    counts: list[int | None] = [tables[file].rows if file in tables else None for file in files]
    if not tables:
        counts = [count_json_lines(file) if Path(file).suffix == ".jsonl" else None for file in files]
    known = [count for count in counts if count is not None]
    if counts and len(known) == len(counts) and sum(known) != len(loaded):
        raise UserError(
            f"{where}: {len(loaded)} rows were read, but {', '.join(files[:3])} has {sum(known)}: look for quotation marks "
            "that do not close and for line breaks in texts, or save it as parquet."
        )


def _reason(error: BaseException) -> str:
    """The reason in one line: after the general first line of `datasets`, or in the error's cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() not in ("", SAYS_NOTHING)]
    if not lines and error.__cause__ is not None:
        return _reason(error.__cause__)
    message = " ".join(lines) or type(error).__name__
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 100]} … {message[-100:]}"


def refuse_other_files(task: ZooTask, folder: Path, files: Files | None) -> None:
    """UserError if the folder's README, which may define its splits, names files outside the folder."""
    for split_files in (files or {}).values():
        for file in split_files:
            if not _below(file, folder):
                raise UserError(
                    f"task {task.name!r}: the README of {folder} names {file}, outside that folder: do not trust it, or copy "
                    "the file into the folder."
                )


def _refuse_other_images(task: ZooTask, path: Path, loaded: datasets.Dataset) -> None:
    """UserError if a table has the path of a file outside its folder as an image: decoding would open that file."""
    folder = (path if path.is_dir() else path.parent).absolute()
    for name, feature in loaded.features.items():
        if not isinstance(feature, datasets.Image):
            continue
        for chunk in loaded.data.column(name).chunks:
            paths = chunk.field("path").filter(chunk.field("bytes").is_null()).to_pylist()
            outside = next((image for image in paths if image and not _below(image, folder)), None)
            if outside is not None:
                raise UserError(
                    f"task {task.name!r}: the column {name!r} of {path} names the image {outside}, outside {folder}: do not "
                    "trust it, or copy the images there."
                )


def _below(path: str, folder: Path) -> bool:
    """Whether a path, as written, lies below the folder. Links may leave it: the allowed roots restrict their targets."""
    if "://" in path:
        return False
    whole = folder / path
    return (".." not in whole.parts and whole.is_relative_to(folder)) or whole.resolve().is_relative_to(
        folder.resolve()
    )
