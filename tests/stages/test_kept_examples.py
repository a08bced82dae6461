"""Probabilities and samples that a comparison keeps, on real images and texts; runs of before, and data that have changed."""

import io
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from fda.cancel import NEVER, Cancel, Cancelled
from fda.errors import UserError
from fda.report.examples import read_pair
from fda.requests.helper_runs import examples_spec
from fda.requests.runs import make_spec
from fda.stages import examples
from fda.stages.evaluations import NAME, read_kept
from fda.stages.execute import execute
from fda.stages.worker import run_here
from fda.store.examples import load_samples, samples_file
from fda.store.predictions import load_predictions, read_answers, save_predictions, write_answers
from fda.store.records import Run
from fda.store.store import Store
from fda.tasks.answers import Answers
from fda.tasks.data import load_split
from fda.tasks.evaluate import likeliest
from fda.tasks.heads import task_head
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.library_zoos import WORDS, text_zoo
from tests.support.tiny_zoo import make_zoo

METHODS = ("ta", "tsv")


@pytest.fixture
def store(fda_home: Path) -> Store:
    return Store(fda_home)


def compared(store: Store, zoo: Path, **changes: object) -> Run:
    run_id = store.create_run(make_spec(zoo, **({"methods": METHODS, "device": "cpu"} | changes)))
    execute(store, run_id, NEVER)
    return store.run(run_id)


def softmax_of(zoo: Path, task: str) -> np.ndarray:
    """(n, classes): the probabilities of the pretrained model, by the plain formula."""
    opened = open_zoo(load_zoo(zoo))
    opened.model.load(opened.base)
    split = load_split(opened.zoo.task(task), "test", opened.model.transform)
    with torch.no_grad():
        logits = task_head(opened, task).answer(opened.model, split.at(range(len(split))))
    exponents = np.exp(logits.double().numpy())
    return exponents / exponents.sum(axis=1, keepdims=True)


def content(store: Store, run: Run, folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.run_dir(run.run_id) / folder).iterdir()}


def test_the_likeliest_classes_are_those_of_softmax_and_of_equal_ones_the_first():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0], [5.0, 5.0, 5.0, 5.0]])
    classes, probabilities = likeliest(logits)
    assert classes.tolist() == [[1, 2, 0], [0, 1, 2]] and logits.argmax(dim=-1).tolist() == [1, 0]
    whole = np.exp([0, 2, 1, -1]) / np.exp([0, 2, 1, -1]).sum()
    assert probabilities[0].tolist() == pytest.approx(whole[[1, 2, 0]], abs=1e-6)
    assert probabilities[1].tolist() == [0.25, 0.25, 0.25]
    assert likeliest(torch.tensor([[3.0]]))[1].tolist() == [[1.0]]


def test_images_are_kept_with_the_probabilities_of_each_answer(store, tiny_zoo):
    run = compared(store, tiny_zoo)
    folder = store.run_dir(run.run_id)
    for task in run.spec.tasks:
        own, truth = load_predictions(folder, "pretrained")[task], softmax_of(tiny_zoo, task)
        assert np.array_equal(own.top.classes[:, 0], own.predicted)
        assert np.allclose(own.top.probabilities, np.take_along_axis(truth, own.top.classes, axis=1), atol=1e-6)
        samples = load_samples(folder, task)
        assert (
            samples.kind == "image" and samples.indices.tolist() == list(range(40)) and samples.classes == ("no", "yes")
        )
        picture = Image.open(io.BytesIO(samples.content[1]))
        stored = datasets.Dataset.from_parquet(str(tiny_zoo.parent / "data" / task / "test.parquet"))[1]["image"]
        assert picture.size == (8, 8) and abs(np.asarray(picture).mean() - np.asarray(stored).mean()) < 5
        assert read_pair(store, run, task, *METHODS).names == ("no", "yes")


def test_texts_are_kept_with_their_words(store, tmp_path):
    zoo = text_zoo(tmp_path / "zoo", "bert", input=["sentence", "second"])
    run = compared(store, zoo)
    own, truth = load_predictions(store.run_dir(run.run_id), "pretrained")["first"], softmax_of(zoo, "first")
    assert np.allclose(own.top.probabilities, np.take_along_axis(truth, own.top.classes, axis=1), atol=1e-5)
    samples = load_samples(store.run_dir(run.run_id), "first")
    one, two = samples.content[3].decode().split("\n")
    assert samples.kind == "text" and len(samples.content) == 24 and {*one.split(), *two.split()} <= {*WORDS}
    assert f"{one},{two}," in (tmp_path / "zoo" / "data" / "first" / "test.csv").read_text()


def test_answers_that_are_numbers_have_no_probabilities_and_are_still_kept(store, tmp_path):
    zoo = text_zoo(tmp_path / "zoo", "bert", labels="number", metric="pearson")
    run = compared(store, zoo)
    assert load_predictions(store.run_dir(run.run_id), "ta")["first"].top is None
    with pytest.raises(UserError, match="scored by Pearson's correlation"):
        read_pair(store, run, "first", *METHODS)


def test_a_stopped_run_resumes_to_the_same_bytes(store, tiny_zoo):
    whole = compared(store, tiny_zoo)
    run_id = store.create_run(whole.spec)

    def kept_one() -> bool:
        return samples_file(store.run_dir(run_id), "red").is_file()

    with pytest.raises(Cancelled):
        execute(store, run_id, Cancel(kept_one))
    assert not samples_file(store.run_dir(run_id), "bright").exists()
    execute(store, run_id, NEVER)
    resumed = store.run(run_id)
    for folder in ("predictions", "examples"):
        assert content(store, resumed, folder) == content(store, whole, folder)


def test_answers_kept_by_an_older_version_are_answered_again(store, tiny_zoo, fda_home):
    first = compared(store, tiny_zoo)
    (one, *_) = sorted((fda_home / "cache" / "answers").glob("*.safetensors"))
    new = read_kept(one)
    write_answers(one, {NAME: Answers(new.predicted, new.label, new.metric)})
    assert read_answers(one)[NAME].top is None and read_kept(one) is None
    again = compared(store, tiny_zoo)
    assert content(store, again, "predictions") == content(store, first, "predictions")
    assert store.results(again.run_id)[1] == store.results(first.run_id)[1]


def as_before(store: Store, run: Run) -> None:
    """Make the run one of the version before: without samples and probabilities."""
    shutil.rmtree(store.run_dir(run.run_id) / "examples")
    for method in ("pretrained", "individual", *METHODS):
        tasks = load_predictions(store.run_dir(run.run_id), method)
        plain = {task: Answers(own.predicted, own.label, own.metric) for task, own in tasks.items()}
        save_predictions(store.run_dir(run.run_id), method, plain)
    store.set_state(run.run_id, "done")


def test_a_run_of_before_is_given_its_samples_and_is_not_touched_otherwise(store, tiny_zoo):
    run = compared(store, tiny_zoo)
    kept = content(store, run, "examples")
    as_before(store, run)
    before = store.run(run.run_id), store.results(run.run_id), content(store, run, "predictions")
    assert run_here(store, store.create_run(examples_spec(run))) == "done"
    assert content(store, run, "examples") == kept
    assert (store.run(run.run_id), store.results(run.run_id), content(store, run, "predictions")) == before
    pair = read_pair(store, run, "red", *METHODS)
    assert pair.names == ("no", "yes") and len(pair.without_probabilities) == 2


def test_data_that_have_changed_give_a_sentence_and_no_wrong_pictures(store, tmp_path):
    zoo = make_zoo(tmp_path)
    run = compared(store, zoo)
    as_before(store, run)
    path = zoo.parent / "data" / "red" / "test.parquet"
    datasets.Dataset.from_parquet(str(path)).select(range(39, -1, -1)).to_parquet(path)
    helper = store.create_run(examples_spec(run))
    assert run_here(store, helper) == "failed" and "data have changed since" in store.run(helper).message
    assert load_samples(store.run_dir(run.run_id), "red") is None
    assert len(load_samples(store.run_dir(run.run_id), "bright").content) == 40, "the other task has its samples"


def test_of_many_samples_those_that_flip_are_kept(store, tiny_zoo, monkeypatch):
    run = compared(store, tiny_zoo)
    label = np.zeros(40, np.int32)
    for method in ("pretrained", "individual", *METHODS):
        predicted = label.copy()
        predicted[[5, 39] if method == "tsv" else [7, 8, 9] if method == "individual" else []] = 1
        save_predictions(store.run_dir(run.run_id), method, {"red": Answers(predicted, label)})
    monkeypatch.setattr(examples, "default_pair", lambda *_: METHODS)
    monkeypatch.setattr(examples, "MOST", 4)
    assert examples.chosen(store, run, "red", 40) == [5, 7, 9, 39], "the pair's flips, then other methods', spread"
    monkeypatch.setattr(examples, "MOST", 7)
    assert examples.chosen(store, run, "red", 40) == [0, 5, 7, 8, 9, 38, 39], "then the rest, spread"
