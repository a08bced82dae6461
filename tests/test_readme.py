"""The README tells the truth about what can be checked by reading."""

import re

from fda.home import REPO
from fda.merging.listing import methods_table

README = (REPO / "README.md").read_text(encoding="utf-8")


def test_the_method_table_is_the_registry():
    assert methods_table() in README


def test_every_file_it_points_at_is_there():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (REPO / path).exists(), path


def test_its_commands_exist():
    from typer.main import get_command

    from fda.cli.app import app

    root = get_command(app)
    for words in re.findall(r"python -m fda ([a-z-]+(?: [a-z-]+)?)", README):
        first, *rest = words.split()
        command = root.commands[first]
        if rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, words
