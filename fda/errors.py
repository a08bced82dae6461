"""The one exception a user reads: what is wrong, where, and what to do, in one sentence.

Raised at the rim (files, command line, forms) and shown as it is: on stderr with exit code 2, or as a notice on a page.
Anything else that is raised is a programmer's error and stays an ordinary exception.
"""

from collections.abc import Sequence


class UserError(Exception):
    """A request that cannot be carried out; its text is the whole message."""


class Misfit(UserError):
    """Checkpoints that do not fit together. `problems`: the first few, a sentence each; the text is the first of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems[0])
        self.problems = tuple(problems)
