"""Rows and quoting of tables of text: what is counted in their lines is what pandas makes of them."""

import csv
import gzip

import pandas as pd
import pytest

from fda.errors import UserError
from fda.tasks.tables import count_json_lines, read_layout

PLAIN = ['" red cat', "blue dog", 'a big" bird', '"old"', "sits"]


def layout(path, text: str, separator: str = ","):
    path.write_text(text, encoding="utf-8")
    return read_layout(path, separator, "label")


def tab_table(texts: list[str]) -> str:
    return "sentence\tlabel\n" + "".join(f"{text}\t{place % 2}\n" for place, text in enumerate(texts))


@pytest.mark.parametrize(
    "texts",
    [
        PLAIN,
        ['" opens', "stays", 'closes"'],  # the rows between would be one text, well quoted
        ['"all of it"', "nothing"],
        ['"', '"'],
        ['""', "two"],
    ],
)
def test_marks_of_a_tab_table_are_letters(tmp_path, texts):
    found = layout(tmp_path / "t.tsv", tab_table(texts), "\t")
    assert (found.header, found.quoted, found.rows) == (("sentence", "label"), False, len(texts))


@pytest.mark.parametrize(
    "texts, quoting",
    [
        (["one\ttab", "two"], csv.QUOTE_MINIMAL),
        (["two\nlines", "three"], csv.QUOTE_MINIMAL),
        (['he said "no"', "yes"], csv.QUOTE_MINIMAL),
        (["red", "blue"], csv.QUOTE_ALL),
        (["red", "blue"], csv.QUOTE_NONNUMERIC),
    ],
)
def test_a_tab_table_that_a_writer_quoted_is_quoted(tmp_path, texts, quoting):
    table = pd.DataFrame({"sentence": texts, "label": [0, 1]})
    found = layout(tmp_path / "t.tsv", table.to_csv(sep="\t", index=False, quoting=quoting), "\t")
    assert (found.header, found.quoted, found.rows) == (("sentence", "label"), True, 2)


@pytest.mark.parametrize(
    "text, rows",
    [
        ("sentence,label\na,0\nb,1\n", 2),
        ("sentence,label\r\na,0\r\n\r\n   \r\nb,1", 2),
        ('\ufeffsentence,label\n"a, b\nc",0\n"say ""no""",1\n', 2),
        ('sentence,label\n"line one, here\nline two",1\nx,0\n', 2),  # each line has two fields, and none is a label
        ("sentence,label\n", 0),
    ],
)
def test_rows_of_a_comma_table_are_those_that_pandas_reads(tmp_path, text, rows):
    assert layout(tmp_path / "t.csv", text).rows == rows == len(pd.read_csv(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    "text, says",
    [
        (
            'sentence,label\nx,1\n" red,0\nblue,1\n" cat,0\n',
            "lines 3 to 5 are read as one row, since a quotation mark opens",
        ),
        ('sentence,label\nx,1\nb,0\n"foo,0\nbar,1\nbaz",1\n', "lines 4 to 6 are read as one row"),
        ('sentence,label\nx,1\n"foo,0\nbar,1\n', "lines 3 to 4 are read as one row"),
        ("sentence,label\na,0\nb,c,1\n", "line 3 of .* has 3 fields, its header only 2"),
        ("sentence,label\na,0,\nb,1,\n", "line 2 of .* has 3 fields, its header only 2"),
    ],
)
def test_a_comma_table_that_loses_rows_or_moves_columns_is_refused(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        layout(tmp_path / "t.csv", text)


def test_rows_that_lack_fields_are_listed(tmp_path):
    assert layout(tmp_path / "t.csv", "label,sentence\n0,a\n1\n0,c\n").short == ((1, 1),)


def test_compressed_tables_are_counted_and_other_texts_are_left_to_their_reader(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wt") as file:
        file.write("sentence,label\na,0\n")
    assert read_layout(tmp_path / "t.csv.gz", ",", "label").rows == 1
    (tmp_path / "latin.csv").write_bytes("sentence,label\nä,0\n".encode("latin-1"))
    assert read_layout(tmp_path / "latin.csv", ",", "label") is None
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    assert count_json_lines(tmp_path / "t.jsonl") == 2
    (tmp_path / "t.jsonl").write_text('{"a": 1,\n"b": 2}\n')
    assert count_json_lines(tmp_path / "t.jsonl") is None
