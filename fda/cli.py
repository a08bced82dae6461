"""The command line. Contract of the project: names, options, exit codes (0 done, 1 the run failed, 2 the request was wrong).

Asks the packages below for everything; draws progress with rich on a terminal and writes plain lines in a pipe.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from fda.errors import UserError

# typer carries its own click and exports no base class of its usage errors
USAGE_ERROR = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
zoo_app = typer.Typer(help="List, look into, check and build zoos.")
runs_app = typer.Typer(help="List, show, stop, resume and delete runs.")
app.add_typer(zoo_app, name="zoo")
app.add_typer(runs_app, name="runs")

ZooOption = Annotated[str, typer.Option("--zoo", help="a shipped zoo's name, or the path of a zoo file")]
TasksOption = Annotated[str | None, typer.Option(help="tasks, separated by commas; default: all")]
BlocksOption = Annotated[str | None, typer.Option(help="blocks from 0, separated by commas; default: all")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="write the rows to this file")]
SeedOption = Annotated[int, typer.Option(min=0, help="seed")]


@app.callback()
def about() -> None:
    """Functional dual anchors: construct them, merge with them, look inside them."""


def main() -> None:
    """Run the command line; UserError and usage errors become one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        code = _complain(str(error))
    except USAGE_ERROR as error:
        code = _complain(f"{error.format_message().rstrip('.')}: `python -m fda --help` tells the options.")
    except (typer.Abort, KeyboardInterrupt):
        code = 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = _complain(
            f"{error.filename or 'a file'}: {error.strerror or error}: check the disk and the permissions."
        )
    sys.exit(code if isinstance(code, int) else 0)


def _complain(sentence: str) -> int:
    print(f"fda: {sentence}", file=sys.stderr)
    return 2


# zoos ------------------------------------------------------------------------------------------------------------------


@zoo_app.command("list")
def zoo_list() -> None:
    """The shipped zoos."""
    from fda.models.zoo import list_zoos, load_zoo

    for name, path in list_zoos().items():
        zoo = load_zoo(path)
        print(f"{name}: {zoo.description or ''} ({len(zoo.tasks)} tasks: {', '.join(zoo.task_names)})")


@zoo_app.command("show")
def zoo_show(
    zoo: str, as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False
) -> None:
    """What is in a zoo: blocks, sizes, task-vector norms and cosines."""
    from fda.models.survey import survey
    from fda.models.zoo import load_zoo, zoo_path

    found = survey(load_zoo(zoo), str(zoo_path(zoo)))
    if as_json:
        print(json.dumps(found))
        return
    print(f"{found['name']}: {found['description'] or ''}")
    print(f"base: {found['base']['model']} ({found['base']['parameters']:,} parameters, {found['layout']})")
    print(
        f"blocks: {len(found['blocks'])} of {len(found['blocks'][0]['tensors'])} tensors, width {found['width']}, "
        f"{found['tokens']} tokens"
    )
    for task in found["tasks"]:
        norms = "  ".join(f"{norm:.3f}" for norm in task["norms"])
        print(f"  {task['name']:<12} {task['classes'] or '?':>4} classes   task-vector norm by block: {norms}")
    print("cosine between task vectors:")
    for name, row in zip(found["cosines"]["tasks"], found["cosines"]["all"], strict=True):
        print(f"  {name:<12} " + " ".join(f"{value:6.3f}" for value in row))


@zoo_app.command("check")
def zoo_check(zoo: str) -> None:
    """Do the files of a zoo fit together? Reads headers, configs and one batch of each task's data."""
    from fda.models.survey import open_zoo
    from fda.models.zoo import load_zoo
    from fda.tasks.data import load_split
    from fda.tasks.heads import load_head

    loaded = load_zoo(zoo)
    opened = open_zoo(loaded)
    for task in loaded.tasks:
        if task.data is not None:
            images = load_split(task, task.data.split, opened.model.transform).images(1)
            if task.head is not None:
                opened.model.load(opened.base)
                load_head(task).logits(opened.model.features(images))
    print(f"{loaded.name}: {len(loaded.tasks)} tasks, {len(opened.model.blocks)} blocks: everything fits together.")


@zoo_app.command("build-demo")
def zoo_build_demo(
    out: Annotated[Path | None, typer.Option(help="folder to write; default: the embedded zoo's")] = None,
    seed: SeedOption = 0,
) -> None:
    """Make the demo zoo again from its real images (about five minutes on 2 cores)."""
    from fda.demo import build

    if out is None:
        build(seed=seed)
    else:
        build(out, seed, zoo_file=out / "zoo.yaml")


# runs ------------------------------------------------------------------------------------------------------------------


@app.command()
def construct(
    zoo: ZooOption,
    tasks: TasksOption = None,
    blocks: BlocksOption = None,
    preset: Annotated[str, typer.Option(help="paper or fast")] = "fast",
    init: Annotated[str | None, typer.Option(help="weight or gauss")] = None,
    sigma: Annotated[float | None, typer.Option(help="scale of the gauss start")] = None,
    anchors: Annotated[int | None, typer.Option(help="anchors per unit")] = None,
    tokens: Annotated[int | None, typer.Option(help="tokens per anchor; default: the model's")] = None,
    steps: Annotated[int | None, typer.Option(help="optimiser steps")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    engine: Annotated[str, typer.Option(help="local or ray")] = "local",
) -> None:
    """Construct anchors for every task × block of a zoo."""
    from fda.runs.request import construct_settings, make_spec, split_blocks, split_list

    settings = construct_settings(
        preset, init=init, sigma=sigma, anchors=anchors, tokens=tokens, steps=steps, seed=seed
    )
    spec = make_spec(
        zoo,
        tasks=split_list(tasks),
        blocks=split_blocks(blocks),
        construct=settings,
        device=device,
        engine=engine,
        seed=seed,
    )
    run_id = _run(spec)
    print(f"anchors: {_store().run_dir(run_id) / 'anchors'}")


@app.command()
def compare(
    zoo: ZooOption,
    anchors: Annotated[str | None, typer.Option(help="the construct run whose anchors the fda: methods use")] = None,
    methods: Annotated[str | None, typer.Option(help="methods, separated by commas; default: all that can run")] = None,
    tasks: TasksOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Merge with every method and score the results on the tasks' test data."""
    from fda.merging.registry import METHODS
    from fda.runs.request import MAIN_METHODS, make_spec, split_list

    _require_folder(json_file)
    chosen = split_list(methods) or tuple(m for m in MAIN_METHODS if anchors or METHODS[m].needs != "anchors")
    spec = make_spec(
        zoo,
        tasks=split_list(tasks) or (_store().run(anchors).spec.tasks if anchors else ()),
        methods=chosen,
        anchors_run=anchors,
        device=device,
        seed=seed,
    )
    _report(_run(spec), json_file)


@app.command()
def demo(json_file: JsonOption = None, seed: SeedOption = 0, device: DeviceOption = "auto") -> None:
    """Construct anchors on the embedded zoo and compare eight methods: no network, no GPU."""
    from fda.runs.request import MAIN_METHODS, construct_settings, make_spec

    _require_folder(json_file)
    settings = construct_settings("fast", seed=seed)
    _report(_run(make_spec("demo", construct=settings, methods=MAIN_METHODS, device=device, seed=seed)), json_file)


def _store() -> Any:
    from fda.runs.store import Store

    return Store()


def _run(spec: Any) -> str:
    """Check the spec against the checkpoints, then carry it out here, with progress; the run's id. Exit 1 if it fails."""
    from fda.models.survey import open_zoo
    from fda.runs.execute import check_spec, resolve_device

    spec = spec.model_copy(update={"device": resolve_device(spec.device)})
    check_spec(spec, open_zoo(spec.zoo, spec.tasks))
    run_id = _store().create_run(spec)
    _carry_out(run_id)
    return run_id


def _carry_out(run_id: str) -> None:
    from fda.progress import show_progress
    from fda.runs.worker import run_here

    store = _store()
    print(f"run {run_id}", file=sys.stderr)
    with show_progress(store, run_id):
        state = run_here(store, run_id)
    if state == "cancelled":
        print(f"fda: stopped; `python -m fda runs resume {run_id}` goes on from here.", file=sys.stderr)
        raise typer.Exit(1)
    if state != "done":
        print(f"fda: the run failed: {store.run(run_id).message}", file=sys.stderr)
        raise typer.Exit(1)


def _report(run_id: str, json_file: Path | None) -> None:
    """Print the comparison as a table and write it as JSON."""
    from fda.runs.table import comparison

    store = _store()
    spec = store.run(run_id).spec
    table = comparison(spec.zoo.name, spec.tasks, *store.results(run_id))
    if json_file is not None:
        _write_whole(json_file, json.dumps(table, indent=2))
    print(f"{'method':<16} {'average':>7} {'norm.':>7}  " + " ".join(f"{task[:9]:>9}" for task in spec.tasks))
    for row in table["rows"]:
        if row["average"] is None:
            print(f"{row['method']:<16} failed: {row['error']}")
        else:
            normalized = f"{row['normalized']:7.1%}" if row["normalized"] is not None else f"{'':>7}"
            cells = " ".join(f"{row['accuracy'][task]:9.1%}" for task in spec.tasks)
            print(f"{row['method']:<16} {row['average']:7.1%} {normalized}  {cells}")


def _require_folder(json_file: Path | None) -> None:
    """UserError, before any work, if the rows could not be written in the end."""
    if json_file is not None and not os.access(json_file.parent, os.W_OK):
        raise UserError(f"{json_file} could not be written (no such folder, or no permission): choose another place.")


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; a UserError if it cannot be written."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
            part.write(text + "\n")
        os.replace(part.name, path)
    except OSError as error:
        raise UserError(f"{path} could not be written ({error.strerror}): choose another place.") from None


@runs_app.command("list")
def runs_list(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """All runs, newest first."""
    from fda.runs.jobs import reconcile

    store = _store()
    reconcile(store)
    runs = store.runs()
    if as_json:
        print(json.dumps([_run_data(store, run) for run in runs]))
        return
    if not runs:
        print("no runs yet: `python -m fda demo` makes one.")
    for run in runs:
        print(
            f"{run.run_id}  {run.state:<9} {run.kind:<9} {run.units_done}/{run.units_total} units  {run.spec.zoo.name}"
        )


@runs_app.command("show")
def runs_show(run_id: str, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """One run: its state, settings, units and scores."""
    from fda.runs.jobs import reconcile

    store = _store()
    reconcile(store)
    run = store.run(run_id)
    if as_json:
        print(json.dumps(_run_data(store, run)))
        return
    print(f"{run.run_id}  {run.kind} on {run.device}: {run.state}" + (f" ({run.message})" if run.message else ""))
    print(f"zoo {run.spec.zoo.name}: {', '.join(run.spec.tasks)}; files in {store.run_dir(run_id)}")
    for unit in store.units(run_id):
        loss = f"  loss {unit.loss:.4f}" if unit.loss is not None else ""
        where = unit.key.name if unit.key.block < 0 else f"{unit.key.name} block {unit.key.block}"
        print(f"  {unit.key.stage:<9} {where:<24} {unit.state:<8} {unit.step}/{unit.steps}{loss}")
    if store.results(run_id)[0]:
        _report(run_id, None)


def _run_data(store: Any, run: Any) -> dict[str, Any]:
    """A run as plain data for --json."""
    from dataclasses import asdict

    from fda.runs.table import comparison

    data = asdict(run) | {"spec": run.spec.model_dump(mode="json"), "path": str(store.run_dir(run.run_id))}
    data["units"] = [asdict(unit) for unit in store.units(run.run_id)]
    data["comparison"] = comparison(run.spec.zoo.name, run.spec.tasks, *store.results(run.run_id))
    return data


@runs_app.command("stop")
def runs_stop(run_id: str) -> None:
    """Stop a run; what is finished stays, and it can be resumed."""
    from fda.runs.jobs import stop_and_wait

    print(stop_and_wait(_store(), run_id))


@runs_app.command("resume")
def runs_resume(run_id: str) -> None:
    """Go on with a stopped, crashed or failed run from its finished units."""
    from fda.runs.jobs import reopen

    store = _store()
    reopen(store, run_id)
    _carry_out(run_id)
    if store.run(run_id).spec.methods:
        _report(run_id, None)


@runs_app.command("delete")
def runs_delete(run_id: str) -> None:
    """Delete a run with its files."""
    _store().delete_run(run_id)
    print(f"deleted {run_id}")
