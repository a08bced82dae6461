"""`python -m fda doctor`: examine the environment and FDA_HOME, and repair the store."""

import platform
import sys
from importlib import metadata
from typing import Annotated

import typer

NEEDED = ("torch", "transformers", "open_clip_torch", "safetensors", "datasets", "streamlit")


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="add rows for run folders that the store lacks; move a damaged store aside")
    ] = False,
) -> None:
    """Report faults of the environment and the store, each with its remedy. Exit 1 if there is any."""
    from fda.jobs.doctor import examine
    from fda.jobs.doctor import repair as mend
    from fda.store.store import Store

    store = Store()
    print(f"python {platform.python_version()} on {platform.system()} ({platform.machine()}), FDA_HOME {store.home}")
    good = _packages()
    if repair:
        for change in mend(store):
            print(f"repaired: {change}")
    for finding in examine(store):
        good &= finding.good
        print(f"{'ok' if finding.good else 'FAULT'}: {finding.text}")
    if not good:
        raise typer.Exit(1)


def _packages() -> bool:
    """Print the versions of required packages; return whether all are installed."""
    versions, missing = [], []
    for name in NEEDED:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    print(", ".join(versions))
    if missing:
        print(f"FAULT: {', '.join(missing)} not installed: `{sys.executable} -m pip install -r requirements.txt`.")
    return not missing
