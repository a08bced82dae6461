"""What people say of a run: its name, a note and tags, with their limits. No I/O."""

import re
from collections.abc import Sequence

from fda.errors import UserError, readable

MOST_NAME, MOST_NOTE, MOST_TAG = 80, 1000, 30  # characters
MOST_TAGS = 12  # of one run
_TAG = re.compile(rf"\w[\w.-]{{0,{MOST_TAG - 1}}}")


def checked_name(text: str) -> str | None:
    """The name without blanks around it; None for an empty one. UserError if it is too long or not one readable line."""
    name = text.strip()
    if len(name) > MOST_NAME:
        raise UserError(f"the name has {len(name)} characters: give one of at most {MOST_NAME}.")
    if readable(name) != name:
        raise UserError("the name has control characters or more than one line: give one line of plain text.")
    return name or None


def checked_note(text: str) -> str | None:
    """The note without blanks around it, of one or several lines; None for an empty one. UserError as `checked_name`."""
    note = "\n".join(text.strip().splitlines())
    if len(note) > MOST_NOTE:
        raise UserError(f"the note has {len(note)} characters: give one of at most {MOST_NOTE}.")
    if any(readable(line) != line for line in note.split("\n")):
        raise UserError("the note has control characters: give plain text.")
    return note or None


def checked_tags(words: Sequence[str]) -> tuple[str, ...]:
    """The tags, each once, in their order. UserError for too many, and for one that is no short word."""
    tags = tuple(dict.fromkeys(words))
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise UserError(
                f"{tag!r} is no tag: a tag is one word of at most {MOST_TAG} letters, digits, dots, hyphens and underscores."
            )
    if len(tags) > MOST_TAGS:
        raise UserError(f"a run has at most {MOST_TAGS} tags, not {len(tags)}: remove some.")
    return tags
