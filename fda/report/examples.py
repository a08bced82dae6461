"""Two methods of a run, sample by sample: which answers flip between them, and which classes each confuses.

Reads the answers that the run keeps (`fda.store.predictions`) and its kept samples (`fda.store.examples`), never the data set.
All work is vectorised over the samples. Imports no torch and no streamlit.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pandas as pd

from fda.errors import UserError
from fda.report.comparison import is_fda, is_without_data, titles
from fda.report.format import plural
from fda.store.examples import load_samples
from fda.store.predictions import load_predictions, predictions_file
from fda.store.records import Run
from fda.store.store import Store
from fda.tasks.answers import Answers
from fda.tasks.metrics import METRICS, SHARES_OF_RIGHT

Change = Literal["became right", "became wrong", "both wrong", "both right"]
CHANGES: tuple[Change, ...] = get_args(Change)
MOST_CLASSES = 30  # of a confusion matrix; more could not be read


@dataclass(frozen=True)
class Pair:
    """The answers of two methods to the same samples of a task. `names`: of the classes by number, None if they have none."""

    task: str
    methods: tuple[str, str]
    before: Answers
    after: Answers
    names: tuple[str, ...] | None = None

    @property
    def titles(self) -> tuple[str, str]:
        before, after = (titles([method])[method] for method in self.methods)
        return before, after

    @cached_property
    def changes(self) -> np.ndarray:
        """(n,): the index in CHANGES of each sample."""
        right, now = self.before.correct, self.after.correct
        return np.select([~right & now, right & ~now, ~right], [0, 1, 2], 3)

    @property
    def counts(self) -> dict[Change, int]:
        return {change: int((self.changes == index).sum()) for index, change in enumerate(CHANGES)}

    @property
    def classes(self) -> list[int]:
        """The classes that samples have, by number; empty where answers are not classes."""
        return np.unique(self.before.label).tolist() if self.before.of_classes else []

    @property
    def without_probabilities(self) -> list[str]:
        """The titles of the methods whose probabilities are not stored; empty where answers are not classes."""
        answers = zip(self.titles, (self.before, self.after), strict=True)
        return [title for title, one in answers if one.of_classes and one.top is None]

    def no_probabilities(self) -> str | None:
        """A sentence if probabilities are not stored; else None."""
        if not self.without_probabilities:
            return None
        lacking = " and ".join(self.without_probabilities)
        return f"Probabilities of {lacking} are not stored with this run: an older version scored it."

    def sentence(self) -> str:
        """The counts in words."""
        count = self.counts
        return (
            f"From {self.titles[0]} to {self.titles[1]}, {count['became right']:,} of {plural(self.before.count, 'sample')} "
            f"became right and {count['became wrong']:,} became wrong; {count['both right']:,} are right and "
            f"{count['both wrong']:,} wrong with both."
        )

    def indices(
        self,
        change: Change | None = None,
        label: int | None = None,
        *,
        before: int | None = None,
        after: int | None = None,
    ) -> np.ndarray:
        """The samples with this change, of this true class, and of these classes by the two methods, ascending; None: any."""
        wanted = np.ones(self.before.count, bool) if change is None else self.changes == CHANGES.index(change)
        classes = ((self.before.label, label), (self.before.predicted, before), (self.after.predicted, after))
        for given, one in classes:
            if one is not None:
                wanted = wanted & (given == one)
        return np.flatnonzero(wanted)

    def name(self, label: int) -> str:
        """What an answer or a label is called."""
        if not self.before.of_classes:
            return "right" if label else "wrong"
        return self.names[label] if self.names and 0 <= label < len(self.names) else f"class {label}"

    def likeliest(self, index: int, *, after: bool) -> list[tuple[str, float]]:
        """The likeliest classes of one sample with their probabilities, likeliest first; empty if they are not stored."""
        top = (self.after if after else self.before).top
        if top is None:
            return []
        rows = zip(top.classes[index].tolist(), top.probabilities[index].tolist(), strict=True)
        return [(self.name(label), probability) for label, probability in rows]


@dataclass(frozen=True)
class Confusion:
    """`counts` (k, k): samples by true class (rows) and predicted class (columns), of these `classes`, which are called
    `names`. `of`: all classes."""

    classes: tuple[int, ...]
    names: tuple[str, ...]
    counts: np.ndarray
    of: int


def scored_methods(store: Store, run: Run) -> list[str]:
    """The methods whose scores and answers are stored, in the order of the results. UserError if the run is deleted."""
    folder = store.run_dir(run.run_id)
    done = [row.method for row in store.results(run.run_id)[0] if row.state == "done"]
    return [method for method in done if predictions_file(folder, method).is_file()]


def default_pair(store: Store, run: Run) -> tuple[str, str] | None:
    """The best method without data and the best FDA method, by average over the tasks; None for fewer than two methods.

    Where a run lacks one of the two kinds, the best of its other methods stands in.
    """
    rows, scores = store.results(run.run_id)
    settings = {row.method: row.settings for row in rows}
    methods = scored_methods(store, run)
    average = {
        method: float(np.mean([score.value for score in scores if score.method == method] or [0.0]))
        for method in methods
    }

    def best(among: Sequence[str]) -> str | None:
        return max(among, key=average.__getitem__, default=None)

    after = best([method for method in methods if is_fda(method)])
    others = [method for method in methods if method != after]
    before = best([method for method in others if is_without_data(method, settings[method])]) or best(others)
    after = after or best([method for method in others if method != before])
    return None if before is None or after is None else (before, after)


def read_pair(store: Store, run: Run, task: str, before: str, after: str) -> Pair:
    """Two methods on a task. UserError if their answers cannot be compared sample by sample."""
    folder = store.run_dir(run.run_id)
    both = []
    for method in (before, after):
        answers = load_predictions(folder, method).get(task)
        if answers is None or answers.predicted.shape != answers.label.shape or answers.label.ndim != 1:
            raise UserError(f"the answers of {titles([method])[method]} to {task} are not stored with this run.")
        if answers.metric not in (*SHARES_OF_RIGHT, "matthews"):
            metric = METRICS[answers.metric].title if answers.metric in METRICS else answers.metric
            raise UserError(f"{task} is scored by {metric}: one answer is neither right nor wrong, so none flips.")
        both.append(answers)
    if not np.array_equal(both[0].label, both[1].label):
        raise UserError(f"the two methods answered different samples of {task}: compare them again in one run.")
    return Pair(task, (before, after), both[0], both[1], class_names(store, run, task))


def class_names(store: Store, run: Run, task: str) -> tuple[str, ...] | None:
    """The names of a task's classes, from its kept samples or the zoo file; None if neither names them."""
    with suppress(UserError):  # the gallery says that the file is damaged
        samples = load_samples(store.run_dir(run.run_id), task)
        if samples is not None:
            return samples.classes
    head = run.spec.zoo.task(task).head
    return None if head is None or isinstance(head, str) else head.zero_shot.classes


def confusion(pair: Pair, *, after: bool, most: int = MOST_CLASSES) -> Confusion | None:
    """The confusion matrix of one of the two methods; None where answers are not classes.

    Of more than `most` classes it shows those with the most wrong answers, among themselves.
    """
    answers = pair.after if after else pair.before
    if not answers.of_classes:
        return None
    classes = np.unique(np.concatenate([pair.before.label, pair.before.predicted, pair.after.predicted]))
    rows, columns = np.searchsorted(classes, answers.label), np.searchsorted(classes, answers.predicted)
    shown = np.arange(len(classes))
    if len(classes) > most:
        wrong = np.bincount(np.searchsorted(classes, pair.before.label), weights=_wrongs(pair), minlength=len(classes))
        shown = np.sort(np.argsort(-wrong, kind="stable")[:most])
    in_matrix = np.full(len(classes), -1)  # the row of each class, -1 for those left out
    in_matrix[shown] = np.arange(len(shown))
    rows, columns = in_matrix[rows], in_matrix[columns]
    inside = (rows >= 0) & (columns >= 0)
    size = len(shown)
    counts = np.bincount(rows[inside] * size + columns[inside], minlength=size * size).reshape(size, size)
    labels = tuple(classes[shown].tolist())
    return Confusion(labels, tuple(map(pair.name, labels)), counts, len(classes))


def _wrongs(pair: Pair) -> np.ndarray:
    """(n,): how many of the two answers are wrong, so that both methods' matrices show the same classes."""
    return (~pair.before.correct).astype(int) + ~pair.after.correct


def examples_table(pair: Pair, indices: np.ndarray) -> pd.DataFrame:
    """These samples as rows: number, true class, how the answer changed, and each method's likeliest classes."""
    table: dict[str, object] = {
        "task": np.full(len(indices), pair.task),
        "sample": indices,
        "true class": _named(pair, pair.before.label[indices]),
        "change": np.array(CHANGES)[pair.changes[indices]],
    }
    for method, answers in zip(pair.methods, (pair.before, pair.after), strict=True):
        table[f"{method} class"] = _named(pair, answers.predicted[indices])
        top = answers.top
        if top is None:
            continue
        for rank in range(top.classes.shape[1]):
            if rank:
                table[f"{method} class {rank + 1}"] = _named(pair, top.classes[indices, rank])
            words = f"{method} probability" + (f" {rank + 1}" if rank else "")
            table[words] = top.probabilities[indices, rank]
    return pd.DataFrame(table)


def _named(pair: Pair, labels: np.ndarray) -> np.ndarray:
    values, places = np.unique(labels, return_inverse=True)
    return np.array([pair.name(int(value)) for value in values], dtype=object)[places]
