"""Answers that were computed once are kept in FDA_HOME, by everything that they depend on, and never computed again.

So a resumed run goes on where it was, and a model that two runs share (the pretrained, the individual ones) is scored once.
Of a split that is not answered whole, the answers so far lie in a folder of parts, a file a part.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fda.architectures.model import Model
from fda.checkpoints.weights import Weights
from fda.home import fda_home
from fda.store.predictions import read_answers, write_answers
from fda.tasks.answers import Answers
from fda.tasks.data import Split
from fda.tasks.heads import TaskHead
from fda.tasks.metrics import metric_name
from fda.zoos.zoo import TaskData

NAME = "answers"


def answers_file(
    model: Model, weights: Weights | Mapping[str, Tensor], head: TaskHead, split: Split, data: TaskData, device: str
) -> Path | None:
    """Where these answers are kept; None for weights that have no fingerprint, being in no file."""
    if not isinstance(weights, Weights):
        return None
    parts = (
        model.kind,
        model.identity,
        split.transform.identity,
        weights.fingerprint,
        head.fingerprint,
        split.fingerprint,
        str((split.label, split.names, split.classes)),  # what a label's number means
        metric_name(data, causal=head.causal),
        device.split(":")[0],
    )
    named = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return fda_home() / "cache" / "answers" / f"{named}.safetensors"


def read_kept(path: Path | None) -> Answers | None:
    return None if path is None else read_answers(path).get(NAME)


def keep(path: Path | None, answers: Answers) -> None:
    if path is not None:
        write_answers(path, {NAME: answers})


def part_file(path: Path | None, start: int) -> Path | None:
    """Where the part that begins with this sample of the split is kept until all of it is."""
    return None if path is None else path.with_suffix(".parts") / f"{start}.safetensors"


def keep_whole(path: Path | None, answers: Answers) -> None:
    """Keep the answers of a whole split, in place of its parts."""
    keep(path, answers)
    if path is not None:
        shutil.rmtree(path.with_suffix(".parts"), ignore_errors=True)
