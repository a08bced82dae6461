"""Commands that start a run: construct, compare, demo and landscape.

Options come from the settings' models and the registry; `fda.requests.runs` checks requests.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from fda.cli.carry_out import open_store, report_comparison, run_request
from fda.cli.output import require_folder
from fda.settings import ConstructSettings

ZooOption = Annotated[str, typer.Option("--zoo", help="a shipped zoo's name, or the path of a zoo file")]
TasksOption = Annotated[str | None, typer.Option(help="tasks, separated by commas; default: all")]
BlocksOption = Annotated[str | None, typer.Option(help="block numbers from 0, separated by commas; default: all")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps")]


def _writable(json_file: Path | None) -> Path | None:
    require_folder(json_file)
    return json_file


JsonOption = Annotated[Path | None, typer.Option("--json", callback=_writable, help="write the rows to this file")]
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
    typer.Option(
        "--adapt", metavar="NAME=VALUE", help="an adaptation setting, such as distance=mse, or preset=best; any number"
    ),
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
    engine: Annotated[str, typer.Option(help="local: on this machine; ray: on the nodes of a Ray cluster")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="of the Ray cluster, as auto or HOST:PORT; default: RAY_ADDRESS, else this machine alone"),
    ] = None,
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
        address=address,
        seed=seed,
    )
    run_id = run_request(spec, fresh)
    print(f"anchors: {open_store().run_dir(run_id) / 'anchors'}")


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

    loaded = load_zoo(zoo)
    chosen = known_tasks(loaded, split_list(tasks) or (open_store().run(anchors).spec.tasks if anchors else ()))
    adapted = split_blocks(blocks)
    if anchors:
        adapted = anchored_blocks(open_store(), anchors, chosen, adapted)
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
    report_comparison(run_request(spec, fresh), json_file)


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
    report_comparison(run_request(spec, fresh), json_file)


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
        open_store(),
        run_id,
        device=device,
        points=points,
        samples=samples,
        directions=directions,
        split=split,
        snapshots=snapshots,
    )
    report_landscape(run_request(spec, fresh))
