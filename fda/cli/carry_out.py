"""Carrying a request out in this process, with its progress in the terminal, and the report at its end."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer

from fda.cli.output import report


def shown_store() -> Any:
    from fda.jobs.liveness import LiveStore

    return LiveStore()


def open_store() -> Any:
    from fda.store.store import Store

    return Store()


def run_request(spec: Any, fresh: bool) -> str:
    """Check the spec against the checkpoints, run it in this process with progress, and return the run's id.

    Unless `fresh`, an unfinished run of the same request is resumed instead. Exit 1 if the run fails.
    """
    from fda.jobs.lifecycle import reopen
    from fda.stages.execute import check_spec, resolve_device
    from fda.zoos.survey import open_zoo

    store = open_store()
    if spec.engine == "local":  # else the cluster's nodes have the device
        spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    check_spec(spec, open_zoo(spec.zoo, spec.tasks))
    unfinished = None if fresh else _unfinished(store, spec)
    if unfinished is None:
        run_id = store.create_run(spec)
    else:
        run_id = unfinished.run_id
        reopen(store, run_id)
        ended = "was stopped" if unfinished.state == "cancelled" else unfinished.state
        done = f"{unfinished.units_done} of {unfinished.units_total} units done"
        print(f"fda: going on with run {run_id}, which {ended}: {done} (--fresh starts a new one).", file=sys.stderr)
    carry_out(run_id)
    return run_id


def report_comparison(run_id: str, json_file: Path | None) -> None:
    """Print a comparison. Exit 1 if a method failed, unless the request did not give it what it needs."""
    from fda.merging.registry import METHODS
    from fda.requests.runs import missing_need

    report(run_id, json_file)
    store = open_store()
    spec, results = store.run(run_id).spec, store.results(run_id)[0]
    failed = [one.method for one in results if one.state == "failed" and not missing_need(spec, METHODS[one.method])]
    if failed:
        log = store.run_dir(run_id) / "log.txt"
        more = f" (more in {log})" if log.is_file() else ""
        print(f"fda: {len(failed)} of {len(results)} methods failed: {', '.join(failed)}{more}.", file=sys.stderr)
        raise typer.Exit(1)


def _unfinished(store: Any, spec: Any) -> Any:
    """The newest failed, cancelled or crashed run of the same request, or None."""
    from fda.stages.execute import resolve_device

    for run in shown_store().runs(states=("failed", "cancelled", "crashed")):
        on_device = run.spec.model_copy(update={"device": resolve_device("auto")})
        if spec in (run.spec, on_device if run.spec.device == "auto" else run.spec):
            return run
    return None


def carry_out(run_id: str) -> None:
    from fda.cli.progress import show_progress
    from fda.stages.worker import run_here

    store = open_store()
    print(f"run {run_id}", file=sys.stderr)
    with show_progress(store, run_id) if store.run(run_id).spec.helper is None else nullcontext():
        state = run_here(store, run_id)
    if state == "cancelled":
        print(f"fda: stopped; `python -m fda runs resume {run_id}` goes on from here.", file=sys.stderr)
        raise typer.Exit(1)
    if state != "done":
        print(f"fda: the run failed: {store.run(run_id).message}", file=sys.stderr)
        raise typer.Exit(1)
