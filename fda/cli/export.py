"""`python -m fda export`: write a merged model as a folder that its library loads; upload it to the hub on request."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fda.errors import UserError
from fda.home import open_to_others
from fda.store.store import Store

TELL_SECONDS = 1.0  # between two lines of progress


def export(
    run_id: Annotated[str, typer.Argument(help="a run that compared methods; `python -m fda runs list` shows its id")],
    method: Annotated[str, typer.Option(help="the method whose merged model is written")],
    out: Annotated[Path, typer.Option(help="the new or empty folder to write")],
    task: Annotated[str | None, typer.Option(help="for transformers checkpoints: include this task's head")] = None,
    push: Annotated[str | None, typer.Option(help="also upload the folder to this hub id, org/name")] = None,
    private: Annotated[bool, typer.Option("--private", help="make that repository private")] = False,
) -> None:
    """Write a merged model as its library loads it: weights, config, processor, model card."""
    from fda.stages.export_run import export_model_of
    from fda.zoos.upload import require_repository, upload

    if private and push is None:
        raise UserError("--private applies to the repository that --push names: add --push ORG/NAME, or leave it out.")
    if push is not None:
        require_repository(push)
    written = export_model_of(Store(), run_id, method, out, task=task, repository=push, progress=_progress())
    open_to_others(written)
    print(f"{written}: {sum(file.stat().st_size for file in written.rglob('*')) / 2**20:.1f} MiB")
    if push is not None:
        print(upload(written, push, private=private))


def _progress() -> Callable[[int, int], None]:
    """Prints on stderr, once a second, which share of the bytes is written."""
    last = time.monotonic()

    def tell(written: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            print(f"fda: written {written / total:.0%}".replace("%", " %"), file=sys.stderr, flush=True)

    return tell
