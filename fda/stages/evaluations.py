"""A cache of answers in FDA_HOME/cache/answers, keyed by everything that they depend on.

A resumed run continues where it stopped, and models that runs share (pretrained, individual) are scored once. A partly answered
split has a folder of parts, one file each.
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
PARTS = ".by_length"  # of a folder; before texts were scored by length, it was .parts


def answers_file(
    model: Model, weights: Weights | Mapping[str, Tensor], head: TaskHead, split: Split, data: TaskData, device: str
) -> Path | None:
    """The cache file of these answers; None for weights in memory, which have no fingerprint."""
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
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    return fda_home() / "cache" / "answers" / f"{key}.safetensors"


def read_kept(path: Path | None) -> Answers | None:
    """None, too, for class answers without probabilities, which older versions kept: the model answers again."""
    answers = None if path is None else read_answers(path).get(NAME)
    return None if answers is None or (answers.of_classes and answers.top is None) else answers


def keep(path: Path | None, answers: Answers) -> None:
    if path is not None:
        write_answers(path, {NAME: answers})


def part_file(path: Path | None, start: int) -> Path | None:
    """The file of the part that begins after `start` samples, in the order in which they are scored."""
    return None if path is None else path.with_suffix(PARTS) / f"{start}.safetensors"


def keep_whole(path: Path | None, answers: Answers) -> None:
    """Cache the answers of a whole split and delete its parts."""
    keep(path, answers)
    if path is not None:
        shutil.rmtree(path.with_suffix(PARTS), ignore_errors=True)
