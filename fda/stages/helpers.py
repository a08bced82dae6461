"""Carry out a helper run, inside its worker.

What reads strangers' files, or is to be measured like a fresh process, is done by a child whose time and memory are limited
(`helper_child.py`); this process watches it and needs no torch.
"""

import json
import sys
from pathlib import Path
from typing import Any

from fda.atomic import write_text
from fda.cancel import Cancel
from fda.children import Limits, run_child
from fda.errors import UserError
from fda.requests.helper_runs import result_file
from fda.store.spec import AnalysisSettings, ExamplesSettings, ExportSettings, RunSpec
from fda.store.store import Store
from fda.zoos.stamps import stamps

READING_SECONDS = 600  # a survey reads every tensor once: seconds for the demo zoo, minutes for large models
MEASURING_SECONDS = 900
# Python with torch and transformers takes 1 GiB. Of the files, one tensor of each is read at a time, into numbers of 8 bytes
# where the files may have 2, and then into a copy.
LEAST_MEMORY, TIMES_THE_FILES = 3 * 2**30, 8
DECOMPOSING_SECONDS = 7200  # singular vectors of every matrix: minutes for ViT-L, hours for language models
# `python -m fda …` does the same in the foreground
COMMANDS = {"survey": "zoo show", "preview": "zoo check", "analysis": "zoo show --interference"}


def execute(store: Store, run_id: str, cancel: Cancel) -> None:
    """Do what the run's spec asks. Cancelled soon after `cancel` asks for it; UserError if it cannot be done."""
    spec = store.run(run_id).spec
    if isinstance(spec.helper, ExportSettings):
        from fda.stages.export_run import export_of_run

        export_of_run(store, run_id, spec.helper, cancel)
    elif isinstance(spec.helper, ExamplesSettings):
        from fda.stages.examples import examples_of_run

        examples_of_run(store, spec.helper.run_id, cancel)
    elif isinstance(spec.helper, AnalysisSettings) and spec.helper.run_id is not None:
        from fda.stages.analyses import analyse_run

        analyse_run(store, spec.helper.run_id, spec.helper.panels, spec.device, cancel)
    elif spec.kind == "download":
        from fda.stages.download import download

        download(store, run_id, spec.zoo, cancel)
    elif spec.kind == "estimate":
        answer_of(spec, Limits(MEASURING_SECONDS), "this device", "start the run instead", cancel)
    else:
        answer = answer_of(spec, reading_limits(spec), spec.zoo_path, f"run {_command(spec)} to see why", cancel)
        write_text(result_file(store.run_dir(run_id)), json.dumps(answer))


def reading_limits(spec: RunSpec) -> Limits:
    """What reading the zoo's files may take."""
    sizes = sum(size for _, size, _ in stamps(Path(spec.zoo_path), spec.zoo))
    seconds = DECOMPOSING_SECONDS if spec.kind == "analysis" else READING_SECONDS
    return Limits(seconds, LEAST_MEMORY + TIMES_THE_FILES * sizes)


def answer_of(spec: RunSpec, limits: Limits, what: str, instead: str, cancel: Cancel) -> dict[str, Any] | None:
    """What the child answers. UserError with its problem, if it passes a limit, and if it ends without an answer."""

    words = ("-m", "fda.stages.helper_child")
    done = run_child(words, limits, what=what, instead=instead, text=spec.model_dump_json(), cancel=cancel)
    sys.stderr.write(done.stderr)  # into the run's log
    if done.returncode != 0:
        raise UserError(f"{what} could not be read (exit code {done.returncode}): {instead}.")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "problem" in answer:
        raise UserError(answer["problem"])
    return answer["result"]


def _command(spec: RunSpec) -> str:
    return f"`python -m fda {COMMANDS[spec.kind]} {spec.zoo_path}`"
