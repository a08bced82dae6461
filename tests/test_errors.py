"""What a sentence becomes before anybody reads it: one line, without control characters, of bounded length."""

import pickle

import pytest
import torch

from fda.checkpoints.readers.open import open_weights
from fda.cli import app as cli
from fda.errors import LONGEST, Misfit, UserError, readable
from fda.jobs import failures
from fda.store.store import Store

EVIL = "\x1b[31mlayer\r\nfda: all is well\x9b1m\u202e\u2028\ud800"


def unseen(text: str) -> list[str]:
    return [one for one in text if not one.isprintable()]


def test_control_characters_are_replaced_wherever_a_sentence_is_made(tmp_path):
    assert str(UserError(f"tensor {EVIL} is none.")) == "tensor �[31mlayer  fda: all is well�1m� � is none."
    fits = Misfit([f"one {EVIL}", f"two {EVIL}"])
    assert not unseen(str(fits)) and fits.problems[0] == str(fits) and not unseen(fits.problems[1])
    assert not unseen(failures.sentence(ValueError(f"one {EVIL}"), Store(tmp_path), "20260101-000000-abcd"))


def test_a_usual_sentence_and_its_characters_stay_as_they_are():
    for text in ("/home/zoë/Modelle/α · β’s “file” — “日本語” naïve: 3 × 4, 10\u00a0% 👩‍🔬", "x" * LONGEST, ""):
        assert readable(text) == text and str(UserError(text)) == text


def test_of_a_long_name_both_ends_are_told_and_the_sentence_stays_whole():
    text = str(UserError(f"/some/model.bin: tensor first.{'n' * 200_000}.last is none: copy it again."))
    assert len(text) < 400 and text.startswith("/some/model.bin: tensor first.nnn") and "nnn…nnn" in text
    assert text.endswith("nnn.last is none: copy it again.")
    many = str(UserError("begin " + "word " * 100_000 + "end"))
    assert len(many) == LONGEST and many.startswith("begin word") and many.endswith("word end")


@pytest.mark.parametrize("name", [EVIL, "n" * 200_000], ids=["control characters", "long"])
def test_the_command_line_prints_one_short_line_on_a_file_with_such_names(tmp_path, monkeypatch, capsys, name):
    path = tmp_path / "model.bin"
    name = name.removesuffix("\ud800")
    path.write_bytes(pickle.dumps({name: torch.ones(9)}, 2).replace(b"K\t\x85", b"K\x0a\x85"))
    with pytest.raises(UserError, match="has shape") as caught:
        list(open_weights(path))
    assert not unseen(str(caught.value))
    monkeypatch.setattr("sys.argv", ["fda", "convert", str(path), str(tmp_path / "out.safetensors")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.endswith("\n") and not unseen(said[:-1]) and len(said) < LONGEST
