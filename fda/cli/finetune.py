"""`python -m fda zoo finetune` and `zoo recipe`: make a zoo from a base and data."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fda.cli.start import DeviceOption
from fda.home import open_to_others

if TYPE_CHECKING:
    from fda.tasks.training import Epoch


def finetune(
    zoo: Annotated[str, typer.Argument(help="a zoo file whose tasks have data and no model yet")],
    tasks: Annotated[
        str | None, typer.Option(help="these tasks only, comma-separated; default: all without a model")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder of the finetuned models; default: `models` beside the zoo file")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Finetune a zoo's base on each task and fill the zoo file in. Settings: the field `finetune` of the zoo or of a task."""
    from fda.requests.runs import split_list
    from fda.stages.execute import resolve_device
    from fda.stages.finetune import finetune_zoo

    for done in finetune_zoo(zoo, tasks=split_list(tasks) or None, out=out, device=resolve_device(device), tell=_tell):
        open_to_others(done.folder)
        print(f"{done.task}: {'was there already' if done.found else 'written'}: {done.folder}")
    print(f"{zoo} is filled in: check it with `python -m fda zoo check {zoo}`")


def _tell(task: str, epochs: int, epoch: "Epoch") -> None:
    """Print an epoch on stderr: a point of the validation curve, and the time left for this task."""
    from fda.report.format import duration
    from fda.tasks.training import epoch_text

    left = epochs - epoch.number if epoch.number else 0
    time = f", about {duration(left * epoch.seconds)} left" if left else ""
    print(f"fda: {task}: {epoch_text(epoch)}{time}", file=sys.stderr, flush=True)


def recipe(
    name: Annotated[str, typer.Argument(help="a recipe; without a folder, what it needs is listed")],
    folder: Annotated[Path | None, typer.Argument(help="the new or empty folder to write")] = None,
) -> None:
    """Gather base and data of a shipped recipe (vision-real, text-real) as a zoo to finetune."""
    from fda.recipes.make import load_recipe, make_recipe

    if folder is None:
        for line in load_recipe(name).lines():
            print(line)
        return
    path = make_recipe(name, folder, tell=lambda line: print(f"fda: {line}", file=sys.stderr, flush=True))
    open_to_others(path.parent)
    print(f"{path}: train it with `python -m fda zoo finetune {path}`")
