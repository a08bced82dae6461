"""The claims of the paper beside what was found here, from assets/paper.yaml; `python -m fda.report.paper > docs/paper.md`.

The file is written by hand from measured results; a test compares docs/paper.md with it. Imports no streamlit.
"""

from datetime import date
from functools import cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fda.errors import UserError
from fda.home import ASSETS

CLAIMS = ASSETS / "paper.yaml"
PAPER = "https://arxiv.org/abs/2510.21223"
Verdict = Literal["holds", "holds in part", "does not hold", "not tried"]

INTRODUCTION = f"""Each claim of the paper ([Shi, Wen and Liu, 2510.21223]({PAPER})) with what was found here. Scores are
averages over tasks in percent; ranges in brackets are 95 % bootstrap intervals over test samples. The demo zoo's tasks were
chosen while its test scores were looked at, so it illustrates the method and proves nothing."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Part):
    """What was found for one claim on one zoo, with the command that measures it again and the day it was measured."""

    zoo: str
    verdict: Verdict
    numbers: str
    command: str
    date: date


class Claim(_Part):
    """`paper`: the paper's own numbers or figure."""

    claim: str
    paper: str
    found: tuple[Finding, ...]

    def on(self, zoo: str) -> Finding | None:
        return next((finding for finding in self.found if finding.zoo == zoo), None)

    def verdict(self, zoo: str) -> Verdict:
        finding = self.on(zoo)
        return "not tried" if finding is None else finding.verdict


class Question(_Part):
    """What reviewers of the paper asked for, and as much of an answer as there is."""

    question: str
    answer: str
    command: str | None
    date: date | None


class Claims(_Part):
    """`zoos`: key → what it is."""

    zoos: dict[str, str]
    claims: tuple[Claim, ...]
    questions: tuple[Question, ...]

    @model_validator(mode="after")
    def _findings_name_known_zoos(self) -> "Claims":
        for claim in self.claims:
            for finding in claim.found:
                if finding.zoo not in self.zoos:
                    raise ValueError(f"no zoo {finding.zoo!r}")
        return self


@cache
def claims() -> Claims:
    """The claims. UserError if the file is damaged."""
    try:
        return Claims.model_validate(yaml.safe_load(CLAIMS.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise UserError(
            f"{CLAIMS} could not be read ({type(error).__name__}): restore it from the repository."
        ) from error


def document() -> str:
    """The whole of docs/paper.md."""
    known = claims()
    lines = ["# The paper, checked", "", INTRODUCTION, "", "Generated from `assets/paper.yaml`:"]
    lines += ["`python -m fda.report.paper > docs/paper.md`.", ""]
    lines += [f"| claim | {' | '.join(known.zoos.values())} |", f"|---|{'---|' * len(known.zoos)}"]
    lines += [f"| {one.claim} | {' | '.join(one.verdict(zoo) for zoo in known.zoos)} |" for one in known.claims]
    for one in known.claims:
        lines += ["", f"## {one.claim}", "", f"Paper: {one.paper}.", ""]
        lines += [
            f"- {known.zoos[finding.zoo]}: **{finding.verdict}**. {finding.numbers}. "
            f"`{finding.command}`, {finding.date}."
            for finding in one.found
        ]
    lines += ["", "## What reviewers asked", ""]
    for one in known.questions:
        how = f" `{one.command}`{f', {one.date}' if one.date else ''}." if one.command else ""
        lines += [f"- **{one.question}** {one.answer}{how}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
