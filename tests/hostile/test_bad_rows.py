"""Rows in the middle of a split that are empty, truncated or of another kind: one sentence, or left out up to 1 %."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from fda.architectures.transforms import ImageTransform, TextTransform
from fda.cli.app import app
from fda.errors import UserError
from fda.tasks.data import Split, load_split
from fda.tasks.first_samples import samples_note
from fda.zoos.zoo import ZooTask
from tests.support.library_zoos import image_zoo, tokenizer

TEXTS = TextTransform(tokenizer(), 16, 0, "words", False)
IMAGES = ImageTransform(lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1).float(), "pixels")


@pytest.fixture(autouse=True)
def _home(fda_home):
    """Every test has a home of its own."""


def load(path: Path, transform=TEXTS, **data) -> Split:
    data = {"path": str(path), "split": "test", "input": "sentence", **data}
    return load_split(ZooTask(name="first", model="none", data=data), data["split"], transform)


def everything(split: Split) -> tuple[list, list]:
    """All samples and labels, as scoring asks for them."""
    labels = [label for _, labels in split.batches(8) for label in labels.tolist()]
    return split.samples(range(len(split))), labels


def refused(path: Path, *args, **data) -> str:
    with pytest.raises(UserError) as error:
        everything(load(path, *args, **data))
    return str(error.value)


def parquet(path: Path, labels: list, sentences: list | None = None) -> Path:
    sentences = sentences or ["red cat"] * len(labels)
    pd.DataFrame({"sentence": sentences, "label": labels}).to_parquet(path)
    return path


# words that readers take for gaps ------------------------------------------------------------------------------------


WORDS = ["null", "NA", "None", "nan", "NaN", "N/A", "true", "12", "1e5", "007", "", "#N/A", "-"]


@pytest.mark.parametrize("ending, separator", [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("folder", [False, True])
def test_every_word_of_a_table_stays_a_text(tmp_path, ending, separator, folder):
    lines = [f"sentence{separator}label", *(f"{word}{separator}{place % 2}" for place, word in enumerate(WORDS))]
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / f"test.{ending}"
    file.write_text("\n".join(lines) + "\n")
    texts, labels = everything(load(tmp_path / "data" if folder else file))
    assert texts == WORDS and labels == [place % 2 for place in range(len(WORDS))]


@pytest.mark.parametrize("ending", ["json", "jsonl", "txt"])
def test_other_tables_keep_their_words(tmp_path, ending):
    words = [word for word in WORDS if word]
    file = tmp_path / f"test.{ending}"
    rows = [{"sentence": word} for word in words]
    file.write_text(
        "\n".join(words)
        if ending == "txt"
        else json.dumps(rows)
        if ending == "json"
        else "\n".join(map(json.dumps, rows))
    )
    column = "text" if ending == "txt" else "sentence"
    assert load(file, input=column, metric="perplexity").samples(range(len(words))) == words


def test_no_row_of_a_tab_table_is_lost_to_stray_marks(tmp_path):
    texts = [f'" red {place}' if place in (5, 17) else f"red {place}" for place in range(40)]
    lines = ["sentence\tlabel", *(f"{text}\t{place % 2}" for place, text in enumerate(texts))]
    (tmp_path / "test.tsv").write_text("\n".join(lines) + "\n")
    assert everything(load(tmp_path / "test.tsv")) == (texts, [place % 2 for place in range(40)])


def test_a_comma_table_whose_rows_are_joined_is_refused(tmp_path):
    lines = ["sentence,label", *('" ' * (place in (5, 17)) + f"red,{place % 2}" for place in range(40))]
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n")
    assert refused(tmp_path / "test.csv").startswith(
        f"task 'first', split 'test': {tmp_path}/test.csv: lines 7 to 19 are read as one row, since a quotation mark opens in "
        "line 7: "
    )


def test_a_gap_after_ten_thousand_rows_is_told_by_its_row(tmp_path):
    lines = ["sentence,label", *(f"red,{'' if place == 11_000 else place % 2}" for place in range(12_000))]
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="task 'first', split 'test', row 11000: it has no label in the column 'label'"):
        load(tmp_path / "test.csv").labels()
    split = load(tmp_path / "test.csv", bad_rows="skip")
    assert len(split) == 11_999 and split.labels().sum() == 6000


def test_a_row_that_ends_before_its_text_is_refused(tmp_path):
    (tmp_path / "test.csv").write_text("label,sentence\n0,a\n1\n")
    assert "row 1 of" in refused(tmp_path / "test.csv") and "has 1 fields, its header 2" in refused(
        tmp_path / "test.csv"
    )


# labels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        [False, True, True],
        [0.0, 1.0, 1.0],
        ["0", "1", "1"],
        ["False", "true", "TRUE"],
        pd.array([0, 1, 1], dtype="Int8"),
        pd.array([False, True, True], dtype="boolean"),
        np.array([0, 1, 1], np.uint8),
        np.array([0, 1, 1], np.float16).astype(np.float32),
    ],
    ids=str,
)
def test_bools_whole_floats_and_digits_are_classes(tmp_path, labels):
    found = load(parquet(tmp_path / "test.parquet", labels)).labels()
    assert found.dtype == torch.int64 and found.tolist() == [0, 1, 1]


def test_numbers_with_fractions_stay_numbers(tmp_path):
    for labels in ([0.5, 1.0, -2.0], ["0.5", "1", "-2"]):
        found = load(parquet(tmp_path / "test.parquet", labels)).labels()
        assert found.dtype == torch.float32 and found.tolist() == [0.5, 1.0, -2.0]


@pytest.mark.parametrize(
    "labels, says",
    [
        (
            [0.0, float("nan"), 1.0],
            ", row 1: it has no label in the column 'label': mend the row, or leave such rows out with",
        ),
        ([0, None, 1], ", row 1: it has no label"),
        (["0", " ", "1"], ", row 1: it has no label"),
        ([0.0, 1.0, float("inf")], ", row 2: it has the label inf"),
        (["0", "1", "nan"], ": the column 'label' holds numbers, but 'nan' in row 2: correct it."),
        ([0, -1, 1], ": the column 'label' hides its labels (-1)"),
        (
            pd.to_datetime(["2020-01-01"] * 3),
            ": the column 'label' has labels that are not numbers (datetime in row 0)",
        ),
        (["yes", "no", "no"], ": the column 'label' holds class names, but neither the data nor the head says"),
    ],
    ids=str,
)
def test_a_label_that_is_none_is_told_by_its_row(tmp_path, labels, says):
    assert refused(parquet(tmp_path / "test.parquet", labels)).startswith(f"task 'first', split 'test'{says}")


def test_rows_are_those_of_the_whole_split(tmp_path):
    labels = [None if place == 90 else place % 2 for place in range(100)]
    path = parquet(tmp_path / "test.parquet", pd.array(labels, dtype="Int64"))
    assert "row 90: it has no label" in refused(path, samples=99, seed=1)
    assert "split 'test[:50%]', row 90: it has no label" in refused(path, split="test[:50%]")
    joined = refused(path, split="test[50%:]+test[:50%]")  # two wholes of 100 rows
    assert "split 'test[50%:]+test[:50%]' (rows counted through its parts), row 190: it has no label" in joined


# texts and images ----------------------------------------------------------------------------------------------------


def test_an_empty_or_foreign_text_is_told_by_its_row(tmp_path):
    path = parquet(tmp_path / "test.parquet", [0, 1, 0], ["red", None, "cat"])
    assert refused(path).startswith("task 'first', split 'test', row 1: the column 'sentence' is empty: ")
    path = parquet(tmp_path / "other.parquet", [0, 1, 0], [b"red", b"blue", b"cat"])
    assert "the column 'sentence' holds bytes, but the model takes texts" in refused(path)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def pictures(path: Path, count: int, broken: dict[int, dict | None]) -> Path:
    """A table of images with their names, some of them broken."""
    images = [broken.get(place, {"bytes": png(place), "path": f"{place}.png"}) for place in range(count)]
    labels = [place % 2 for place in range(count)]
    table = datasets.Dataset.from_dict({"image": images, "label": labels}).cast_column("image", datasets.Image())
    table.to_parquet(path)
    return path


UNKNOWN = "'image' cannot be read, it is no image of a known format"
BROKEN = {
    "truncated": ({"bytes": png(0)[:60], "path": "a.png"}, "(a.png): 'image' cannot be read, "),
    "empty": ({"bytes": b"", "path": "a.png"}, f"(a.png): {UNKNOWN}"),
    "a text": ({"bytes": b"<html>", "path": "a.png"}, f"(a.png): {UNKNOWN}"),
    "a tensor": ({"bytes": b"\x08\0\0\0\0\0\0\0{}      ", "path": "a.png"}, f"(a.png): {UNKNOWN}"),
    "nothing": (None, ": the column 'image' is empty"),
    "neither bytes nor path": ({"bytes": None, "path": None}, ": 'image' cannot be read, "),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_image_is_told_by_row_and_file_or_left_out(tmp_path, kind):
    broken, says = BROKEN[kind]
    path = pictures(tmp_path / "test.parquet", 120, {77: broken})
    said = refused(path, IMAGES, input="image")
    assert said.startswith(f"task 'first', split 'test', row 77{' ' * (says[0] == '(')}{says}")
    assert said.endswith(
        "mend the row, or leave such rows out with `bad_rows: skip` in the zoo file (up to 1 % of a split)."
    )
    split = load(path, IMAGES, input="image", bad_rows="skip")
    images, labels = everything(split)
    assert len(images) == len(split) == 119 and sum(labels) == 59
    assert split.skipped.startswith("1 of 120 rows is bad, first row 77")
    assert split.skipped.endswith("), and left out (`bad_rows: skip`).")
    assert [label for piece in split.pieces(1) for label in piece.labels().tolist()] == labels


def test_a_broken_file_of_a_folder_is_told_by_its_name(tmp_path):
    (tmp_path / "photos" / "ant").mkdir(parents=True)
    for place in range(6):
        (tmp_path / "photos" / "ant" / f"{place}.png").write_bytes(png(place)[: 60 if place == 4 else None])
    said = refused(tmp_path / "photos", IMAGES, split="train", input="image")
    assert said.startswith("task 'first', split 'train', row 4 (4.png): 'image' cannot be read, ")


def test_more_than_one_percent_of_bad_rows_is_refused(tmp_path):
    path = pictures(tmp_path / "test.parquet", 199, {3: None, 7: None})
    assert refused(path, IMAGES, input="image", bad_rows="skip") == (
        "task 'first', split 'test': 2 of 199 rows are bad, first row 3: the column 'image' is empty; `bad_rows: skip` leaves "
        "out 1 % at most: mend them."
    )


def test_one_wide_image_among_ordinary_ones_is_scaled_by_its_own_type(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(file, "PNG")
    split = load(
        pictures(tmp_path / "test.parquet", 3, {1: {"bytes": file.getvalue(), "path": None}}), IMAGES, input="image"
    )
    first, wide, _ = split.at(range(3))
    assert (wide == 128).all() and torch.equal(first, IMAGES(Image.open(io.BytesIO(png(0)))))


# what a user sees ----------------------------------------------------------------------------------------------------


def test_constant_images_and_empty_texts_are_told(tmp_path):
    folder = tmp_path / "photos" / "0"
    folder.mkdir(parents=True)
    for place in range(4):  # 8 bits in a container of 16
        Image.fromarray(np.random.default_rng(place).integers(0, 200, (8, 8)).astype(np.uint16)).save(
            folder / f"{place}.png"
        )
    split = load(tmp_path / "photos", IMAGES, split="train", input="image")
    assert samples_note(split, split.spread(64)) == (
        "4 of 4 samples looked at became images of one colour, all of it black: see whether their pixels use the range of "
        "their type."
    )
    path = parquet(tmp_path / "test.parquet", [0, 1, 0], ["red", " ", "cat"])
    split = load(path)
    assert (
        samples_note(split, split.spread(64)) == "1 of 3 samples looked at are empty texts: see whether that is meant."
    )


def with_data(zoo: Path, **fields) -> Path:
    content = yaml.safe_load(zoo.read_text())
    content["tasks"][0]["data"] |= fields
    zoo.write_text(yaml.safe_dump(content))
    return zoo


def test_check_and_run_name_the_row_or_count_what_was_left_out(tmp_path):
    zoo = image_zoo(tmp_path, "vit")
    pictures(tmp_path / "photos.parquet", 150, {113: {"bytes": png(0)[:60], "path": "a.png"}})
    with_data(zoo, path="photos.parquet")
    said = "task 'first', split 'test', row 113 (a.png): 'image' cannot be read, "
    words = ["compare", "--zoo", str(zoo), "--methods", "adamerging", "--set", "adamerging.steps=2"]
    run = CliRunner().invoke(app, [*words, "--device", "cpu"])
    assert run.exit_code == 1 and said in run.stderr and "Traceback" not in run.output
    with_data(zoo, bad_rows="skip")
    checked = CliRunner().invoke(app, ["zoo", "check", str(zoo)])
    assert checked.exit_code == 0, checked.output
    assert "note: task 'first': 1 of 150 rows is bad, first row 113 (a.png) (" in checked.stderr
    assert (
        "task 'first': looked at 64 of 149 samples, drawn evenly over the split 'test', and at all labels; the model "
        "answered 4 of them." in checked.stderr
    )
    report = tmp_path / "scores.json"
    run = CliRunner().invoke(app, [*words, "--device", "cpu", "--json", str(report)])
    assert run.exit_code == 0, run.output
    assert "fda: task 'first', split 'test': 1 of 150 rows is bad, first row 113 (a.png)" in run.stderr
    rows = {row["method"]: row["settings"] for row in json.loads(report.read_text())["rows"]}
    assert rows.keys() >= {"adamerging", "individual"}
    assert all(settings["samples"]["first"].startswith("1 of 150 rows is bad") for settings in rows.values())
