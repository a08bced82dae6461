"""`fda runs …`: list, show, describe, move, stop, resume, delete and prune runs."""

import json
import sys
import time
from typing import Annotated

import typer

from fda.cli.carry_out import carry_out, open_store, report_comparison, shown_store
from fda.cli.output import listed_entry, phase_line, report, run_data, run_entry, run_line
from fda.errors import UserError, readable
from fda.report.runs_table import SORTS

runs_app = typer.Typer(help="List, show, name, tag, move, stop, resume, delete and prune runs.")


@runs_app.command("list")
def runs_list(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="also exports, downloads, surveys, estimates and analyses")
    ] = False,
    search: Annotated[str, typer.Option(help="words of the name, note, tags, zoo, settings or state")] = "",
    state: Annotated[str | None, typer.Option(help="only runs in these states, separated by commas")] = None,
    zoo: Annotated[str | None, typer.Option(help="only runs of the zoos of these names, separated by commas")] = None,
    tag: Annotated[str | None, typer.Option(help="only runs with all of these tags, separated by commas")] = None,
    sort: Annotated[str, typer.Option(help=f"by {', '.join(SORTS)}; the newest, best or largest first")] = "created",
) -> None:
    """List runs with their settings that differ from the preset, newest first."""
    from fda.report.runs_table import in_order, matching, require_states, run_rows
    from fda.requests.runs import split_list
    from fda.store.records import ANALYSES, HELPERS, KINDS

    store = shown_store()
    kinds, states = KINDS if every else ANALYSES, require_states(split_list(state))
    rows = run_rows(store, kinds)
    chosen = matching(rows, search=search, states=states, zoos=split_list(zoo), tags=split_list(tag))
    chosen = in_order(chosen, sort)
    filtered = bool(search or state or zoo or tag)
    unreadable = [] if filtered else [run for run in store.unreadable_runs() if every or run.kind not in HELPERS]
    if as_json:
        print(json.dumps([listed_entry(store, row) for row in chosen] + [run_entry(store, run) for run in unreadable]))
        return
    if not chosen and not unreadable:
        print("no run matches." if rows and filtered else "no runs yet: `python -m fda demo` makes one.")
    for row in chosen:
        print(run_line(row))
    for run in unreadable:
        print(f"{readable(run.run_id)}  unreadable: {run.problem}")


@runs_app.command("show")
def runs_show(run_id: str, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show one run: its state, verdict, settings, phases, units and scores."""
    from fda.report.phases import run_phases
    from fda.report.verdict import verdict_of
    from fda.store.finished import damaged_files
    from fda.store.records import UNCHANGED

    store = shown_store()
    run = store.run(run_id)
    sentences = verdict_of(store, run)
    if as_json:
        print(json.dumps(run_data(store, run) | {"verdict": sentences}))
        return
    print(f"{run.run_id}  {run.kind} on {run.device}: {run.state}" + (f" ({run.message})" if run.message else ""))
    for word, text in (("name", run.name), ("tags", ", ".join(run.tags)), ("note", run.note)):
        if text:
            print(f"{word}: {readable(text)}")
    for sentence in sentences:
        print(f"  {sentence}")
    print(f"zoo {run.spec.zoo.name}: {', '.join(run.spec.tasks)}; files in {store.run_dir(run_id)}")
    if run.started_by:
        print(f"started by: {readable(run.started_by)}")
    units = store.units(run_id)
    for phase in run_phases(store, run, units, time.time()):
        if phase.seconds or phase.state != "done":  # not what proved needless, such as compiling
            print(phase_line(phase))
    for unit in units:
        loss = f"  loss {unit.loss:.4f}" if unit.loss is not None else ""
        where = unit.key.name if unit.key.block < 0 else f"{unit.key.name} block {unit.key.block}"
        state = UNCHANGED if unit.unchanged else unit.state
        print(f"  {unit.key.stage:<9} {where:<24} {state:<9} {unit.step}/{unit.steps}{loss}")
    for path, damage in damaged_files(store, run_id, "content").items():
        print(f"  {path} {damage}: `python -m fda runs resume {run_id}` makes it again.")
    if store.results(run_id)[0]:
        report(run_id, None)


@runs_app.command("stop")
def runs_stop(run_id: str) -> None:
    """Stop a run; finished work stays, and the run can be resumed."""
    from fda.jobs.lifecycle import stop_and_wait

    print(stop_and_wait(open_store(), run_id))


@runs_app.command("resume")
def runs_resume(run_id: str) -> None:
    """Resume a stopped, crashed or failed run from its finished units."""
    from fda.jobs.lifecycle import reopen

    store = open_store()
    reopen(store, run_id)
    carry_out(run_id)
    if store.run(run_id).spec.methods:
        report_comparison(run_id, None)


@runs_app.command("delete")
def runs_delete(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="one or several runs")],
    now: Annotated[
        bool, typer.Option("--now", help="remove their files at once, so that no undelete is possible")
    ] = False,
) -> None:
    """Delete runs with their files; `runs undelete` brings them back for a minute."""
    from fda.jobs.lifecycle import delete

    store = open_store()
    for run_id in run_ids:
        delete(store, run_id, now=now)
        print(f"deleted {run_id}")
    if not now:
        again = f"python -m fda runs undelete {' '.join(run_ids)}"
        print(f"fda: for a minute, `{again}` brings back what was deleted.", file=sys.stderr)


@runs_app.command("prune")
def runs_prune(
    older_than: Annotated[str, typer.Option(help="age in days since a run ended, such as 90d")],
    keep_best: Annotated[
        int, typer.Option(min=0, help="keep so many runs of each zoo, those with the highest FDA scores")
    ] = 3,
    keep_named: Annotated[
        bool, typer.Option("--keep-named/--also-named", help="keep runs with a name, note or tag, or delete them too")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--delete", help="only list the runs, or delete them and free their space at once")
    ] = True,
) -> None:
    """List the old runs that nothing keeps; with --delete, delete them. Runs that a kept run reads are kept."""
    from fda.jobs.lifecycle import delete
    from fda.report.format import plural, size
    from fda.report.retention import days, prunable
    from fda.report.runs_table import run_rows

    rows = run_rows(shown_store())
    chosen = prunable(rows, older_than=days(older_than), keep_best=keep_best, keep_named=keep_named)
    for row in chosen:
        if not dry_run:
            delete(open_store(), row.run.run_id, now=True)
        print(f"{'' if dry_run else 'deleted '}{run_line(row)}  {size(row.bytes)}")
    total = f"{plural(len(chosen), 'run')} of {len(rows)}, {size(sum(row.bytes for row in chosen))} of files"
    print(f"{total}: add --delete to delete them." if dry_run and chosen else f"{total}.")


@runs_app.command("undelete")
def runs_undelete(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="runs deleted in the last minute")],
) -> None:
    """Bring back deleted runs."""
    from fda.jobs.lifecycle import undelete

    for run_id in run_ids:
        undelete(open_store(), run_id)
        print(f"brought back {run_id}")


@runs_app.command("name")
def runs_name(run_id: str, text: Annotated[str, typer.Argument(help="the name; empty to remove it")]) -> None:
    """Name a run: lists, pickers and reports then show the name."""
    open_store().describe(run_id, name=text)


@runs_app.command("note")
def runs_note(run_id: str, text: Annotated[str, typer.Argument(help="the note; empty to remove it")]) -> None:
    """Write a note on a run."""
    open_store().describe(run_id, note=text)


@runs_app.command("tag")
def runs_tag(
    run_id: str,
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="tags, one word each")],
    remove: Annotated[bool, typer.Option("--remove", help="remove these tags instead")] = False,
) -> None:
    """Add tags to a run, or remove them."""
    if remove:
        open_store().describe(run_id, remove_tags=words)
    else:
        open_store().describe(run_id, add_tags=words)


@runs_app.command("move")
def runs_move(run_id: str, direction: Annotated[str, typer.Argument(help="up or down")]) -> None:
    """Move a queued run up or down by one place in the queue of its device."""
    from fda.jobs.lifecycle import move

    if direction not in ("up", "down"):
        raise UserError(f"a run is not moved {direction!r}: choose up or down.")
    move(open_store(), run_id, -1 if direction == "up" else 1)
    print(f"number {shown_store().queue_position(run_id)} in the queue")
