"""Exports that pages start: `python -m fda export` as a process of its own, which outlives the browser and the server.

What is known of one lies in FDA_HOME/exports: the folder itself, which is there once it is whole; `.NAME.log`, what the command
said; `.NAME.json`, which process it is (see `background.py`). Imports no torch.
"""

import re
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fda.errors import UserError
from fda.jobs.background import Background, one_at_a_time
from fda.store.files import merged_file
from fda.store.store import Store

UNMERGED = ("pretrained", "individual")  # what methods are held against: these are the checkpoints themselves
_WRITTEN = re.compile(r"^fda: written (\d+) %$", re.MULTILINE)  # as `fda.cli.export` says it


@dataclass(frozen=True)
class Export:
    """How far one is. `share`: 0..1 of the bytes are written; `message`: why it failed; `bytes`: of the finished folder."""

    folder: Path
    state: Literal["none", "running", "done", "failed"]
    share: float = 0.0
    message: str | None = None
    bytes: int = 0


def exportable(store: Store, run_id: str) -> list[str]:
    """The methods of a run whose merged model is there, in the order of its results. UserError if there is no such run."""
    folder = store.run_dir(run_id)
    done = [one.method for one in store.results(run_id)[0] if one.state == "done"]
    return [name for name in done if name not in UNMERGED and merged_file(folder, name).is_file()]


def export_folder(store: Store, run_id: str, method: str, task: str | None) -> Path:
    """Where a page's export goes."""
    name = f"{run_id}-{method.replace(':', '-')}" + (f"-head-{task}" if task else "")
    return store.home / "exports" / name


def export_words(run_id: str, method: str, task: str | None, out: str) -> list[str]:
    """The command's words after `fda`."""
    return ["export", run_id, "--method", method, *(["--task", task] if task else []), "--out", out]


def start_export(store: Store, run_id: str, method: str, task: str | None = None) -> None:
    """Set an export going, unless it is there or going already. UserError if it cannot be started."""
    folder = export_folder(store, run_id, method, task)
    command = _command(export_words(run_id, method, task, str(folder)))
    with one_at_a_time(store, "exports"):
        if look(folder).state in ("running", "done"):
            return
        try:
            _background(folder).start(command, store.home)
        except OSError as error:
            raise UserError(
                f"the export could not be started ({error.strerror or error}): check the disk and the permissions."
            ) from None


def stop_export(store: Store, run_id: str, method: str, task: str | None = None) -> None:
    """End an export that is going; nothing of it stays."""
    folder = export_folder(store, run_id, method, task)
    with one_at_a_time(store, "exports"):
        if _background(folder).noted is not None:
            _background(folder).end()
            shutil.rmtree(_part(folder), ignore_errors=True)


def remove_export(store: Store, run_id: str, method: str, task: str | None = None) -> None:
    """Remove a finished folder. UserError if that cannot be."""
    folder = export_folder(store, run_id, method, task)
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"{folder} could not be removed ({error.strerror}): remove it by hand.") from None
    _background(folder).forget()


def look(folder: Path) -> Export:
    """How far the export to this folder is, whoever started it."""
    background = _background(folder)
    alive = background.alive
    if folder.is_dir():  # looked for after the process: it appears before that one ends
        return Export(folder, "done", 1.0, bytes=sum(path.stat().st_size for path in _files(folder)))
    if alive:
        shares = _WRITTEN.findall(background.said)
        return Export(folder, "running", min(int(shares[-1]), 100) / 100 if shares else 0.0)
    if background.noted is None:
        return Export(folder, "none")
    told = background.sentence(but=_WRITTEN)
    return Export(folder, "failed", message=told or f"it ended without a word (see {background.log}).")


def zipped(folder: Path) -> bytes:
    """The folder as a zip file, not compressed: weights hardly shrink. Made on disk, so that memory holds it once."""
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
            for path in _files(folder):
                packed.write(path, Path(folder.name) / path.relative_to(folder))
        file.seek(0)
        return file.read()


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "fda", *words]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _background(folder: Path) -> Background:
    return Background(folder.with_name(f".{folder.name}.log"), folder.with_name(f".{folder.name}.json"))


def _part(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")
