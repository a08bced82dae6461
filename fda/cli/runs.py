"""Commands that launch and manage runs: construct, compare, demo, landscape, and `runs …`.

Options come from the settings' models and the registry; `fda.requests.runs` checks requests.
"""

import inspect
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from fda.cli.output import listed_entry, phase_line, report, require_folder, run_data, run_entry, run_line
from fda.errors import UserError, readable
from fda.report.runs_table import SORTS
from fda.settings import ConstructSettings

runs_app = typer.Typer(help="List, show, name, tag, move, stop, resume and delete runs.")

ZooOption = Annotated[str, typer.Option("--zoo", help="a shipped zoo's name, or the path of a zoo file")]
TasksOption = Annotated[str | None, typer.Option(help="tasks, separated by commas; default: all")]
BlocksOption = Annotated[str | None, typer.Option(help="block numbers from 0, separated by commas; default: all")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="write the rows to this file")]
SeedOption = Annotated[int, typer.Option(min=0, help="seed")]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="launch a new run even if the same request was left unfinished")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="METHOD.NAME=VALUE", help="a hyperparameter, such as ta.scale=0.4; any number"),
]
AdaptOption = Annotated[
    list[str] | None,
    typer.Option("--adapt", metavar="NAME=VALUE", help="an adaptation setting, such as distance=mse; any number"),
]
SweepOption = Annotated[
    bool, typer.Option("--sweep", help="add each method with its coefficient chosen on the validation split")
]
MethodsOption = Annotated[
    str | None,
    typer.Option(
        help="methods, separated by commas, or main, data-free or all for every such method that can run; default: main"
    ),
]


def with_construct_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every field of ConstructSettings that the command does not declare; they reach it as **settings."""
    declared = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    names = {parameter.name for parameter in declared}
    fields = {name: field for name, field in ConstructSettings.model_fields.items() if name not in names}
    added = []
    for name, field in fields.items():
        literal = get_origin(field.annotation) is Literal
        choices = f"{', '.join(get_args(field.annotation))}: " if literal else ""
        kind = str if literal else next(k for k in (*get_args(field.annotation), field.annotation) if k is not NoneType)
        option = typer.Option(
            f"--{name.replace('_', '-')}", help=f"{choices}{field.description}; default: the preset's"
        )
        hint = Annotated[kind | None, option]
        added.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint))
    command.__signature__ = inspect.Signature([*declared, *added])  # typer reads both
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*declared, *added)} | {
        "return": None
    }
    return command


@with_construct_options
def construct(
    zoo: ZooOption,
    tasks: TasksOption = None,
    blocks: BlocksOption = None,
    preset: Annotated[str, typer.Option(help="paper or fast")] = "fast",
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    engine: Annotated[str, typer.Option(help="local; ray does not work yet")] = "local",
    fresh: FreshOption = False,
    **settings: Any,
) -> None:
    """Construct anchors for every task × block of a zoo."""
    from fda.requests.runs import construct_settings, make_spec, split_blocks, split_list
    from fda.zoos.zoo import load_zoo

    chosen = construct_settings(preset, family=load_zoo(zoo).family, seed=seed, **settings)
    spec = make_spec(
        zoo,
        tasks=split_list(tasks),
        blocks=split_blocks(blocks),
        construct=chosen,
        device=device,
        engine=engine,
        seed=seed,
    )
    run_id = _run(spec, fresh)
    print(f"anchors: {_store().run_dir(run_id) / 'anchors'}")


def compare(
    zoo: ZooOption,
    anchors: Annotated[str | None, typer.Option(help="the construct run whose anchors the fda: methods use")] = None,
    methods: MethodsOption = None,
    sweep: SweepOption = False,
    settings: SetOption = None,
    adapt: AdaptOption = None,
    tasks: TasksOption = None,
    blocks: BlocksOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    json_file: JsonOption = None,
) -> None:
    """Merge with every method and score the results on the tasks' test data."""
    from fda.requests.hyperparameters import read_assignments
    from fda.requests.runs import (
        choose_methods,
        known_tasks,
        make_spec,
        read_adaptation,
        split_blocks,
        split_list,
    )
    from fda.requests.unread import require_readers
    from fda.stages.anchored import anchored_blocks
    from fda.zoos.zoo import load_zoo

    require_folder(json_file)
    loaded = load_zoo(zoo)
    chosen = known_tasks(loaded, split_list(tasks) or (_store().run(anchors).spec.tasks if anchors else ()))
    adapted = split_blocks(blocks)
    if anchors:
        adapted = anchored_blocks(_store(), anchors, chosen, adapted)
        if adapted and not blocks:
            which = f"block {adapted[0]} is" if len(adapted) == 1 else f"blocks {', '.join(map(str, adapted))} are"
            print(
                f"fda: only {which} adapted, as run {anchors} has anchors of no other block; the others stay as in the base.",
                file=sys.stderr,
            )
    words, adaptation = split_list(methods) or ("main",), read_adaptation(adapt or ())
    spec = make_spec(
        zoo,
        tasks=chosen,
        blocks=adapted,
        methods=choose_methods(loaded, chosen, words, anchors=anchors is not None, sweep=sweep),
        hyperparameters=read_assignments(settings or ()),
        adaptation=adaptation,
        anchors_run=anchors,
        device=device,
        seed=seed,
    )
    require_readers(spec, adaptation)
    _report(_run(spec, fresh), json_file)


def demo(
    json_file: JsonOption = None,
    sweep: SweepOption = False,
    settings: SetOption = None,
    adapt: AdaptOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
) -> None:
    """Construct anchors on the embedded zoo and compare eight methods: no network, no GPU."""
    from fda.requests.hyperparameters import read_assignments
    from fda.requests.runs import MAIN_METHODS, construct_settings, make_spec, read_adaptation, with_swept
    from fda.requests.unread import require_readers
    from fda.zoos.zoo import load_zoo

    require_folder(json_file)
    adaptation = read_adaptation(adapt or ())
    spec = make_spec(
        "demo",
        construct=construct_settings("fast", family=load_zoo("demo").family, seed=seed),
        methods=with_swept(MAIN_METHODS) if sweep else MAIN_METHODS,
        hyperparameters=read_assignments(settings or ()),
        adaptation=adaptation,
        device=device,
        seed=seed,
    )
    require_readers(spec, adaptation)
    _report(_run(spec, fresh), json_file)


def landscape(
    run_id: Annotated[str, typer.Argument(help="a run that has anchors")],
    points: Annotated[int | None, typer.Option(help="points along each side of the grid, odd; default: 25")] = None,
    samples: Annotated[int | None, typer.Option(help="samples per task at every point; default: 96")] = None,
    directions: Annotated[str | None, typer.Option(help="ta_fda, paths: what spans the plane; default: ta_fda")] = None,
    split: Annotated[str | None, typer.Option(help="auto, validation, test: where samples come from")] = None,
    snapshots: Annotated[int | None, typer.Option(help="epochs at which the weights are kept; default: 12")] = None,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
) -> None:
    """Compute the loss over a plane of weights, with the paths of task arithmetic and of FDA."""
    from fda.cli.landscape import report_landscape
    from fda.requests.landscape import landscape_spec

    spec = landscape_spec(
        _store(),
        run_id,
        device=device,
        points=points,
        samples=samples,
        directions=directions,
        split=split,
        snapshots=snapshots,
    )
    report_landscape(_run(spec, fresh))


@runs_app.command("list")
def runs_list(
    as_json: Annotated[bool, typer.Option("--json")] = False,
    every: Annotated[bool, typer.Option("--all", help="also exports, downloads, surveys and estimates")] = False,
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

    store = _shown()
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

    store = _shown()
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

    print(stop_and_wait(_store(), run_id))


@runs_app.command("resume")
def runs_resume(run_id: str) -> None:
    """Resume a stopped, crashed or failed run from its finished units."""
    from fda.jobs.lifecycle import reopen

    store = _store()
    reopen(store, run_id)
    _carry_out(run_id)
    if store.run(run_id).spec.methods:
        _report(run_id, None)


@runs_app.command("delete")
def runs_delete(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="one or several runs")],
    now: Annotated[
        bool, typer.Option("--now", help="remove their files at once, so that no undelete is possible")
    ] = False,
) -> None:
    """Delete runs with their files; `runs undelete` brings them back for a minute."""
    from fda.jobs.lifecycle import delete

    store = _store()
    for run_id in run_ids:
        delete(store, run_id, now=now)
        print(f"deleted {run_id}")
    if not now:
        again = f"python -m fda runs undelete {' '.join(run_ids)}"
        print(f"fda: for a minute, `{again}` brings back what was deleted.", file=sys.stderr)


@runs_app.command("undelete")
def runs_undelete(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN_ID...", help="runs deleted in the last minute")],
) -> None:
    """Bring back deleted runs."""
    from fda.jobs.lifecycle import undelete

    for run_id in run_ids:
        undelete(_store(), run_id)
        print(f"brought back {run_id}")


@runs_app.command("name")
def runs_name(run_id: str, text: Annotated[str, typer.Argument(help="the name; empty to remove it")]) -> None:
    """Name a run: lists, pickers and reports then show the name."""
    _store().describe(run_id, name=text)


@runs_app.command("note")
def runs_note(run_id: str, text: Annotated[str, typer.Argument(help="the note; empty to remove it")]) -> None:
    """Write a note on a run."""
    _store().describe(run_id, note=text)


@runs_app.command("tag")
def runs_tag(
    run_id: str,
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="tags, one word each")],
    remove: Annotated[bool, typer.Option("--remove", help="remove these tags instead")] = False,
) -> None:
    """Add tags to a run, or remove them."""
    if remove:
        _store().describe(run_id, remove_tags=words)
    else:
        _store().describe(run_id, add_tags=words)


@runs_app.command("move")
def runs_move(run_id: str, direction: Annotated[str, typer.Argument(help="up or down")]) -> None:
    """Move a queued run up or down by one place in the queue of its device."""
    from fda.jobs.lifecycle import move

    if direction not in ("up", "down"):
        raise UserError(f"a run is not moved {direction!r}: choose up or down.")
    move(_store(), run_id, -1 if direction == "up" else 1)
    print(f"number {_shown().queue_position(run_id)} in the queue")


# carrying out --------------------------------------------------------------------------------------------------------


def _shown() -> Any:
    from fda.jobs.liveness import LiveStore

    return LiveStore()


def _store() -> Any:
    from fda.store.store import Store

    return Store()


def _run(spec: Any, fresh: bool) -> str:
    """Check the spec against the checkpoints, run it in this process with progress, and return the run's id.

    Unless `fresh`, an unfinished run of the same request is resumed instead. Exit 1 if the run fails.
    """
    from fda.jobs.lifecycle import reopen
    from fda.stages.execute import check_spec, resolve_device
    from fda.zoos.survey import open_zoo

    store = _store()
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
    _carry_out(run_id)
    return run_id


def _report(run_id: str, json_file: Path | None) -> None:
    """Print a comparison. Exit 1 if a method failed, unless the request did not give it what it needs."""
    from fda.merging.registry import METHODS
    from fda.requests.runs import missing_need

    report(run_id, json_file)
    store = _store()
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

    for run in _shown().runs(states=("failed", "cancelled", "crashed")):
        on_device = run.spec.model_copy(update={"device": resolve_device("auto")})
        if spec in (run.spec, on_device if run.spec.device == "auto" else run.spec):
            return run
    return None


def _carry_out(run_id: str) -> None:
    from fda.cli.progress import show_progress
    from fda.stages.worker import run_here

    store = _store()
    print(f"run {run_id}", file=sys.stderr)
    with show_progress(store, run_id) if store.run(run_id).spec.helper is None else nullcontext():
        state = run_here(store, run_id)
    if state == "cancelled":
        print(f"fda: stopped; `python -m fda runs resume {run_id}` goes on from here.", file=sys.stderr)
        raise typer.Exit(1)
    if state != "done":
        print(f"fda: the run failed: {store.run(run_id).message}", file=sys.stderr)
        raise typer.Exit(1)
