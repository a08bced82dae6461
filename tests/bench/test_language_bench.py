"""The language measurement: texts without leakage, the encoder as its package has it, and the whole way on a cut of it."""

import importlib.util
import json
from pathlib import Path

import pandas
import pytest
import torch

from fda.bench import language_texts, language_zoo
from fda.bench.language_texts import PACKAGES, SPLITS, TASKS, samples, split_of
from fda.bench.language_zoo import METHODS, encoder_folder, prepare_zoo
from fda.errors import UserError

needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec(language_zoo.PACKAGE) is None, reason="the language encoder's package is not installed"
)


@pytest.fixture(scope="module", autouse=True)
def few_files():
    """Parsing all files takes longer than a test may."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_texts, "FILES", 50)
        language_texts.sources.cache_clear()
        yield
    language_texts.sources.cache_clear()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_no_file_and_no_text_is_in_two_splits(task):
    rows = {split: samples(task, split, 10) for split in SPLITS}
    assert all(split_of(row.source) == split for split, own in rows.items() for row in own)
    texts = [row.texts for own in rows.values() for row in own]
    assert len(texts) == len(set(texts)) == 30
    assert all(len(text) == len(task.columns) for text in texts)


def test_classes_are_balanced_and_drawn_alike_every_time():
    package, role, pair = TASKS
    labels = [row.label for row in samples(role, "train", 42)]
    assert sorted(labels.count(label) for label in range(4)) == [10, 10, 11, 11]
    first, read = samples(pair, "test", 20), language_texts.sources()
    assert samples(pair, "test", 20) == first != samples(pair, "test", 20, seed=1)
    again = [language_texts._read(PACKAGES[0], root, file) for root, file in language_texts._files(PACKAGES[0])]
    assert tuple(again) == read[: len(again)]
    assert all(row.source.startswith(package.classes[row.label]) for row in samples(package, "test", 20))


def test_too_many_texts_are_refused_with_the_class(tmp_path):
    with pytest.raises(UserError, match=r"texts of class networkx for task package, split test, and 200000 are wanted"):
        samples(TASKS[0], "test", 1_000_000)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty and not a zoo of this benchmark: name another folder"):
        prepare_zoo(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@needs_encoder
def test_the_encoder_is_a_pretrained_one():
    """Of two sentences that mean nearly the same and one that does not, it puts the two together."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(encoder_folder(), local_files_only=True).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(22.7e6, rel=0.01)
    texts = ["Shortest path between two nodes.", "The least distance from vertex to vertex.", "Blur an image."]
    made = AutoTokenizer.from_pretrained(encoder_folder())(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**made).last_hidden_state
    mask = made["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    alike = mean @ mean.T
    assert alike[0, 1] > 0.4 > alike[0, 2] + 0.1


@needs_encoder
def test_a_cut_of_it_goes_the_whole_way(tmp_path, fda, monkeypatch):
    told: list[str] = []
    counts = {"train": 32, "validation": 10, "test": 20}
    zoo = prepare_zoo(tmp_path / "zoo", counts=counts, epochs=1, blocks=1, tell=told.append)
    assert [line.split(":")[0] for line in told] == [task.name for task in TASKS for _ in range(2)]
    assert prepare_zoo(zoo.parent) == zoo and len(told) == 6  # what is there is not made again
    assert list(pandas.read_parquet(zoo.parent / "data" / "pair" / "test.parquet")) == [
        "name",
        "text",
        "label",
        "source",
    ]
    only_blocks_and_the_head_were_finetuned(zoo.parent)
    table = tmp_path / "table.json"
    quick = ["--seeds", "0", "--anchors", "4", "--steps", "3", "--adapt", "epochs=5", "--device", "cpu"]
    done = fda("bench", "methods", "--zoo", zoo, "--methods", ",".join(METHODS), *quick, "--json", table)
    assert done.returncode == 0, done.stderr
    compared = json.loads(table.read_text())
    rows = {row["method"]: row for row in compared["rows"]}
    assert set(rows) == set(METHODS) and compared["tasks"] == ["package", "role", "pair"]
    assert rows["ta"]["over_baseline"] == [0, 0, 0]
    for row in rows.values():
        assert row["average"] == pytest.approx(sum(row["tasks"].values()) / 3)
        assert row["interval"][0] <= row["average"] <= row["interval"][1]
    monkeypatch.setattr(language_zoo, "METHODS", ("ta", "tsv"))
    assert fda("bench", "language", "--folder", zoo.parent, "--device", "cpu", "--json", table).returncode == 0
    assert {row["method"] for row in json.loads(table.read_text())["rows"]} == {"pretrained", "individual", "ta", "tsv"}


def only_blocks_and_the_head_were_finetuned(folder: Path) -> None:
    from safetensors.torch import load_file

    base, own = (load_file(folder / name / "model.safetensors") for name in ("base", "models/role/model"))
    changed = {name for name in base if not torch.equal(base[name], own[name])}
    assert changed and all(name.startswith("encoder.layer.") for name in changed)
