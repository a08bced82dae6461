"""`python -m fda export`: a merged model of a run as a folder that its library loads, and onto the hub if asked for."""

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
    run_id: Annotated[str, typer.Argument(help="a run with a comparison, as `python -m fda runs list` names it")],
    method: Annotated[str, typer.Option(help="which of its merged models")],
    out: Annotated[Path, typer.Option(help="the folder to write; it must not be there yet")],
    task: Annotated[str | None, typer.Option(help="a transformers checkpoint's task whose own head goes along")] = None,
    push: Annotated[str | None, typer.Option(help="upload the folder to this hub id, org/name, too")] = None,
    private: Annotated[bool, typer.Option("--private", help="make that repository a private one")] = False,
) -> None:
    """Write a merged model as its library loads it: weights, config, processor, model card."""
    from fda.stages.export_run import export_model_of
    from fda.zoos.upload import require_repository, upload

    if private and push is None:
        raise UserError("--private is about the repository that --push names: add --push ORG/NAME, or leave it out.")
    if push is not None:
        require_repository(push)
    written = export_model_of(Store(), run_id, method, out, task=task, repository=push, pulse=_progress())
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
