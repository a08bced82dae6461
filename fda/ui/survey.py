"""What is in a zoo's checkpoints, asked of `python -m fda zoo show ZOO --json`: torch stays out of the server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import streamlit as st

from fda.errors import UserError
from fda.home import REPO, model_roots
from fda.models.hub import missing_models
from fda.models.zoo import Zoo, load_zoo, zoo_path

SECONDS = 600  # a survey reads every tensor once: seconds for the demo zoo, minutes for large models


def survey(reference: str) -> dict[str, Any]:
    """The survey of a zoo (a shipped name or a path below the model roots), kept until one of its files changes.

    UserError if the zoo cannot be read or its checkpoints do not fit together.
    """
    zoo = read_zoo(reference)
    path = zoo_path(reference)
    return _survey(str(path), _stamps(path, zoo))


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
def _survey(path: str, stamps: tuple[tuple[str, int, int], ...]) -> dict[str, Any]:
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


def _stamps(path: Path, zoo: Zoo) -> tuple[tuple[str, int, int], ...]:
    """(file, size, time of change) of everything the survey reads."""
    places = [path, Path(zoo.base.model), *(Path(task.model) for task in zoo.tasks)]
    places += [Path(task.head) for task in zoo.tasks if isinstance(task.head, str)]
    stamps = []
    for place in filter(Path.exists, places):  # a hub id is no place here
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            found = file.stat()
            stamps.append((str(file), found.st_size, found.st_mtime_ns))
    return tuple(stamps)
