"""Suggest checkpoints and data below the model roots, judging folders by the names of their files.

A folder with a config that a library writes beside weights counts as a checkpoint. Reads only configs, and the header or first
line of tables.
"""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fda.checkpoints.json_files import read_json
from fda.errors import UserError
from fda.home import ASSETS, fda_home, model_roots
from fda.zoos.hub import HUB_CONFIGS, cached_folder, hub_cache, is_hub_id

DEPTH = 5  # below a root
MOST_FOLDERS = 4000  # that are scanned: about a tenth of a second on a local disk
ZOO_FILE = "zoo.yaml"  # as `zoo recipe` writes it
MODEL = "model"  # a folder inside the one that bears the task's name
BASES = ("base", "pretrained", "zeroshot", "zero_shot", "pretrain")
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".index.json")
DATA_FILES = (".parquet", ".csv", ".jsonl", ".json", ".arrow")
LONGEST_LINE = 1 << 20
LONGEST_FOOTER = 16 * 2**20  # bytes; a table of 1,000 columns and row groups has a footer of 10 MB
SPLITS = ("test", "validation", "train")
_SKIPPED = {"node_modules", "site-packages", "blobs", "snapshots", "__pycache__"}


@dataclass(frozen=True)
class Nearby:
    """`models`, `data`: folders; `ids`: hub ids whose files are in the hub's cache; `families`: folders of several models."""

    models: tuple[Path, ...]
    data: tuple[Path, ...]
    ids: tuple[str, ...]
    families: tuple[Path, ...]


@dataclass(frozen=True)
class Member:
    """A finetuned checkpoint of a family, with the head and the data of the same name, if they exist."""

    name: str
    model: Path
    head: Path | None
    data: Path | None


def look_around(roots: Iterable[Path] | None = None) -> Nearby:
    """Scan the folders below the roots within `DEPTH` and `MOST_FOLDERS`, without the assets and the output of runs."""
    models: dict[Path, None] = {}
    data: dict[Path, None] = {}
    cache = hub_cache().resolve()
    excluded = (cache, ASSETS, *(fda_home() / name for name in ("runs", "exports")))
    remaining = MOST_FOLDERS
    for root in roots if roots is not None else model_roots():
        queue = [(root, 0)] if root.is_dir() and root not in excluded else []
        while queue and remaining:
            folder, depth = queue.pop(0)  # breadth first
            remaining -= 1
            folders, files = _entries(folder)
            if HUB_CONFIGS & set(files):
                models[folder] = None
                continue
            if _is_data(folders, files):
                data[folder] = None
                continue
            if depth < DEPTH:
                inside = [folder / name for name in folders if not name.startswith(".") and name not in _SKIPPED]
                queue += [(path, depth + 1) for path in inside if path not in excluded]
    parents = [_home(model).parent for model in models]
    families = [parent for parent in dict.fromkeys(parents) if parents.count(parent) > 1]
    return Nearby(tuple(models), tuple(data), tuple(_cached_ids(cache)), tuple(families))


def family(parent: Path) -> tuple[Path | None, list[Member]]:
    """Return the base among a folder's models or beside it, by its name (None without one), and the other models.

    A model NAME is in `NAME` or, as `zoo finetune` writes it, in `NAME/model`. Its head is `NAME/head.safetensors` or
    `heads/NAME.safetensors`, its data `NAME/data` or `data/NAME`, in the folder or beside it.
    """
    models = _models(parent)
    bases = models | {name: model for name, model in _models(parent.parent).items() if name not in models}
    base = next((model for word in BASES for name, model in bases.items() if name.lower().startswith(word)), None)

    def existing(*candidates: str) -> Path | None:
        paths = (folder / candidate for candidate in candidates for folder in (parent, parent.parent))
        return next((path for path in paths if path.exists()), None)

    members = [
        Member(
            name,
            model,
            existing(f"{name}/head.safetensors", f"heads/{name}.safetensors"),
            existing(f"{name}/data", f"data/{name}"),
        )
        for name, model in models.items()
        if model != base
    ]
    return base, members


def zoo_file_in(folder: Path, written: str | Path) -> Path:
    """Return a folder's `zoo.yaml`. UserError that says what the folder holds instead, and what to do with it."""
    if (file := folder / ZOO_FILE).is_file():
        return file
    base, members = family(folder)
    if members:
        held = f"{len(members)} finetuned model{'s' if len(members) > 1 else ''} ({', '.join(one.name for one in members)})"
        held = held if base is None else f"a base ({base.name}) and {held}"
        raise UserError(
            f"{written} holds {held}, but no {ZOO_FILE}: My checkpoints on the page Checkpoints makes one of it."
        )
    if is_model(folder):
        raise UserError(
            f"{written} is one model, but a zoo is a base and what was finetuned from it: give the folder that holds them all."
        )
    if _is_data(*_entries(folder)):
        raise UserError(
            f"{written} is a folder of data: give a zoo file, or a folder that holds a base and finetuned models."
        )
    raise UserError(f"{written} is a folder without a {ZOO_FILE} and without models: give another folder.")


def _models(parent: Path) -> dict[str, Path]:
    """Name → folder of each checkpoint in a folder."""
    places = [(name, path) for name in _entries(parent)[0] for path in (parent / name / MODEL, parent / name)]
    return {name: path for name, path in places if HUB_CONFIGS & set(_entries(path)[1])}


def is_model(folder: Path) -> bool:
    """Whether a folder holds weights, or a config that a library writes beside them."""
    files = _entries(folder)[1]
    return bool(HUB_CONFIGS & set(files)) or any(name.endswith(WEIGHTS) for name in files)


def _home(model: Path) -> Path:
    """The folder that bears a checkpoint's name."""
    return model.parent if model.name == MODEL else model


def splits(data: Path) -> list[str]:
    """Return the splits that a data folder's entries name (`test.csv`, `test-00000-of-00001.parquet`, `test/`)."""
    folders, files = _entries(data)
    names = [*folders, *(name for name in files if name.endswith(DATA_FILES))]
    return [split for split in SPLITS if any(name.split(".")[0].split("-")[0] == split for name in names)]


def columns(data: Path) -> list[str]:
    """Return the columns of a data folder's first CSV, parquet or JSON lines file, or of that file; none without one."""
    _, files = _entries(data) if data.is_dir() else ([], [data.name])
    folder = data if data.is_dir() else data.parent
    name = table_in(files)
    try:
        if name is not None:
            with (folder / name).open("rb") as file:
                return columns_in(file, name)[0]
    except (OSError, ValueError):  # unreadable: the user fills in the form
        pass
    return []


def table_in(files: Iterable[str]) -> str | None:
    """Return the first of these files whose columns can be read."""
    return next((name for name in files if name.endswith((".parquet", ".csv", ".tsv", ".jsonl"))), None)


def columns_in(file: BinaryIO, name: str) -> tuple[list[str], str | None]:
    """Return (columns of a table, `datasets`' own JSON on their types or None). ValueError if it is not what its name says."""
    if name.endswith(".parquet"):
        from pyarrow.parquet import read_schema

        _require_small_footer(file, name)
        schema = read_schema(file)
        return list(schema.names), (schema.metadata or {}).get(b"huggingface", b"").decode() or None
    line = file.readline(LONGEST_LINE).decode("utf-8-sig")
    try:
        if name.endswith(".jsonl"):
            return list(json.loads(line).keys()), None
        return next(csv.reader([line], delimiter="\t" if name.endswith(".tsv") else ","), []), None
    except (AttributeError, RecursionError, csv.Error) as error:
        raise ValueError(f"{name} is no table") from error


def _require_small_footer(file: BinaryIO, name: str) -> None:
    """ValueError for a parquet file with too large a footer; its last eight bytes begin with the footer's length."""
    file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    if length > LONGEST_FOOTER:
        raise ValueError(f"{name} has a schema of {length} bytes")
    file.seek(0)


def architecture(model: Path) -> str | None:
    """Return the `model_type` of a checkpoint's config, transformers' name of the architecture, or None."""
    try:
        name = read_json(model / "config.json").get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _is_data(folders: list[str], files: list[str]) -> bool:
    return any(name.endswith(DATA_FILES[:3]) for name in files) or bool({"train", "test"} & set(folders))


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """(names of folders, names of files) in a folder, sorted; none if it cannot be read. Does not follow links."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan if _is_text(entry.name)
            )
    except OSError:
        return [], []
    return [name for name, is_folder in entries if is_folder], [name for name, is_folder in entries if not is_folder]


def _is_text(name: str) -> bool:
    """Whether a file's name is UTF-8; pages cannot show other names."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _cached_ids(cache: Path) -> list[str]:
    names = (
        name.removeprefix("models--").replace("--", "/", 1) for name in _entries(cache)[0] if name[:8] == "models--"
    )
    return [name for name in names if is_hub_id(name) and cached_folder(name) is not None]
