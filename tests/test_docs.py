"""The documents tell the truth about what can be checked by reading: links, commands, the table of methods, lengths."""

import ast
import re

import pytest

from fda.home import REPO
from fda.merging.listing import document
from fda.report import paper

DOCUMENTS = sorted([*REPO.glob("*.md"), *REPO.glob("docs/*.md")])
ROOMS = sorted({path.parent for path in (REPO / "fda").rglob("*.py")})


def test_the_page_of_methods_is_the_registry():
    assert (REPO / "docs" / "methods.md").read_text(encoding="utf-8") == document()


def test_the_page_on_the_paper_is_its_file_of_claims():
    assert (REPO / "docs" / "paper.md").read_text(encoding="utf-8") == paper.document()


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


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(REPO).as_posix())
def test_every_room_says_what_lives_there_and_what_must_not(room):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    first, _, second = text.partition("\n\n")
    assert first.strip().endswith(".") and second.strip().endswith("."), (
        f"{room}: two paragraphs, a sentence or more each"
    )
