"""The command line: error handling, and the commands that launch no run.

Names, options and exit codes (0 done, 1 the run failed, 2 the request was wrong) are a contract. `fda.cli.start` has the
commands that launch runs.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fda.cli import ablate as cli_ablate
from fda.cli import analyse as cli_analyse
from fda.cli import audit as cli_audit
from fda.cli import backup as cli_backup
from fda.cli import bench as cli_bench
from fda.cli import doctor as cli_doctor
from fda.cli import estimate as cli_estimate
from fda.cli import export as cli_export
from fda.cli import finetune as cli_finetune
from fda.cli import import_anchors as cli_import
from fda.cli import lm_eval as cli_lm_eval
from fda.cli import mix as cli_mix
from fda.cli import record as cli_record
from fda.cli import start
from fda.cli.runs import runs_app
from fda.cli.start import SeedOption
from fda.errors import UserError, readable
from fda.interpreter import begin

if TYPE_CHECKING:
    from fda.merging.method import Hyperparameter, Method

# typer bundles click and does not export the base class of its usage errors
USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
zoo_app = typer.Typer(help="List, show, check and build zoos.")
app.add_typer(zoo_app, name="zoo")
for command in (start.construct, start.compare, start.demo, start.landscape):
    app.command()(command)
app.command()(cli_ablate.ablate)
for command in (cli_finetune.finetune, cli_finetune.recipe):
    zoo_app.command()(command)
app.command()(cli_analyse.analyse)
app.command()(cli_audit.audit)
app.command("lm-eval")(cli_lm_eval.lm_eval)
app.command()(cli_export.export)
app.command()(cli_mix.mix)
app.command()(cli_record.record)
app.command()(cli_doctor.doctor)
app.command()(cli_backup.backup)
app.command()(cli_estimate.estimate)
app.command("import")(cli_import.import_anchors)
app.add_typer(runs_app, name="runs")
app.add_typer(cli_bench.bench_app, name="bench")

NEEDS = {
    "nothing": "the checkpoints alone",
    "inputs": "inputs of the {} split, without labels",
    "labels": "inputs of the {} split, with labels",
    "anchors": "anchors",
}


@app.callback()
def about() -> None:
    """Functional dual anchors: construct them, merge with them, look inside them."""


def main() -> None:
    """Run the command line; UserError and usage errors become one line on stderr and exit code 2."""
    begin()
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        code = _complain(str(error))
    except USAGE_ERROR as error:
        code = _complain(f"{error.format_message().rstrip('.')}: `python -m fda --help` lists the options.")
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
    print(f"fda: {readable(sentence)}", file=sys.stderr)
    return 2


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="a file or folder of weights, in any supported format")],
    target: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
    base: Annotated[Path | None, typer.Option(help="the base that a LoRA adapter was trained on")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an existing file")] = False,
) -> None:
    """Convert pickled checkpoints and heads, shards or adapters to one safetensors file. Runs no pickled code."""
    from fda.checkpoints.readers.convert import convert_to_safetensors
    from fda.checkpoints.readers.open import open_weights
    from fda.zoos.kinds import renamings

    over = {} if base is None else {"base": open_weights(base), "rename": renamings(base)}
    made = convert_to_safetensors(source, target, **over, overwrite=overwrite)
    print(f"{made.path}: {made.tensors} tensors, {made.bytes / 2**20:.1f} MiB, from a {made.what}")


@app.command("report")
def report_run(
    run_id: Annotated[str, typer.Argument(help="a run, as `python -m fda runs list` names it")],
    out: Annotated[Path, typer.Option(help="the .html file to write")],
    dark: Annotated[bool, typer.Option("--dark", help="in the dark theme")] = False,
) -> None:
    """Write a run as one HTML file for offline reading: scores, figures, numbers, settings, how to repeat it."""
    from fda.cli.output import require_folder, write_whole
    from fda.report.run_report import run_report
    from fda.store.store import Store

    require_folder(out)
    store = Store()
    write_whole(out, run_report(store, store.run(run_id), "dark" if dark else "light"))
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


# zoos ------------------------------------------------------------------------------------------------------------------


@zoo_app.command("list")
def zoo_list() -> None:
    """List the shipped zoos, then those in FDA_HOME/zoos; for a file that cannot be read, say what is wrong."""
    from fda.zoos.zoo import list_zoos, listed_zoos

    shipped = list_zoos()
    for name, zoo in listed_zoos().items():
        mark = "" if name in shipped else " (mine)"
        if isinstance(zoo, UserError):
            print(f"{name}{mark}: cannot be read: {zoo}")
        else:
            print(
                f"{name}{mark}: {readable(zoo.description or '')} ({len(zoo.tasks)} tasks: {', '.join(zoo.task_names)})"
            )


@zoo_app.command("show")
def zoo_show(
    zoo: str,
    interference: Annotated[
        bool, typer.Option("--interference", help="also how the task vectors interfere and what their sum counts twice")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False,
) -> None:
    """Show a zoo: blocks, sizes, task-vector norms and cosines."""
    from fda.figures.checkpoints import TREATMENTS, treatment_of
    from fda.report.analyses import panel_text
    from fda.stages.zoo_analyses import zoo_tables
    from fda.store.analyses import content_of
    from fda.zoos.survey import survey
    from fda.zoos.zoo import load_zoo, zoo_path

    zoo_data = survey(load_zoo(zoo), str(zoo_path(zoo)))
    tables = zoo_tables(load_zoo(zoo)) if interference else {}
    if as_json:
        print(json.dumps(zoo_data | {panel: content_of(table) for panel, table in tables.items()}))
        return
    print(f"{zoo_data['name']}: {zoo_data['description'] or ''}")
    print(f"base: {zoo_data['base']['model']} ({zoo_data['base']['parameters']:,} parameters, {zoo_data['layout']})")
    print(
        f"blocks: {len(zoo_data['blocks'])} of {len(zoo_data['blocks'][0]['tensors'])} tensors, width {zoo_data['width']}, "
        f"{zoo_data['tokens']} tokens" + (f" ({zoo_data['token_source']})" if zoo_data["token_source"] else "")
    )
    for note in zoo_data["notes"]:
        print(f"note: {note}", file=sys.stderr)
    kinds = Counter(treatment_of(tensor) for tensor in zoo_data["treatments"])
    print(f"tensors: {', '.join(f'{kinds[kind]} {kind}' for kind in TREATMENTS if kinds[kind])}")
    for task in zoo_data["tasks"]:
        norms = "  ".join(f"{norm:.3f}" for norm in task["norms"])
        print(f"  {task['name']:<12} {task['classes'] or '?':>4} classes   task-vector norm by block: {norms}")
    print("cosine between task vectors:")
    for name, row in zip(zoo_data["cosines"]["tasks"], zoo_data["cosines"]["all"], strict=True):
        print(f"  {name:<12} " + " ".join(f"{value:6.3f}" for value in row))
    for panel, table in tables.items():
        print(panel_text(panel, table))


@zoo_app.command("check")
def zoo_check(
    zoo: str,
    headers: Annotated[
        bool, typer.Option("--headers", help="read configs and headers only; download neither weights nor data")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --headers: print the findings as JSON")] = False,
) -> None:
    """Check that a zoo's files fit together: first their headers, then, after downloading, a batch of each task."""
    from fda.stages.check import preview_zoo, print_preview, try_out
    from fda.zoos.zoo import load_zoo

    if as_json and not headers:
        raise UserError("--json prints what --headers finds: add --headers, or leave --json out.")
    loaded = load_zoo(zoo)
    outlook = preview_zoo(loaded)
    if as_json:
        print(outlook.model_dump_json())
        return
    if headers or outlook.download_bytes:
        print_preview(outlook)
    if outlook.problems:
        raise UserError(outlook.problems[0])
    if not headers:
        try_out(loaded)


@zoo_app.command("build-demo")
def zoo_build_demo(
    out: Annotated[Path | None, typer.Option(help="folder to write; default: the embedded zoo's")] = None,
    seed: SeedOption = 0,
) -> None:
    """Rebuild the demo zoo from its real images (about five minutes on 2 cores)."""
    from fda.demo import build

    if out is None:
        build(seed=seed)
    else:
        build(out, seed, zoo_file=out / "zoo.yaml")


# methods -------------------------------------------------------------------------------------------------------------


@app.command("methods")
def methods_list(
    name: Annotated[str | None, typer.Argument(help="one method, with every hyperparameter")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON")] = False,
) -> None:
    """List the merging methods: what they need, their ideas and hyperparameters."""
    from fda.merging.method import SWEPT
    from fda.merging.registry import METHODS, MODIFIERS, method

    plain = [one for one in METHODS.values() if not one.swept]
    if name is not None:
        one = METHODS[method(name).name.removesuffix(SWEPT)]
        print(json.dumps(_method_data(one)) if as_json else _method_text(one))
    elif as_json:
        print(json.dumps([_method_data(one) for one in plain]))
    else:
        wide, reads = max(len(one.name) for one in plain), max(len(_needs(one)) for one in plain)
        for one in plain:
            print(f"{one.name:<{wide}}  {_needs(one):<{reads}}  {one.idea}")
        print("\nmodifiers, on top of any method that needs nothing, such as larv:tsv or fda:larv:tsv:")
        for modifier in MODIFIERS.values():
            print(f"{modifier.name + ':':<{wide}}  {'':<{reads}}  {modifier.idea}")


def _needs(one: "Method") -> str:
    return NEEDS[one.needs].format(one.split)


def _method_data(one: "Method") -> dict[str, Any]:
    """A method as plain data; `sweep` is empty for hyperparameters that no sweep chooses."""
    from dataclasses import asdict

    hypers = [asdict(hyper) | {"type": hyper.type.__name__} for hyper in one.hyperparameters]
    fields = ("name", "title", "idea", "paper", "year", "needs", "start")
    return {field: getattr(one, field) for field in fields} | {
        "split": one.split if one.needs in ("inputs", "labels") else None,
        "hyperparameters": hypers,
    }


def _method_text(one: "Method") -> str:
    lines = [f"{one.name}: {one.title}{f' ({one.paper}, {one.year})' if one.paper else ''}", one.idea]
    lines.append(f"needs: {_needs(one)}" + (f"; starts from: {one.start}" if one.start else ""))
    for hyper in one.hyperparameters:
        lines += ["", *_hyper_lines(one, hyper)]
    return "\n".join(lines if one.hyperparameters else [*lines, "no hyperparameters"])


def _hyper_lines(one: "Method", hyper: "Hyperparameter") -> list[str]:
    from fda.merging.method import SWEPT

    bounds = [f"{word} {value:g}" for word, value in (("from", hyper.low), ("to", hyper.high)) if value is not None]
    default = f"{hyper.default:g}" if isinstance(hyper.default, float) else str(hyper.default) or "none"
    lines = [
        f"--set {one.name}.{hyper.name}=…  {' '.join([hyper.type.__name__, *bounds])}, default {default}",
        f"  {hyper.help}",
    ]
    if hyper.source:
        lines.append(f"  source: {hyper.source}")
    if hyper.sweep:
        values = ", ".join(f"{value:g}" for value in hyper.sweep)
        lines.append(f"  {one.name}{SWEPT} chooses it on the validation split among {values}")
    return lines
