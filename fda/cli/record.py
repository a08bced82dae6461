"""`python -m fda record`: write a finished run as a small file that the dashboard plays, without weights."""

from pathlib import Path
from typing import Annotated

import typer


def record(
    run_id: Annotated[str, typer.Argument(help="a finished run, as `python -m fda runs list` names it")],
    out: Annotated[Path | None, typer.Option(help="the .json file to write; default: RUN_ID.json")] = None,
) -> None:
    """Write a recording of a finished run: its curves, scores, verdict and landscape, in one file of at most 1 MB."""
    from fda.cli.output import require_folder, write_whole
    from fda.report.format import size
    from fda.report.record import record as recording_of
    from fda.report.recording import to_json
    from fda.store.store import Store

    path = out or Path(f"{run_id}.json")
    require_folder(path)
    store = Store()
    write_whole(path, to_json(recording_of(store, store.run(run_id))))
    print(f"{path}: {size(path.stat().st_size)}")
