"""Bring a zoo's models from the hub and check that they fit, with the bytes that came as the progress of the run."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread

from fda.cancel import Cancel
from fda.errors import UserError
from fda.stages.check import preview_zoo, try_out
from fda.store.records import UnitKey
from fda.store.store import Store
from fda.zoos.hub import hub_cache, is_hub_id, located, split_id, tell_on_stderr
from fda.zoos.zoo import Zoo

SECONDS = 0.5  # between two entries of progress


def download(store: Store, run_id: str, zoo: Zoo, cancel: Cancel) -> None:
    """Download what is missing and try a batch of every task, as `zoo check` does.

    Its unit counts bytes; its message is the file on its way. UserError with the first problem. When stopped, the download
    is left to end with the process: what came stays in the cache, and the next download goes on there.
    """
    preview = preview_zoo(zoo)
    if preview.problems:
        raise UserError(preview.problems[0])
    key, before = UnitKey("download", zoo.name), bytes_here(zoo)
    store.add_units(run_id, [(key, preview.download_bytes)])
    store.update_unit(run_id, key, state="running", step=0, message=None)
    files = ["asking the hub"]

    def tell(line: str) -> None:
        tell_on_stderr(line)
        files.append(line.removeprefix("downloading "))

    work = _in_background(lambda: try_out(located(zoo, report=tell)))
    while not wait([work], SECONDS).done:
        cancel.check()
        came = min(bytes_here(zoo) - before, preview.download_bytes)
        store.update_unit(run_id, key, step=max(came, 0), message=files[-1])
    work.result()
    store.update_unit(run_id, key, state="done", step=preview.download_bytes, message=None)


def bytes_here(zoo: Zoo) -> int:
    """What of the zoo's hub models is in the cache, unfinished files too."""
    models = {zoo.base.model, *(task.model for task in zoo.tasks)}
    total = 0
    for name in {split_id(model)[0] for model in models if is_hub_id(model)}:
        cache = hub_cache() / f"models--{name.replace('/', '--')}"
        for folder in (cache / "blobs", cache / ".fda" / "parts"):
            for file in folder.iterdir() if folder.is_dir() else ():
                try:
                    total += file.stat().st_size
                except OSError:  # it was renamed a moment ago
                    continue
    return total


def _in_background(work: Callable[[], None]) -> Future[None]:
    """A daemon thread does the work: a connection that hangs must not hold up the end of a run that is stopped."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="download", daemon=True).start()
    return future
