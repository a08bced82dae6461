"""`python -m fda analyse`: the numbers of the view Analyses; computes what the run does not keep yet."""

import json
from typing import Annotated

import typer

from fda.cli.carry_out import carry_out, open_store, shown_store
from fda.cli.start import JsonOption
from fda.errors import UserError


def analyse(
    run_id: Annotated[str, typer.Argument(help="a finished run, as `python -m fda runs list` names it")],
    panels: Annotated[
        str | None, typer.Option(help="which, separated by commas; default: all that fit the run")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0, mps or auto; default: the run's own")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="compute again what the run keeps")] = False,
    json_file: JsonOption = None,
) -> None:
    """Say why merged models score as they do: panels on layers, task vectors and anchors of a finished run."""
    from fda.cli.output import write_whole
    from fda.report.analyses import computed, panel_text
    from fda.requests.analyses import analysis_spec, asked_panels
    from fda.requests.runs import split_list
    from fda.stages.execute import resolve_device
    from fda.store.analyses import Panel, content_of

    run = shown_store().run(run_id)
    asked = asked_panels(run, split_list(panels))
    store = open_store()
    there = {} if fresh else computed(store, run, asked)
    missing: list[Panel] = [panel for panel in asked if panel not in there]
    if missing:
        resolve_device(device or run.spec.device)
        carry_out(store.create_run(analysis_spec(run, missing, device)))
    elif device is not None:
        raise UserError("--device is read only where something is computed: add --fresh, or leave --device out.")
    tables = computed(store, run, asked)
    for panel, table in tables.items():
        print(panel_text(panel, table))
    if json_file is not None:
        write_whole(json_file, json.dumps({panel: content_of(table) for panel, table in tables.items()}))
