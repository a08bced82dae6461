"""`python -m fda lm-eval`: an exported language model on tasks of lm-evaluation-harness."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fda.cli.start import JsonOption


def lm_eval(
    folder: Annotated[Path, typer.Argument(help="a language model's folder, as `python -m fda export` writes it")],
    tasks: Annotated[str, typer.Option(help="the harness's names, separated by commas, such as gsm8k,arc_easy")],
    task_files: Annotated[Path | None, typer.Option(help="a folder with tasks of your own, as YAML files")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="only the first of each task; default: all")] = None,
    batch: Annotated[int, typer.Option(min=1, help="samples a batch")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps")] = "auto",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="run code of tasks and hub metrics, and programs that the model writes")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Score an exported language model on tasks of lm-evaluation-harness, which is installed apart."""
    from fda.cli.output import write_whole
    from fda.errors import readable
    from fda.requests.runs import split_list
    from fda.stages.execute import resolve_device
    from fda.tasks.harness import harness_scores

    scores = harness_scores(
        folder,
        split_list(tasks),
        task_files=task_files,
        samples=samples,
        batch=batch,
        device=resolve_device(device),
        allow_code=allow_code,
    )
    for score in scores:
        spread = "" if score.error is None else f" ± {score.error:.4f}"
        print(readable(f"{score.task}  {score.metric}: {score.value:.4f}{spread} on {score.samples:,} samples"))
    if json_file is not None:
        write_whole(json_file, json.dumps([asdict(score) for score in scores]))
