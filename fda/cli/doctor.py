"""`python -m fda doctor`: what is wrong with this environment and with FDA_HOME, and its repair."""

import platform
import sys
from importlib import metadata
from typing import Annotated

import typer

NEEDED = ("torch", "transformers", "open_clip_torch", "safetensors", "datasets", "streamlit")


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="list again the runs that the store lacks; a damaged store is kept aside")
    ] = False,
) -> None:
    """Say what is wrong with the environment and the store, with the way to mend each. Exit 1 if anything is."""
    from fda.jobs.doctor import examine
    from fda.jobs.doctor import repair as mend
    from fda.store.store import Store

    store = Store()
    print(f"python {platform.python_version()} on {platform.system()} ({platform.machine()}), FDA_HOME {store.home}")
    good = _packages()
    if repair:
        for told in mend(store):
            print(f"repaired: {told}")
    for finding in examine(store):
        good &= finding.good
        print(f"{'ok' if finding.good else 'FAULT'}: {finding.text}")
    if not good:
        raise typer.Exit(1)


def _packages() -> bool:
    """Print the versions of what fda needs; whether all of it is there."""
    versions, lacking = [], []
    for name in NEEDED:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lacking.append(name)
    print(", ".join(versions))
    if lacking:
        print(f"FAULT: {', '.join(lacking)} not installed: `{sys.executable} -m pip install -r requirements.txt`.")
    return not lacking
