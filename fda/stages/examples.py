"""Keep some test samples with a run, as small pictures or short texts, for the view Examples.

A comparison does it once its methods are scored, with the splits that it has loaded; a helper run does it for runs of older
versions. The server does not read data sets itself: loading one takes torch, unbounded time, and files that may have moved.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fda.cancel import Cancel, Cancelled
from fda.errors import UserError
from fda.jobs.failures import log_traceback, sentence
from fda.report.examples import default_pair, scored_methods
from fda.store.examples import MOST, Samples, samples_file, save_samples
from fda.store.finished import damage, keep
from fda.store.predictions import correctness, load_predictions
from fda.store.records import Run
from fda.store.refusals import is_full
from fda.store.store import Store
from fda.tasks.data import Split, load_split
from fda.zoos.survey import open_zoo

SIDE = 128  # pixels, of the longer side
QUALITY = 85  # of a WebP file
LETTERS = 600  # of a text
AT_ONCE = 32  # samples in memory at full size


def keep_examples(store: Store, run: Run, split_of: Callable[[str], Split], cancel: Cancel) -> dict[str, str]:
    """Keep samples of every task that has none yet or whose file is damaged. `split_of(task)` is its test split.

    Returns task → what is wrong, for tasks whose samples cannot be read: that does not fail a run, whose scores are stored.
    Raises Cancelled soon after `cancel` asks for it.
    """
    problems: dict[str, str] = {}
    if not scored_methods(store, run):
        return problems
    for task in run.spec.tasks:
        path = samples_file(store.run_dir(run.run_id), task)
        if path.is_file() and _is_whole(store, run.run_id, path):
            continue
        try:
            split = split_of(task)
            _require_same(store, run, task, split)
            indices = chosen(store, run, task, len(split))
            save_samples(path, small_samples(split, indices, cancel))
            keep(store, run.run_id, path)
        except Cancelled:
            raise
        except Exception as error:
            if is_full(error):
                raise
            if not isinstance(error, UserError):
                log_traceback(store, run.run_id)
            problems[task] = sentence(error, store, run.run_id)
    return problems


def examples_of_run(store: Store, run_id: str, cancel: Cancel) -> None:
    """Carry out a helper run that keeps samples of the finished run `run_id`. UserError if a task has none in the end."""
    run = store.run(run_id)
    opened = open_zoo(run.spec.zoo, run.spec.tasks)

    def split_of(task: str) -> Split:
        data = run.spec.zoo.task(task).data
        return load_split(opened.zoo.task(task), data.split if data else None, opened.model.transform)

    if problems := keep_examples(store, run, split_of, cancel):
        raise UserError(next(iter(problems.values())))


def chosen(store: Store, run: Run, task: str, count: int) -> list[int]:
    """At most MOST of a split's `count` samples, ascending.

    First those that flip between the two methods that Examples opens with, then those on which any methods disagree, then
    the rest; of those for which there is not room enough, some that are spread evenly.
    """
    folder = store.run_dir(run.run_id)
    taken = np.zeros(count, bool)
    for methods in (default_pair(store, run), scored_methods(store, run)):
        right = correctness(folder, methods, task) if methods else None
        if right is not None and right.shape[1] == count:
            _take(taken, (right != right[0]).any(axis=0))
    _take(taken, np.ones(count, bool))
    return np.flatnonzero(taken).tolist()


def _require_same(store: Store, run: Run, task: str, split: Split) -> None:
    """UserError if the split is not the one that the methods answered: a picture would stand beside another one's answer."""
    for method in scored_methods(store, run):
        answers = load_predictions(store.run_dir(run.run_id), method).get(task)
        if answers is None:
            continue
        if answers.count == len(split) and (
            not answers.of_classes or np.array_equal(answers.label, split.labels().numpy())
        ):
            return
        raise UserError(f"{split.where}: the data have changed since the run was scored: compare the methods again.")


def _take(taken: np.ndarray, wanted: np.ndarray) -> None:
    """Mark as many of the wanted samples as there is room for."""
    fresh = np.flatnonzero(wanted & ~taken)
    room = min(len(fresh), MOST - int(taken.sum()))
    taken[fresh[np.linspace(0, len(fresh) - 1, room).round().astype(int)]] = True


def small_samples(split: Split, indices: Sequence[int], cancel: Cancel) -> Samples:
    """The samples at these indices as pictures of at most SIDE pixels or texts of at most LETTERS. UserError as `samples`."""
    content: dict[int, bytes] = {}
    for start in range(0, len(indices), AT_ONCE):
        some = list(indices[start : start + AT_ONCE])
        content |= dict(zip(some, _packed(split, some), strict=True))
        cancel.check()
    return Samples(split.transform.kind, content, split.class_names)


def _packed(split: Split, indices: Sequence[int]) -> Iterator[bytes]:
    for sample in split.samples(indices):
        yield _picture(sample) if isinstance(sample, Image.Image) else _text(sample)


def _picture(image: Image.Image) -> bytes:
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    written = io.BytesIO()
    image.save(written, "WEBP", quality=QUALITY)
    return written.getvalue()


def _text(sample: str | Sequence[str]) -> bytes:
    text = sample if isinstance(sample, str) else "\n".join(sample)
    shown = text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
    return shown.encode(errors="replace")


def _is_whole(store: Store, run_id: str, path: Path) -> bool:
    return damage(path, store.files(run_id).get(path.relative_to(store.run_dir(run_id)).as_posix())) is None
