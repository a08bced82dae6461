"""The one exception a user reads: what is wrong, where, and what to do, in one sentence.

Raised at the rim (files, command line, forms) and shown as it is: on stderr with exit code 2, or as a notice on a page.
Anything else that is raised is a programmer's error and stays an ordinary exception.

A sentence quotes names out of files that strangers made, so it is made fit to be read here, once for every place that shows it.
"""

import re
from collections.abc import Sequence

LONGEST, LONGEST_WORD = 1000, 240  # characters: of a sentence, and of a word in one that is longer
# What moves the cursor, colours a terminal, turns the direction of writing or is no character at all.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """A request that cannot be carried out; its text is the whole message, made `readable`."""

    def __init__(self, text: str) -> None:
        super().__init__(readable(text))


class Misfit(UserError):
    """Checkpoints that do not fit together. `problems`: the first few, a sentence each; the text is the first of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems[0])
        self.problems = tuple(readable(problem) for problem in problems)


def readable(text: str) -> str:
    """The text in one line without control characters; of one that is too long, the middle of its longest words is left out."""
    text = _UNSEEN.sub(lambda found: " " if found[0].isspace() else "�", text)
    if len(text) > LONGEST:
        text = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda found: _cut(found[0], LONGEST_WORD), text)
    return _cut(text, LONGEST)


def _cut(text: str, most: int) -> str:
    left = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - left]}…{text[-left:]}"
