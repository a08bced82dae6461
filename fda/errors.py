"""The one exception that users read: what is wrong, where, and what to do, in one sentence.

Code at the rim (files, command line, forms) raises it. The command line prints it on stderr and exits with code 2; a page shows
it as a notice. Every other exception is a bug.

Messages quote names from untrusted files, so they are cleaned here, once for every place that shows them.
"""

import re
from collections.abc import Sequence

LONGEST, LONGEST_WORD = 1000, 240  # characters of a message; of each word in a message that is longer
# Control characters (cursor, terminal colours), line and paragraph separators, bidirectional overrides, lone surrogates.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """A request that cannot be carried out. The text is the whole message, passed through `readable`."""

    def __init__(self, text: str) -> None:
        super().__init__(readable(text))


class Misfit(UserError):
    """Checkpoints that do not fit together. `problems`: the first few, one sentence each; the message is the first one."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems[0])
        self.problems = tuple(readable(problem) for problem in problems)


def readable(text: str) -> str:
    """Return the text on one line without control characters. If it is too long, its longest words lose their middle."""
    text = _UNSEEN.sub(lambda match: " " if match[0].isspace() else "�", text)
    if len(text) > LONGEST:
        text = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda match: _cut(match[0], LONGEST_WORD), text)
    return _cut(text, LONGEST)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its class, to quote it in a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cut(text: str, limit: int) -> str:
    tail = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[: limit - 1 - tail]}…{text[-tail:]}"
