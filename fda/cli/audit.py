"""`python -m fda audit`: who did what to which run, and when."""

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from fda.cli.carry_out import shown_store
from fda.errors import readable


def audit(
    run: Annotated[str | None, typer.Option(help="only what was done to this run, which may be deleted by now")] = None,
    who: Annotated[str | None, typer.Option(help="only what this person did")] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many entries, the newest")] = 100,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List who started, stopped, resumed, deleted, moved and named runs, newest first."""
    entries = shown_store().audit(run_id=run, who=who, limit=limit)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries]))
        return
    if not entries:
        print("nothing is recorded." if run is None and who is None else "nothing like this is recorded.")
    for entry in entries:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.time))
        words = [moment, "UTC", entry.who, entry.action, entry.run_id or "", entry.detail or ""]
        print(readable("  ".join(word for word in words if word).replace("  UTC", " UTC")))
