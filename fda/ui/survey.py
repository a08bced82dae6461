"""What is in a zoo's checkpoints, asked of `python -m fda zoo show ZOO --json`: torch stays out of the server."""

import json
import os
import subprocess
import sys
from typing import Any

import streamlit as st

from fda.errors import UserError
from fda.home import REPO, model_roots
from fda.models.hub import missing_models
from fda.models.stamps import Stamps, stamps
from fda.models.zoo import Zoo, load_zoo, zoo_path

SECONDS = 600  # a survey reads every tensor once: seconds for the demo zoo, minutes for large models


def survey(reference: str) -> dict[str, Any]:
    """The survey of a zoo (a shipped name or a path below the model roots), kept until one of its files changes.

    UserError if the zoo cannot be read or its checkpoints do not fit together.
    """
    zoo = read_zoo(reference)
    path = zoo_path(reference)
    return _survey(str(path), stamps(path, zoo))


def read_zoo(reference: str) -> Zoo:
    """The zoo file alone, validated. UserError as `load_zoo`, or if models are still on the hub: a page downloads nothing."""
    zoo = load_zoo(reference, roots=model_roots())
    if missing := missing_models(zoo):
        raise UserError(
            f"zoo {zoo.name}: {len(missing)} of its models are on the hub and not on this machine yet ({missing[0]} …): "
            f"run `python -m fda zoo check {reference}` once, which downloads them."
        )
    return zoo


@st.cache_data(max_entries=16, show_spinner=False)
def _survey(path: str, files: Stamps) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(REPO), os.environ.get("PYTHONPATH"))))}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fda", "zoo", "show", path, "--json"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{path} was not surveyed within {SECONDS // 60} min: run `python -m fda zoo show` on it instead."
        ) from None
    if done.returncode != 0:
        raise UserError(_told(done.stderr, done.returncode, path))
    return json.loads(done.stdout.strip().splitlines()[-1])


def _told(stderr: str, code: int, path: str) -> str:
    """The sentence of exit code 2; anything else is a fault of the program, said without its traceback."""
    lines = [line for line in stderr.splitlines() if line.startswith("fda: ")]
    if code == 2 and lines:
        return lines[-1].removeprefix("fda: ")
    return f"{path} could not be surveyed (exit code {code}): run `python -m fda zoo show` on it to see why."
