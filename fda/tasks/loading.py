"""A whole split as `datasets` reads it: from a table, a folder or the hub. Samples and labels are left to `fda.tasks.data`.

Local tables of text are read so that nothing in them is lost: cells stay the texts that were written (`null` and `NA` are
words), quotation marks mean something only where the table is quoted, and the rows that come out are counted against the rows
of the file.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from fda.errors import UserError
from fda.home import fda_home
from fda.tasks.tables import Table, count_json_lines, read_layout
from fda.zoos.zoo import TaskData, ZooTask

READERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".txt": "text"}
SAYS_NOTHING = "An error occurred while generating the dataset"
LONGEST = 300  # characters of another library's sentence
Files = Mapping[str, Sequence[str]]  # split → its files


def load_whole(task: ZooTask, data: TaskData, split: str) -> datasets.Dataset:
    """One split by its name, all of it. UserError if it cannot be read, or not all of it was."""
    datasets.disable_progress_bars()
    path, options = data.path, {"name": data.name}
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
    options["cache_dir"] = str(fda_home() / "cache" / "datasets")
    tables: dict[str, Table] = {}
    try:
        local = bool(files) or Path(path).is_dir()
        builder = datasets.load_dataset_builder(path, **options) if local else None
        if builder is not None:
            if not files:
                refuse_other_files(task, Path(path), builder.config.data_files)
                files = builder.config.data_files or {}
            if builder.name == "csv":
                tables = _layouts(where, builder.config, files, data)
                options |= _text_options(builder.config, tables)
        loaded = datasets.load_dataset(path, split=split, **options)
    except UserError:
        raise
    except Exception as error:  # `datasets` raises whatever its readers raise
        raise UserError(
            f"task {task.name!r}: the split {split!r} of {data.path} could not be loaded ({_reason(error)}): "
            "check `data.path` and the split's name in the zoo file."
        ) from None
    if builder is not None:
        _require_all_rows(where, loaded, [str(file) for file in files.get(split, ())], tables)
    if Path(data.path).exists():
        _refuse_other_images(task, Path(data.path), loaded)
    return loaded


def _layouts(where: str, config: Any, files: Files, data: TaskData) -> dict[str, Table]:
    """File → layout, of all splits, which are read together. None of a folder whose README says how its tables are read."""
    if config.quoting != csv.QUOTE_MINIMAL or config.quotechar != '"' or config.header != "infer" or config.skiprows:
        return {}
    if config.names is not None or len(config.sep) != 1:
        return {}
    tables = {}
    for file in dict.fromkeys(str(file) for named in files.values() for file in named):
        try:
            table = read_layout(file, config.sep, data.label)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if table is not None:
            _require_inputs(where, file, table, data)
            tables[file] = table
    return tables


def _require_inputs(where: str, file: str, table: Table, data: TaskData) -> None:
    """UserError for a row that ends before an input; one that ends before its label is a gap as others are."""
    needed = [table.header.index(column) for column in data.columns if column in table.header]
    row, fields = next(((row, fields) for row, fields in table.short if max(needed, default=-1) >= fields), (0, 0))
    if fields:
        raise UserError(
            f"{where}: row {row} of {file} has {fields} fields, its header {len(table.header)}: give it the others."
        )


def _text_options(config: Any, tables: Mapping[str, Table]) -> dict[str, Any]:
    """What makes pandas take cells as they are written; which columns are numbers is found out where they are used."""
    quoted = {table.quoted for table in tables.values()} - {None}
    if len(quoted) == 2:
        names = ", ".join(next(f for f, table in tables.items() if table.quoted is one) for one in (True, False))
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
    """UserError if the rows that were read are not those of the files, as far as these can be counted."""
    counts: list[int | None] = [tables[file].rows if file in tables else None for file in files]
    if not tables:
        counts = [count_json_lines(file) if Path(file).suffix == ".jsonl" else None for file in files]
    if counts and None not in counts and sum(counts) != len(loaded):
        raise UserError(
            f"{where}: {len(loaded)} rows were read, but {', '.join(files[:3])} has {sum(counts)}: look for quotation marks "
            "that do not close and for line breaks in texts, or save it as parquet."
        )


def _reason(error: BaseException) -> str:
    """What went wrong in one line, which `datasets` tells after a general one, or in the error's cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() not in ("", SAYS_NOTHING)]
    if not lines and error.__cause__ is not None:
        return _reason(error.__cause__)
    said = " ".join(lines) or type(error).__name__
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 100]} … {said[-100:]}"


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
