"""`python -m fda bench …`: measure side by side, print a table (`bench_tables.py`), write everything as JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fda.cli import bench_tables as tables
from fda.cli.output import write_whole
from fda.cli.start import AdaptOption, DeviceOption, JsonOption, TasksOption
from fda.errors import UserError

if TYPE_CHECKING:
    from fda.store.bench_results import Kind

bench_app = typer.Typer(help="Measure our implementations against plain ones, side by side, as ratios.")


@bench_app.command()
def construct(
    sizes: Annotated[
        str, typer.Option("--size", help="demo, dinov2-small, vit-b-32, roberta-base, llama-mlp; separated by commas")
    ] = "demo",
    device: DeviceOption = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="threads of a CPU; default: torch's")] = None,
    budget: Annotated[
        float, typer.Option(min=1, help="seconds for the reference loop; the rest is extrapolated")
    ] = 120.0,
    steps: Annotated[int | None, typer.Option(min=1, help="steps of the reference loop; default: the paper's")] = None,
    paths: Annotated[
        str,
        typer.Option(
            help="our paths, separated by commas: plain, compiled, bfloat16, forward (gradient by forward-mode differentiation)"
        ),
    ] = "plain,compiled,bfloat16",
    together: Annotated[
        int, typer.Option(min=1, max=64, help="also measure compiled paths with this many units in one batch")
    ] = 1,
    json_file: JsonOption = None,
) -> None:
    """Measure how soon our paths reach the final loss of the paper's loop on the same unit.

    Ratios: for one unit, with compile time; and for 96 such units (eight tasks, twelve blocks), which compile once.
    """
    from fda.bench.construct import BATCHED, PATHS, bench_construct
    from fda.bench.units import UNITS
    from fda.requests.runs import split_list
    from fda.stages.execute import resolve_device

    for name in split_list(sizes):
        if name not in UNITS:
            raise UserError(f"there is no size {name!r} to measure: choose among {', '.join(UNITS)}.")
    ours = split_list(paths)
    for name in ours:
        if name not in PATHS:
            raise UserError(f"there is no path {name!r} to measure: choose among {', '.join(PATHS)}.")
    if threads is not None and device != "cpu":
        raise UserError("--threads applies to a CPU: add --device cpu, or leave it out.")
    if together > 1 and not set(ours) & set(BATCHED):
        raise UserError(f"--together applies to {' and '.join(BATCHED)}: add one to --paths, or leave it out.")
    results = []
    for name in split_list(sizes):
        results.append(
            bench_construct(
                name,
                device=resolve_device(device),
                threads=threads,
                budget=budget,
                steps=steps,
                paths=ours,
                together=together,
            )
        )
        tables.construct_table(results[-1])
    _keep("construct", results, json_file, device=results[0]["device_name"])


@bench_app.command()
def adapt(
    size: Annotated[str, typer.Option(help="demo, dinov2-small, vit-b-32, roberta-base, llama-mlp")] = "demo",
    tasks: Annotated[int, typer.Option(min=1, max=32, help="tasks whose anchors are pooled")] = 5,
    batch: Annotated[int | None, typer.Option(min=1, help="anchors a step; default: the paper's")] = None,
    epochs: Annotated[int, typer.Option(min=2, help="epochs of each path")] = 6,
    device: DeviceOption = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="threads of a CPU; default: torch's")] = None,
    paths: Annotated[
        str, typer.Option(help="our paths, separated by commas: plain, compiled, bfloat16")
    ] = "plain,compiled",
    json_file: JsonOption = None,
) -> None:
    """Measure adaptation of one block against the paper's loop, from each kind of start; all must end at the same block."""
    from fda.bench.adapt import PATHS, bench_adapt
    from fda.bench.units import UNITS
    from fda.requests.runs import split_list
    from fda.stages.execute import resolve_device

    for kind, names, known in (("size", [size], UNITS), ("path", split_list(paths), PATHS)):
        for name in names:
            if name not in known:
                raise UserError(f"there is no {kind} {name!r} to measure: choose among {', '.join(known)}.")
    result = bench_adapt(
        size,
        tasks=tasks,
        batch=batch,
        epochs=epochs,
        device=resolve_device(device),
        threads=threads,
        paths=split_list(paths),
    )
    _report(result, tables.adapt_table, json_file)


@bench_app.command()
def starts(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    seeds: Annotated[str, typer.Option(help="seeds, separated by commas")] = "0,1,2",
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Compare FDA from every start with the start itself, over seeds, with 95 % intervals."""
    from fda.bench.starts import bench_starts

    result = bench_starts(zoo, seeds=_seeds(seeds), device=device)
    _report(result, tables.starts_table, json_file)


@bench_app.command()
def methods(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    methods: Annotated[
        str, typer.Option(help="methods, separated by commas, or main, data-free or all for such methods that can run")
    ] = "data-free",
    seeds: Annotated[str, typer.Option(help="seeds, separated by commas")] = "0,1,2",
    preset: Annotated[str, typer.Option(help="fast or paper")] = "fast",
    anchors: Annotated[int | None, typer.Option(help="anchors a unit; default: the preset's")] = None,
    steps: Annotated[int | None, typer.Option(help="steps of construction; default: the preset's")] = None,
    adapt: AdaptOption = None,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Score merging methods over seeds: averages with 95 % intervals, the gap to distillation, seconds, peak memory.

    Finished runs of the same request are not carried out again, and unfinished ones go on.
    """
    from fda.bench.methods import bench_methods
    from fda.cli.carry_out import run_request
    from fda.requests.runs import choose_methods, construct_settings, read_adaptation, split_list
    from fda.stages.execute import resolve_device
    from fda.zoos.zoo import load_zoo

    loaded = load_zoo(zoo)
    result = bench_methods(
        zoo,
        methods=choose_methods(loaded, loaded.task_names, split_list(methods), anchors=True),
        construct=construct_settings(preset, family=loaded.family, anchors=anchors, steps=steps),
        carry_out=lambda spec: run_request(spec, fresh=False),
        seeds=_seeds(seeds),
        adaptation=read_adaptation(adapt or ()),
        device=resolve_device(device),
    )
    _report(result, tables.methods_table, json_file)


@bench_app.command()
def observations(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    seeds: Annotated[str, typer.Option(help="seeds, separated by commas")] = "0,1,2",
    preset: Annotated[str, typer.Option(help="fast or paper")] = "fast",
    blocks: Annotated[str | None, typer.Option(help="block numbers, separated by commas; default: all")] = None,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Check the paper's observations (spectrum, similarity, projection energy) with init weight and gauss, over seeds."""
    from fda.bench.observations import bench_observations
    from fda.requests.runs import split_blocks

    result = bench_observations(zoo, seeds=_seeds(seeds), preset=preset, blocks=split_blocks(blocks), device=device)
    _report(result, tables.observations_table, json_file)


@bench_app.command()
def merge(
    methods: Annotated[str, typer.Option(help="methods that read checkpoints only, separated by commas")] = "tsv,iso_c",
    blocks: Annotated[
        int, typer.Option(min=1, max=48, help="blocks of ViT-B/32's size; each takes 284 MB of disk")
    ] = 12,
    tasks: Annotated[int, typer.Option(min=2, max=32, help="finetuned checkpoints")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="measurements of each path, in turn")] = 3,
    threads: Annotated[int | None, typer.Option(min=1, help="threads; default: torch's")] = None,
    json_file: JsonOption = None,
) -> None:
    """Measure SVD-based merging against plain ports of the methods: seconds and peak memory on the same files."""
    from fda.bench.merge import bench_merge
    from fda.merging.registry import method
    from fda.requests.runs import split_list

    names = split_list(methods)
    for name in names:
        one = method(name)
        if one.merge is None or one.needs != "nothing" or one.swept:
            raise UserError(
                f"{name} reads more than checkpoints, so it cannot be measured here: leave it out of --methods."
            )
    result = bench_merge(names, blocks=blocks, tasks=tasks, repeats=repeats, threads=threads)
    tables.merge_table(result)
    _keep("merge", [result], json_file)


@bench_app.command()
def evaluate(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    models: Annotated[int, typer.Option(min=1, max=64, help="merged models to score")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="measurements of each path, in turn")] = 3,
    limit: Annotated[int, typer.Option(min=1, help="MiB of prepared samples that one pass keeps in memory")] = 1024,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Measure scoring merged models in one pass over the data against a plain loop over models; answers must agree."""
    from fda.bench.evaluate import bench_evaluate

    result = bench_evaluate(zoo, models=models, repeats=repeats, device=device, limit=limit * 2**20)
    tables.evaluate_table(result)
    _keep("evaluate", [result], json_file)


@bench_app.command()
def cost(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Compare predicted and actual time and memory of runs with 16 to 64 anchors and 100 to 300 steps."""
    from fda.bench.cost import bench_cost

    result = bench_cost(zoo, device=device)
    _report(result, tables.cost_table, json_file)


@bench_app.command()
def engines(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    tasks: TasksOption = None,
    cores: Annotated[int, typer.Option(min=1, help="cores that each engine may use")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="steps of each unit")] = 60,
    repeats: Annotated[int, typer.Option(min=1, help="measurements of each engine, in turn")] = 2,
    json_file: JsonOption = None,
) -> None:
    """Measure what the engine ray adds to a unit, beside the local engine on the same cores."""
    from fda.bench.engines import bench_engines
    from fda.requests.runs import split_list

    result = bench_engines(zoo, tasks=split_list(tasks), cores=cores, steps=steps, repeats=repeats)
    _report(result, tables.engines_table, json_file)


@bench_app.command()
def page(
    points: Annotated[int, typer.Option(min=20, help="points of the loss curves of the watched run")] = 12_000,
    starts: Annotated[int, typer.Option(min=1, help="cold starts of the server")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="rounds through the pages")] = 3,
    updates: Annotated[int, typer.Option(min=1, help="updates of the run page")] = 10,
    runs: Annotated[int, typer.Option(min=1, help="finished runs in the table on Home")] = 300,
    json_file: JsonOption = None,
) -> None:
    """Measure cold start, page changes, live updates and Home with many runs in a real browser, beside their limits."""
    from fda.bench.page import bench_page

    result = bench_page(points=points, starts=starts, rounds=rounds, updates=updates, runs=runs)
    tables.page_table(result)
    _keep("page", [result], json_file)


@bench_app.command()
def load(
    sessions: Annotated[int, typer.Option(min=1, max=256, help="visitors of one run")] = 20,
    updates: Annotated[int, typer.Option(min=10, help="updates that each of them asks for")] = 100,
    pause: Annotated[
        float, typer.Option(min=0, help="seconds between an answer and the next question; 1 is what pages wait")
    ] = 1.0,
    json_file: JsonOption = None,
) -> None:
    """Measure the server while many visitors watch a run at work: times of updates, and its memory."""
    from fda.bench.load import bench_load

    result = bench_load(sessions=sessions, updates=updates, pause=pause)
    _report(result, tables.load_table, json_file)


@bench_app.command()
def store(
    runs: Annotated[int, typer.Option(min=3, help="finished runs")] = 300,
    scalars: Annotated[int, typer.Option(min=10_000, help="rows of curves, over all runs")] = 10_000_000,
    repeats: Annotated[int, typer.Option(min=1, help="measurements of each read")] = 5,
    json_file: JsonOption = None,
) -> None:
    """Measure what pages read from a store of many months, beside one of three runs, and how long its upkeep takes."""
    from fda.bench.store import bench_store

    result = bench_store(runs=runs, scalars=scalars, repeats=repeats)
    _report(result, tables.store_table, json_file)


@bench_app.command()
def mixer(
    zoo: Annotated[str, typer.Option(help="a zoo's name; large: one of ViT-B/32's size with random weights")] = "demo",
    moves: Annotated[int, typer.Option(min=2, help="moves of a slider")] = 200,
    json_file: JsonOption = None,
) -> None:
    """Measure the page Mixer in a real browser: from a slider's move to the new bars."""
    from fda.bench.mixer import bench_mixer

    result = bench_mixer(zoo, moves=moves)
    print(f"{moves} moves on zoo {zoo}, each on {result['samples']}")
    _report(result, tables.mixer_table, json_file)


@bench_app.command()
def presets(
    zoo: Annotated[str, typer.Option(help="a shipped zoo's name, or the path of a zoo file")] = "demo",
    seeds: Annotated[str, typer.Option(help="seeds, separated by commas")] = "0,1,2",
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Compare preset fast with preset paper: FDA from every start, over seeds, with 95 % intervals."""
    from fda.bench.presets import bench_presets

    result = bench_presets(zoo, seeds=_seeds(seeds), device=device)
    _report(result, tables.presets_table, json_file)


def _report(result: dict[str, Any], table: Callable[[dict[str, Any]], None], json_file: Path | None) -> None:
    """Print the result as a table and write it to the requested file."""
    table(result)
    if json_file is not None:
        write_whole(json_file, json.dumps(result, indent=2))


def _keep(kind: "Kind", results: list[dict[str, Any]], json_file: Path | None, *, device: str | None = None) -> None:
    """Store a result for the page Speed and write it to the requested file."""
    from fda.store.bench_results import keep_result, new_result, to_json

    result = new_result(kind, results, device)
    print(f"kept for the page Speed: {keep_result(result)}")
    if json_file is not None:
        write_whole(json_file, to_json(result))


@bench_app.command()
def language(
    seeds: Annotated[str, typer.Option(help="seeds, separated by commas")] = "0,1,2",
    folder: Annotated[
        Path | None, typer.Option(help="folder of the finetuned models, made if missing; default: FDA_HOME/language")
    ] = None,
    device: DeviceOption = "auto",
    json_file: JsonOption = None,
) -> None:
    """Finetune a pretrained language encoder on three text tasks, merge with every method, score with intervals."""
    from fda.bench.language_zoo import METHODS, prepare_zoo
    from fda.home import fda_home

    zoo = prepare_zoo(fda_home() / "language" if folder is None else folder)
    methods(str(zoo), ",".join(METHODS), seeds, device=device, json_file=json_file)


def _seeds(text: str) -> list[int]:
    from fda.requests.runs import split_list

    parts = split_list(text)
    if not parts or any(not part.isdigit() for part in parts):
        raise UserError(f"--seeds {text}: give whole numbers separated by commas, such as 0,1,2.")
    return [int(part) for part in parts]
