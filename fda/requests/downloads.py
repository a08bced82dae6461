"""Downloads that pages start: helper runs that bring a zoo's models from the hub. Imports no torch, asks no hub itself.

What came stays when a download is stopped, and the next one goes on there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fda.jobs import lifecycle as jobs
from fda.requests.helper_runs import helper_spec, newest_of, share_done, start_helper
from fda.store.spec import DownloadSettings, RunSpec
from fda.store.store import Store
from fda.zoos.hub import missing_models
from fda.zoos.zoo import Zoo


@dataclass(frozen=True)
class Download:
    """How far a download is. `share`: 0..1 of the bytes are here; `file`: the one on its way; `message`: why it failed.

    `done`: all models are here, whoever brought them; a message then says what else does not fit.
    """

    state: Literal["none", "running", "done", "failed"]
    share: float = 0.0
    file: str | None = None
    message: str | None = None


def start_download(store: Store, path: Path, zoo: Zoo) -> None:
    """Start the download of a zoo's models, unless a run is at work on it."""
    start_helper(store, _spec(path, zoo))


def stop_download(store: Store, path: Path, zoo: Zoo) -> None:
    """Stop the download that is at work, if there is one. What came stays."""
    run = newest_of(store, _spec(path, zoo))
    if run is not None and run.active:
        jobs.stop(store, run.run_id)


def download_of(store: Store, path: Path, zoo: Zoo) -> Download:
    """How far the download of a zoo is, whoever started it. A zoo file that has changed since is another zoo."""
    run = newest_of(store, _spec(path, zoo))
    if run is not None and run.active:
        if not missing_models(zoo):
            return Download("running", 1.0)
        units = store.units(run.run_id)
        return Download("running", share_done(store, run), units[0].message if units else None)
    message = run.message if run is not None and run.state != "cancelled" else None
    if not missing_models(zoo):
        return Download("done", 1.0, message=message)
    if run is None or run.state == "cancelled":
        return Download("none")
    return Download("failed", message=message)


def _spec(path: Path, zoo: Zoo) -> RunSpec:
    return helper_spec(path, zoo, DownloadSettings())
