"""Exports that pages start: helper runs that write a merged model into a folder of FDA_HOME/exports. Imports no torch.

The folder appears once it is whole.
"""

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fda.errors import UserError
from fda.jobs import lifecycle as jobs
from fda.jobs.gate import permit
from fda.requests.helper_runs import newest, share_done, start_helper
from fda.store.files import merged_file
from fda.store.records import Run
from fda.store.spec import ExportSettings, RunSpec
from fda.store.store import Store

UNMERGED = ("pretrained", "individual")  # these are the checkpoints themselves


@dataclass(frozen=True)
class Export:
    """How far an export is. `share`: 0..1 of the bytes written; `message`: why it failed; `bytes`: of the finished folder."""

    folder: Path
    state: Literal["none", "running", "done", "failed"]
    share: float = 0.0
    message: str | None = None
    bytes: int = 0


def exportable(store: Store, run_id: str) -> list[str]:
    """The methods of a run whose merged file exists, in the order of its results. UserError if there is no such run."""
    folder = store.run_dir(run_id)
    done = [result.method for result in store.results(run_id)[0] if result.state == "done"]
    return [name for name in done if name not in UNMERGED and merged_file(folder, name).is_file()]


def export_folder(store: Store, run_id: str, method: str, task: str | None) -> Path:
    """The folder that a page's export writes."""
    name = f"{run_id}-{method.replace(':', '-')}" + (f"-head-{task}" if task else "")
    return store.home / "exports" / name


def export_words(run_id: str, method: str, task: str | None, out: str) -> list[str]:
    """The command's words after `fda`."""
    return ["export", run_id, "--method", method, *(["--task", task] if task else []), "--out", out]


def export_spec(store: Store, run_id: str, method: str, task: str | None) -> RunSpec:
    """The spec of the run that exports this model."""
    source = store.run(run_id).spec
    folder = export_folder(store, run_id, method, task)
    settings = ExportSettings(run_id=run_id, method=method, task=task, folder=str(folder))
    return RunSpec(zoo=source.zoo, zoo_path=source.zoo_path, tasks=source.tasks, helper=settings)


def start_export(store: Store, run_id: str, method: str, task: str | None = None) -> None:
    """Start an export, unless its folder is there or a run is at work on it."""
    if not export_folder(store, run_id, method, task).is_dir():
        start_helper(store, export_spec(store, run_id, method, task))


def stop_export(store: Store, run_id: str, method: str, task: str | None = None) -> None:
    """Stop the export that is at work, if there is one; it leaves nothing."""
    run = _newest(store, export_folder(store, run_id, method, task))
    if run is not None and run.active:
        jobs.stop(store, run.run_id)


def remove_export(store: Store, run_id: str, method: str, task: str | None = None) -> None:
    """Remove a finished folder. UserError if that cannot be."""
    folder = export_folder(store, run_id, method, task)
    permit("delete", _newest(store, folder) or store.run(run_id))
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
            store.record("remove the export", run_id=run_id, detail=folder.name)
    except OSError as error:
        raise UserError(f"{folder} could not be removed ({error.strerror}): remove it by hand.") from None


def export_at(store: Store, folder: Path) -> Export:
    """How far the export to this folder is, whoever started it."""
    run = _newest(store, folder)
    if folder.is_dir():  # looked for after the run: it appears before that one ends
        return Export(folder, "done", 1.0, bytes=sum(path.stat().st_size for path in _files(folder)))
    if run is None or run.state in ("done", "cancelled"):
        return Export(folder, "none")
    if not run.active:
        return Export(folder, "failed", message=run.message)
    return Export(folder, "running", share_done(store, run))


def zipped(folder: Path) -> bytes:
    """The folder as a zip file, not compressed: weights hardly shrink. Made on disk, so that memory holds it once."""
    with tempfile.TemporaryFile(dir=folder.parent) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
            for path in _files(folder):
                packed.write(path, Path(folder.name) / path.relative_to(folder))
        file.seek(0)
        return file.read()


def _newest(store: Store, folder: Path) -> Run | None:
    def writes_it(spec: RunSpec) -> bool:
        return isinstance(spec.helper, ExportSettings) and spec.helper.folder == str(folder)

    return newest(store, "export", writes_it)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
