"""What torch compiles is kept in FDA_HOME, so that it must be settled before torch settles it."""

import io
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from fda.cli import app as cli
from fda.stages import helper_child, worker


def _command_line() -> None:
    with pytest.raises(SystemExit):
        cli.main()


def _worker() -> None:
    assert worker.main("no-such-run") == 2


def _helper() -> None:
    with pytest.raises(ValidationError):
        helper_child.main()


@pytest.mark.parametrize("enter", (_command_line, _worker, _helper))
def test_each_process_keeps_what_is_compiled(enter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FDA_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", ["fda", "--no-such-option"])
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))
    enter()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "compiled")


def test_the_users_own_choice_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    _worker()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
