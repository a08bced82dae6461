"""`python -m fda ablate`: construct anchors with each of the paper's five inits, one run each, and print a table."""

import json
from typing import Annotated, Any

import typer

from fda.cli.carry_out import run_request
from fda.cli.output import write_whole
from fda.cli.start import BlocksOption, DeviceOption, FreshOption, JsonOption, SeedOption, TasksOption, ZooOption
from fda.measures import SUMMARY


def ablate(
    zoo: ZooOption,
    tasks: TasksOption = None,
    blocks: BlocksOption = None,
    preset: Annotated[str, typer.Option(help="paper or fast")] = "fast",
    steps: Annotated[int | None, typer.Option(min=1, help="optimiser steps; default: the preset's")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    json_file: JsonOption = None,
) -> None:
    """Construct anchors with init weight and with init gauss at four σ (the paper's figures 3 and 4)."""
    from fda.requests.ablation import ablation_specs, run_of
    from fda.requests.runs import split_blocks, split_list
    from fda.store.store import Store

    specs = ablation_specs(
        zoo,
        tasks=split_list(tasks),
        blocks=split_blocks(blocks),
        preset=preset,
        steps=steps,
        seed=seed,
        device=device,
    )
    store = Store()
    run_ids = []
    for spec in specs:
        finished = None if fresh else run_of(store.runs(states=("done",)), spec)
        run_ids.append(finished.run_id if finished is not None else run_request(spec, fresh))
    rows = [_row(store, run_id) for run_id in run_ids]
    _print(rows)
    print(f"page: /anchors?run={run_ids[0]}&runs={','.join(run_ids[1:])}")
    if json_file is not None:
        write_whole(json_file, json.dumps({"zoo": specs[0].zoo.name, "rows": rows}, indent=2))


def _row(store: Any, run_id: str) -> dict[str, Any]:
    """A run's init and the mean of every measure over its units, at the first and the last recorded step."""
    settings = store.run(run_id).spec.construction
    gauss = settings.init == "gauss"
    row: dict[str, Any] = {"run": run_id, "init": settings.init, "sigma": settings.sigma if gauss else None}
    for measure in SUMMARY:
        courses = [values for _, values in store.scalars(run_id, measure.key, points=None).values()]
        if courses:
            ends = [sum(values[end] for values in courses) / len(courses) for end in (0, -1)]
            row[measure.key] = {"first": ends[0], "last": ends[1], "units": len(courses)}
    return row


def _print(rows: list[dict[str, Any]]) -> None:
    recorded = [measure for measure in SUMMARY if any(measure.key in row for row in rows)]
    print(f"{'init':<16}" + "".join(f"{measure.label:>24}" for measure in recorded) + "  run")
    for row in rows:
        name = "weight" if row["sigma"] is None else f"gauss σ {row['sigma']:g}"
        cells = (_cell(row[one.key]) if one.key in row else "–" for one in recorded)
        print(f"{name:<16}" + "".join(f"{cell:>24}" for cell in cells) + f"  {row['run']}")
    print("means over tasks and blocks, first → last step")


def _cell(means: dict[str, float]) -> str:
    return f"{means['first']:.4g} → {means['last']:.4g}"
