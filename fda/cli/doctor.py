"""`python -m fda doctor`: examine the environment and FDA_HOME, and repair FDA_HOME."""

import platform
from typing import Annotated

import typer


def doctor(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="mend what is wrong with FDA_HOME: nothing that a run owns is deleted"),
    ] = False,
) -> None:
    """Report faults of the environment and of FDA_HOME, each with its remedy. Exit 1 if there is any."""
    from fda.jobs.doctor import examine
    from fda.jobs.doctor import repair as mend
    from fda.jobs.environment import environment
    from fda.store.store import Store

    store = Store()
    print(f"{platform.system()} {platform.release()} ({platform.machine()}), FDA_HOME {store.home}")
    if repair:
        for change in mend(store):
            print(f"repaired: {change}")
    good = True
    for findings in (environment(), examine(store)):
        for finding in findings:
            good &= finding.good
            print(f"{'ok' if finding.good else 'FAULT'}: {finding.text}")
    if not good:
        raise typer.Exit(1)
