"""A file is written whole or not at all."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fda.atomic import whole_file, write_text


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "new folder" / "file.txt"
    write_text(path, "before")
    with pytest.raises(RuntimeError), whole_file(path) as part:
        part.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "before" and list(path.parent.iterdir()) == [path]


def test_an_existing_file_can_be_protected(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "first", replace=False)
    with pytest.raises(FileExistsError):
        write_text(path, "second", replace=False)
    assert path.read_text(encoding="utf-8") == "first" and list(tmp_path.iterdir()) == [path]


def test_threads_that_write_one_path_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    texts = [str(number) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(path, text), texts * 5))
    assert path.read_text(encoding="utf-8") in texts and list(tmp_path.iterdir()) == [path]
