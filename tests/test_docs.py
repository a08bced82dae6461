"""The documents tell the truth about what can be checked by reading: links, commands, the table of methods, lengths."""

import re

import pytest

from fda.home import REPO
from fda.merging.listing import document

DOCUMENTS = sorted([*REPO.glob("*.md"), *REPO.glob("docs/*.md")])


def test_the_page_of_methods_is_the_registry():
    assert (REPO / "docs" / "methods.md").read_text(encoding="utf-8") == document()


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_a_document_links_to_exists(path):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_a_document_names_exists(path):
    from typer.main import get_command

    from fda.cli.app import app

    root = get_command(app)
    for words in re.findall(r"(?:python -m fda|`fda) ([a-z-]+(?: [a-z-]+)?)", path.read_text(encoding="utf-8")):
        first, *rest = words.split()
        command = root.commands[first]
        if rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, words
