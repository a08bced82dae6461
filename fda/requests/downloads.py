"""Downloads that pages start: `python -m fda zoo check` of a zoo whose models are on the hub, as a process of its own.

It outlives the browser and the server; what came stays when it is stopped, and the next one goes on there. What is known of one
lies in FDA_HOME/downloads. Imports no torch and asks the hub nothing itself.
"""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fda.errors import UserError
from fda.jobs.background import Background, one_at_a_time
from fda.store.store import Store
from fda.zoos.hub import hub_cache, is_hub_id, missing_models, split_id
from fda.zoos.zoo import Zoo

_COMING = re.compile(r"^fda: downloading (.*)$", re.MULTILINE)  # as `fda.zoos.hub` says it


@dataclass(frozen=True)
class Download:
    """How far one is. `share`: 0..1 of the bytes are here; `doing`: the file that comes; `message`: how the command ended.

    `done`: all models are here, whoever brought them; a message then tells what else does not fit.
    """

    state: Literal["none", "running", "done", "failed"]
    share: float = 0.0
    doing: str | None = None
    message: str | None = None


def start_download(store: Store, path: Path, zoo: Zoo, total: int) -> None:
    """Set the download of a zoo going, unless it is going already. `total`: bytes that will come. UserError if it cannot be."""
    background = _background(store, path)
    with one_at_a_time(store, "downloads"):
        if background.alive:
            return
        try:
            command = [sys.executable, "-m", "fda", "zoo", "check", str(path)]
            background.start(command, store.home, before=_bytes_here(zoo), total=total)
        except OSError as error:
            raise UserError(
                f"the download could not be started ({error.strerror or error}): check the disk and the permissions."
            ) from None


def stop_download(store: Store, path: Path) -> None:
    """End a download that is going. What came stays."""
    with one_at_a_time(store, "downloads"):
        _background(store, path).end()


def look(store: Store, path: Path, zoo: Zoo) -> Download:
    """How far the download of a zoo is, whoever started it. A zoo file that has changed since is another zoo."""
    background = _background(store, path)
    noted = background.noted
    if noted is not None and background.alive:
        coming = _COMING.findall(background.said)
        came, total = _bytes_here(zoo) - noted.get("before", 0), noted.get("total", 0)
        share = min(max(came / total, 0.0), 1.0) if total else 0.0
        if not missing_models(zoo):
            return Download("running", 1.0)
        return Download("running", share, coming[-1] if coming else None)
    told = background.sentence(but=_COMING)
    if not missing_models(zoo):
        return Download("done", 1.0, message=told)
    if noted is None:
        return Download("none")
    return Download("failed", message=told or f"it ended without a word (see {background.log}).")


def _background(store: Store, path: Path) -> Background:
    mark = hashlib.sha256(f"{path}\n".encode() + path.read_bytes()).hexdigest()[:12]
    folder = store.home / "downloads"
    return Background(folder / f"{path.stem}-{mark}.log", folder / f"{path.stem}-{mark}.json")


def _bytes_here(zoo: Zoo) -> int:
    """What of the zoo's hub models is in the cache, unfinished files too."""
    models = {zoo.base.model, *(task.model for task in zoo.tasks)}
    ids = {split_id(model)[0] for model in models if is_hub_id(model)}
    total = 0
    for name in ids:
        place = hub_cache() / f"models--{name.replace('/', '--')}"
        for folder in (place / "blobs", place / ".fda" / "parts"):
            for file in folder.iterdir() if folder.is_dir() else ():
                try:
                    total += file.stat().st_size
                except OSError:  # it was renamed a moment ago
                    continue
    return total
