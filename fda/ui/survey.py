"""What is in a zoo's checkpoints, asked of `python -m fda zoo show|check ZOO --json`: torch stays out of the server."""

import json
from typing import Any

import streamlit as st

from fda.children import Limits, run_child
from fda.errors import UserError
from fda.home import model_roots
from fda.zoos.hub import missing_models
from fda.zoos.stamps import Stamps, stamps
from fda.zoos.zoo import Zoo, load_zoo, zoo_path

SECONDS = 600  # a survey reads every tensor once: seconds for the demo zoo, minutes for large models
# Python with torch and transformers takes 1 GiB. Of the files, one tensor of each is read at a time, into numbers of 8 bytes
# where the files may have 2, and then into a copy.
LEAST_MEMORY, TIMES_THE_FILES = 3 * 2**30, 8
KEPT_SECONDS = 300  # what the hub said may have changed since


def survey(reference: str) -> dict[str, Any]:
    """The survey of a zoo (a shipped name or a path below the model roots), kept until one of its files changes.

    UserError if the zoo cannot be read or its checkpoints do not fit together.
    """
    zoo = read_zoo(reference)
    path = zoo_path(reference)
    return _survey(str(path), stamps(path, zoo))


def preview(reference: str) -> dict[str, Any]:
    """What headers and configs alone tell of a zoo, hub ids included (`fda.requests.preview.Preview`); downloads no weights.

    UserError if the base cannot be seen; other problems are in it.
    """
    zoo = load_zoo(reference, roots=model_roots())
    path = zoo_path(reference)
    return _preview(str(path), stamps(path, zoo), tuple(missing_models(zoo)))


def read_zoo(reference: str) -> Zoo:
    """The zoo file alone, validated. UserError as `load_zoo`, or if models are still on the hub."""
    zoo = load_zoo(reference, roots=model_roots())
    if missing := missing_models(zoo):
        raise UserError(
            f"zoo {zoo.name}: {len(missing)} of its models are on the hub and not on this machine yet ({missing[0]} …): "
            f"download them on the page Checkpoints, or run `python -m fda zoo check {reference}` once."
        )
    return zoo


@st.cache_data(max_entries=16, show_spinner=False)
def _survey(path: str, files: Stamps) -> dict[str, Any]:
    return _asked("show", path, files, "--json")


@st.cache_data(max_entries=16, ttl=KEPT_SECONDS, show_spinner=False)
def _preview(path: str, files: Stamps, missing: tuple[str, ...]) -> dict[str, Any]:
    return _asked("check", path, files, "--headers", "--json")


def _asked(command: str, path: str, files: Stamps, *options: str) -> dict[str, Any]:
    words = ("-m", "fda", "zoo", command, path, *options)
    limits = Limits(SECONDS, LEAST_MEMORY + TIMES_THE_FILES * sum(size for _, size, _ in files))
    done = run_child(words, limits, what=path, instead=f"run `python -m fda zoo {command}` on it to see why")
    if done.returncode != 0:
        raise UserError(_told(done.stderr, done.returncode, command, path))
    return json.loads(done.stdout.strip().splitlines()[-1])


def _told(stderr: str, code: int, command: str, path: str) -> str:
    """The sentence of exit code 2; anything else is a fault of the program, said without its traceback."""
    lines = [line for line in stderr.splitlines() if line.startswith("fda: ")]
    if code == 2 and lines:
        return lines[-1].removeprefix("fda: ")
    return f"{path} could not be read (exit code {code}): run `python -m fda zoo {command}` on it to see why."
