"""`python -m fda estimate`: predict a run's time, memory and disk before it is launched."""

import json
from typing import Annotated, Any

import typer

from fda.cli.start import (
    AdaptOption,
    BlocksOption,
    DeviceOption,
    JsonOption,
    SetOption,
    SweepOption,
    TasksOption,
    ZooOption,
    with_construct_options,
)
from fda.errors import UserError


@with_construct_options
def estimate(
    zoo: ZooOption,
    tasks: TasksOption = None,
    blocks: BlocksOption = None,
    preset: Annotated[str, typer.Option(help="paper or fast")] = "fast",
    methods: Annotated[
        str | None, typer.Option(help="methods to compare afterwards, as for `compare`; default: none")
    ] = None,
    sweep: SweepOption = False,
    method_settings: SetOption = None,
    adapt: AdaptOption = None,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
    **settings: Any,
) -> None:
    """Predict time, memory and disk of a construct run from a few seconds of its work on this device."""
    from dataclasses import asdict

    from fda.cli.output import write_whole
    from fda.requests.cost import PARTS, predict
    from fda.requests.hyperparameters import read_assignments
    from fda.requests.runs import (
        choose_methods,
        construct_settings,
        known_tasks,
        make_spec,
        read_adaptation,
        split_blocks,
        split_list,
    )
    from fda.requests.unread import require_readers
    from fda.stages.calibrate import calibrate
    from fda.zoos.zoo import load_zoo

    loaded = load_zoo(zoo)
    chosen = known_tasks(loaded, split_list(tasks))
    words, adaptation = split_list(methods), read_adaptation(adapt or ())
    if sweep and not words:
        raise UserError("--sweep needs methods: name some with --methods, or leave it out.")
    spec = make_spec(
        zoo,
        tasks=chosen,
        blocks=split_blocks(blocks),
        construct=construct_settings(preset, family=loaded.family, **settings),
        methods=choose_methods(loaded, chosen, words, anchors=True, sweep=sweep) if words else (),
        hyperparameters=read_assignments(method_settings or ()),
        adaptation=adaptation,
        device=device,
    )
    require_readers(spec, adaptation)
    prediction = predict(spec, calibrate(spec))
    for stage, seconds in prediction.stages.items():
        print(f"{PARTS[stage]:<20} {seconds:>9.1f} s")
    print(f"{'in all':<20} {prediction.seconds:>9.1f} s")
    print(f"{'memory':<20} {prediction.memory_bytes / 2**20:>9.0f} MiB")
    print(f"{'disk':<20} {prediction.disk_bytes / 2**20:>9.0f} MiB")
    if prediction.uncounted:
        print(f"not counted: merging by {', '.join(prediction.uncounted)}")
    if json_file is not None:
        write_whole(json_file, json.dumps(asdict(prediction) | {"seconds": prediction.seconds}, indent=2))
