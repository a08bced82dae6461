"""`python -m fda import`: import published anchors as a run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fda.cli.carry_out import run_request
from fda.cli.start import BlocksOption, DeviceOption, FreshOption, TasksOption, ZooOption


def import_anchors(
    folder: Annotated[
        Path,
        typer.Argument(
            help="a folder with TASK/dual_anchors_layer_1.npy, …_2.npy, … or TASK/SETTINGS/…, as the authors publish them"
        ),
    ],
    zoo: ZooOption,
    tasks: TasksOption = None,
    blocks: BlocksOption = None,
    init: Annotated[str | None, typer.Option(help="weight or gauss; default: from the folder's name or text")] = None,
    sigma: Annotated[
        float | None, typer.Option(help="scale of init gauss; default: from the folder's name or text")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="steps of construction; default: from the folder's name or text")
    ] = None,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
) -> None:
    """Import published anchors (.npy) as a run and recompute their angle loss."""
    from fda.requests.published import published_spec
    from fda.requests.runs import split_blocks, split_list
    from fda.store.store import Store

    spec = published_spec(
        zoo,
        folder,
        tasks=split_list(tasks),
        blocks=split_blocks(blocks),
        device=device,
        init=init,
        sigma=sigma,
        steps=steps,
    )
    if spec.unknown:
        options = ", ".join(f"--{name}" for name in spec.unknown)
        print(
            f"note: the folder's name does not tell {' and '.join(spec.unknown)}, which are recorded as unknown: say them "
            f"with {options}.",
            file=sys.stderr,
        )
    run_id = run_request(spec, fresh)
    print(f"anchors: {Store().run_dir(run_id) / 'anchors'}")
    print(f"compare: python -m fda compare --zoo {zoo} --anchors {run_id}")
