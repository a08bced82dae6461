"""Flips between two methods and confusion matrices, counted by hand on six samples; what older and harmed files give."""

import re
from pathlib import Path

import numpy as np
import pytest

from fda.errors import UserError
from fda.figures.confusion import confusion_alt, confusion_figure
from fda.report.examples import Pair, confusion, default_pair, examples_table, read_pair, scored_methods
from fda.store.examples import MOST_BYTES, Samples, load_samples, samples_file, save_samples
from fda.store.predictions import save_predictions
from fda.store.records import MethodResult, Run, Score
from fda.store.store import Store
from fda.tasks.answers import Answers, Top
from fda.ui.run.example_cards import cards
from tests.support.runs import spec

LABEL = [0, 0, 1, 1, 2, 2]
BEFORE = [0, 1, 1, 2, 2, 0]
AFTER = [0, 0, 2, 1, 2, 1]
NAMES = ("a", "b<i>", "c")


def answers(predicted: list[int], metric: str = "accuracy", top: Top | None = None) -> Answers:
    return Answers(np.array(predicted, np.int32), np.array(LABEL, np.int32), metric, top=top)


def top(predicted: list[int]) -> Top:
    """70 % for the answer, 20 % and 10 % for the next classes."""
    classes = [[label, (label + 1) % 3, (label + 2) % 3] for label in predicted]
    return Top(np.array(classes, np.int32), np.tile(np.float32([0.7, 0.2, 0.1]), (6, 1)))


PAIR = Pair("red", ("tsv", "fda:tsv"), answers(BEFORE), answers(AFTER, top=top(AFTER)), NAMES)


@pytest.fixture
def store(fda_home: Path) -> Store:
    return Store(fda_home)


@pytest.fixture
def run(store: Store) -> Run:
    return store.run(store.create_run(spec().model_copy(update={"methods": ("tsv", "fda:tsv")})))


def score(store: Store, run: Run, method: str, given: Answers, settings: dict | None = None) -> None:
    save_predictions(store.run_dir(run.run_id), method, {"red": given})
    result = MethodResult(method, "done", settings or {"selection": "fixed"}, 1.0, None, None)
    store.add_result(run.run_id, result, [Score(method, "red", "test", given.metric, given.value, given.count)])


def test_flips_are_counted_and_named():
    assert PAIR.counts == {"became right": 2, "became wrong": 1, "both wrong": 1, "both right": 2}
    found = {change: PAIR.indices(change).tolist() for change in PAIR.counts}
    assert found == {"became right": [1, 3], "became wrong": [2], "both wrong": [5], "both right": [0, 4]}
    assert PAIR.indices("became right", 1).tolist() == [3] and PAIR.indices(None, 2).tolist() == [4, 5]
    for one in (False, True):  # a cell of a matrix holds as many samples as it says
        counts = confusion(PAIR, after=one).counts
        of = "after" if one else "before"
        cells = [[len(PAIR.indices(None, row, **{of: column})) for column in range(3)] for row in range(3)]
        assert cells == counts.tolist()
    assert PAIR.sentence() == (
        "From TSV-M to FDA (TSV), 2 of 6 samples became right and 1 became wrong; 2 are right and 1 wrong with both."
    )
    assert [PAIR.name(label) for label in (0, 2, 3, -1)] == ["a", "c", "class 3", "class -1"]


def test_a_confusion_matrix_has_true_classes_as_rows():
    before, after = confusion(PAIR, after=False), confusion(PAIR, after=True)
    assert before.names == after.names == NAMES and before.classes == (0, 1, 2) and before.of == 3
    assert before.counts.tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert after.counts.tolist() == [[2, 0, 0], [0, 1, 1], [0, 1, 1]]
    figure = confusion_figure(after.names, after.counts, "dark", title="After", chosen=(1, 2))
    assert figure.data[0].z.tolist() == [[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]]
    assert list(figure.data[0].y) == ["a", "b&lt;i&gt;", "c"] and figure.layout.yaxis.autorange == "reversed"
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 0.5, 1.5)
    assert confusion_alt(after.names, after.counts, "After").startswith("After: 4 of 6 samples on the diagonal")


def test_of_many_classes_both_matrices_show_those_with_the_most_wrong_answers():
    assert confusion(PAIR, after=True, most=2).names == ("b<i>", "c") and confusion(PAIR, after=True, most=2).of == 3
    assert confusion(PAIR, after=False, most=2).counts.tolist() == [[1, 1], [0, 1]]
    random = np.random.default_rng(0)  # as many classes as samples, with numbers that a table of all would not hold
    label, predicted = (random.integers(0, 2**31, 50_000).astype(np.int32) for _ in range(2))
    wide = Pair("red", ("tsv", "ta"), Answers(label, label), Answers(predicted, label))
    found = confusion(wide, after=True)
    assert found.counts.shape == (30, 30) and found.of > 90_000 and wide.counts["became wrong"] > 49_000


def test_a_table_has_every_likeliest_class_that_is_stored():
    table = examples_table(PAIR, np.array([2, 5]))
    assert list(table) == [
        *("task", "sample", "true class", "change", "tsv class", "fda:tsv class", "fda:tsv probability"),
        *("fda:tsv class 2", "fda:tsv probability 2", "fda:tsv class 3", "fda:tsv probability 3"),
    ]
    assert table.iloc[0].tolist()[:6] == ["red", 2, "b<i>", "became wrong", "b<i>", "c"]
    assert table["fda:tsv probability 2"].tolist() == pytest.approx([0.2, 0.2])


def test_cards_say_who_is_right_and_how_sure_and_run_no_markup_of_others():
    seen = Samples("text", {2: b"<script>alert(1)</script>"}, NAMES)
    shown = cards(PAIR, [2, 3], seen, "light")
    first, second = shown.split("<li>")[1:]
    assert "<script" not in shown and "<i>" not in shown and "&lt;script&gt;" in first
    assert re.findall('aria-label="(right|wrong)"', first) == ["right", "wrong"]
    assert "70 %" in first and "then a (20 %) · b&lt;i&gt; (10 %)" in first and "not kept with the run" in second


def test_what_a_run_stores_comes_back_and_an_older_one_has_no_probabilities(store, run):
    score(store, run, "tsv", answers(BEFORE))
    score(store, run, "fda:tsv", answers(AFTER, top=top(AFTER)))
    found = read_pair(store, run, "red", "tsv", "fda:tsv")
    assert found.counts == PAIR.counts and found.without_probabilities == ["TSV-M"] and found.names is None
    assert found.likeliest(0, after=False) == []
    assert [name for name, _ in found.likeliest(2, after=True)] == ["class 2", "class 0", "class 1"]
    assert confusion(found, after=False).counts.tolist() == confusion(PAIR, after=False).counts.tolist()


def test_the_view_opens_with_the_best_method_without_data_and_the_best_fda_method(store, run):
    assert default_pair(store, run) is None
    score(store, run, "individual", answers(LABEL))
    assert default_pair(store, run) is None, "one method has nothing to be compared with"
    score(store, run, "ta:swept", answers(LABEL), {"selection": "validation"})
    assert default_pair(store, run) == ("individual", "ta:swept")
    score(store, run, "average", answers([1] * 6))
    score(store, run, "tsv", answers(BEFORE))
    score(store, run, "fda:average", answers([0] * 6))
    score(store, run, "fda:tsv", answers(AFTER))
    assert default_pair(store, run) == ("tsv", "fda:tsv")
    (store.run_dir(run.run_id) / "predictions" / "tsv.safetensors").unlink()
    assert default_pair(store, run) == ("average", "fda:tsv") and "tsv" not in scored_methods(store, run)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (answers(AFTER, "pearson"), "scored by Pearson's correlation"),
        (answers(AFTER, "token_accuracy"), "scored by next-token accuracy"),
        (Answers(np.array(AFTER), np.array(AFTER)), "answered different samples of red"),
        (Answers(np.array([0]), np.array(LABEL)), "answers of FDA \\(TSV\\) to red are not stored"),
    ],
)
def test_answers_that_cannot_flip_are_one_sentence(store, run, other, sentence):
    score(store, run, "tsv", answers(BEFORE, other.metric))
    save_predictions(store.run_dir(run.run_id), "fda:tsv", {"red": other})
    with pytest.raises(UserError, match=sentence):
        read_pair(store, run, "red", "tsv", "fda:tsv")


def test_generated_answers_flip_without_classes(store, run):
    for method, right in (("tsv", [1, 0]), ("fda:tsv", [1, 1])):
        score(store, run, method, Answers(np.array(right), np.ones(2), "exact_match"))
    found = read_pair(store, run, "red", "tsv", "fda:tsv")
    assert found.indices("became right").tolist() == [1] and confusion(found, after=True) is None
    assert found.classes == [] and examples_table(found, np.array([1]))["tsv class"].tolist() == ["wrong"]


# kept samples ------------------------------------------------------------------------------------------------------------


def test_kept_samples_come_back_and_are_the_same_bytes_again(tmp_path):
    kept = Samples("text", {3: "ä".encode(), 7: b"", 9: b"xyz"}, NAMES)
    save_samples(samples_file(tmp_path, "red"), kept)
    found = load_samples(tmp_path, "red")
    assert (found.kind, dict(found.content), found.classes) == (kept.kind, dict(kept.content), NAMES)
    save_samples(samples_file(tmp_path, "blue"), found)
    assert samples_file(tmp_path, "red").read_bytes() == samples_file(tmp_path, "blue").read_bytes()
    assert load_samples(tmp_path, "green") is None


@pytest.mark.parametrize("harm", ["cut", "another file", "huge"])
def test_kept_samples_that_cannot_be_read_are_one_sentence(tmp_path, harm):
    path = samples_file(tmp_path, "red")
    save_samples(path, Samples("text", {3: b"abc"}, None))
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "another file":
        path.write_bytes(b"{}")
    else:
        with path.open("r+b") as file:
            file.truncate(MOST_BYTES + 1)
    with pytest.raises(UserError, match="kept samples of red .* cannot be read: delete the file"):
        load_samples(tmp_path, "red")
