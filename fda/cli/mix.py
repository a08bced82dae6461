"""`python -m fda mix`: make the model of a recipe, as a file, or as a row of a comparison."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fda.cli.carry_out import open_store, report_comparison, run_request
from fda.cli.output import require_folder
from fda.cli.start import DeviceOption, FreshOption, JsonOption, ZooOption
from fda.errors import UserError

if TYPE_CHECKING:
    from fda.requests.recipe import Recipe
    from fda.zoos.zoo import Zoo


def mix(
    zoo: ZooOption,
    recipe: Annotated[Path, typer.Option(help="the recipe, a YAML file; the page Mixer writes them")],
    out: Annotated[Path | None, typer.Option(help="the .safetensors file to write")] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="NAME", help="score it on the test split, as the method mix:NAME of a run")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="with --keep: methods to compare it with, separated by commas")
    ] = None,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    json_file: JsonOption = None,
) -> None:
    """Merge by a recipe: each block takes the method that the recipe names."""
    from fda.requests.mixes import mix_spec
    from fda.requests.recipe import formula, read_recipe
    from fda.requests.runs import split_list
    from fda.zoos.zoo import load_zoo

    if out is None and keep is None:
        raise UserError(
            "there is nothing to do: write the model with --out FILE.safetensors, or score it with --keep NAME."
        )
    for option, given in (("--methods", methods), ("--fresh", fresh), ("--json", json_file)):
        if given and keep is None:
            raise UserError(f"{option} belongs to a comparison: add --keep NAME, or leave it out.")
    loaded = load_zoo(zoo)
    read = read_recipe(recipe, loaded)
    spec = None if keep is None else mix_spec(zoo, read, keep, methods=split_list(methods), device=device)
    print(formula(read, loaded))
    if out is not None:
        _write(read, loaded, out)
    if spec is not None:
        report_comparison(run_request(spec, fresh), json_file)


def _write(recipe: "Recipe", zoo: "Zoo", out: Path) -> None:
    import torch

    from fda.home import open_to_others
    from fda.stages.mix import mix_to_file
    from fda.zoos.finite import require_finite
    from fda.zoos.survey import open_zoo

    require_folder(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out} has another suffix: give a .safetensors file.")
    torch.set_num_threads(1)  # as in a comparison and in the mixer, so that the bytes are the same
    opened = open_zoo(zoo)
    require_finite(opened)
    mix_to_file(recipe, opened, open_store(), out)
    open_to_others(out)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
