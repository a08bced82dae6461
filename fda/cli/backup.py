"""`python -m fda backup`: copy FDA_HOME while runs work."""

from pathlib import Path
from typing import Annotated

import typer


def backup(
    folder: Annotated[Path, typer.Argument(help="the folder to make, on another disk if possible")],
) -> None:
    """Copy the store and all runs to a new folder, also while runs work. The folder is an FDA_HOME: to go back, copy it back.

    Exit 1 if files are damaged in the original already.
    """
    from fda.report.format import plural, size
    from fda.store.backup import back_up
    from fda.store.store import Store

    made = back_up(Store(), folder)
    print(f"{made.folder}: {plural(made.runs, 'run')}, {size(made.bytes)}. Look into it with FDA_HOME={made.folder}.")
    for sentence in made.damaged:
        print(f"FAULT: {sentence}: `python -m fda doctor --repair` has it made again.")
    if made.damaged:
        raise typer.Exit(1)
