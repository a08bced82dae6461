"""A recording: the numbers of a finished run that its replay shows, in one small JSON file without weights.

`record.py` makes one from the store, `replay.py` prepares one for drawing. A recording may come from a stranger: reading one
checks every size, count and number. Imports no streamlit and no torch.
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from fda.errors import UserError, readable
from fda.figures.kinds import Kind

MOST_BYTES = 1_000_000
MOST_STEPS, MOST_CURVES, MOST_METHODS = 100, 4096, 64
LEAST_SIDE, MOST_SIDE = 2, 33  # points along a side of the plane

Name = Annotated[str, StringConstraints(min_length=1, max_length=120), AfterValidator(readable)]
Sentence = Annotated[str, StringConstraints(max_length=1000), AfterValidator(readable)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Curve(_Part):
    """The angle loss of a unit at the recording's steps. A unit that stopped early keeps its last loss."""

    task: Name
    block: int = Field(ge=0, le=100_000)
    loss: tuple[Annotated[float, Field(ge=0)], ...] = Field(max_length=MOST_STEPS)


class MethodScores(_Part):
    """The scores of a finished method on the recording's tasks, in their order. `kind`: what it reads."""

    method: Name
    title: Name
    kind: Kind
    scores: tuple[Annotated[float, Field(ge=-1, le=1)], ...]

    @property
    def average(self) -> float:
        return sum(self.scores) / len(self.scores)


class PlanePath(_Part):
    """The models along a path through the plane, or the finetuned models in the order of the tasks."""

    name: Name
    a: tuple[float, ...] = Field(min_length=1, max_length=200)
    b: tuple[float, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _has_points(self) -> "PlanePath":
        if len(self.a) != len(self.b):
            raise ValueError("a and b differ in length")
        return self


class Plane(_Part):
    """The mean loss on a grid over the plane of weights: `loss[row][column]` at b[row], a[column]."""

    a: tuple[float, ...] = Field(min_length=LEAST_SIDE, max_length=MOST_SIDE)
    b: tuple[float, ...] = Field(min_length=LEAST_SIDE, max_length=MOST_SIDE)
    loss: tuple[tuple[Annotated[float, Field(ge=0)], ...], ...]
    paths: tuple[PlanePath, ...] = Field(max_length=8)
    finetuned: PlanePath

    @model_validator(mode="after")
    def _is_a_grid(self) -> "Plane":
        if not all(np.all(np.diff(side) > 0) for side in (self.a, self.b)):
            raise ValueError("a and b must rise")
        if len(self.loss) != len(self.b) or any(len(row) != len(self.a) for row in self.loss):
            raise ValueError("loss needs a row for each b and a column for each a")
        return self


class Machine(_Part):
    """Where the run was recorded. `device` is the run's own."""

    device: Name
    processor: Name | None = None
    cores: int | None = Field(default=None, ge=1, le=100_000)


class Recording(_Part):
    """`date`: when the run ended, seconds since the epoch; `seconds`: how long it took. `methods`: in the order they finished.

    `metric` names the scores; `samples` is the number that were scored.
    """

    version: Literal[1] = 1
    run_id: Name
    name: Name | None = None
    zoo: Name
    tasks: tuple[Name, ...] = Field(min_length=1, max_length=64)
    settings: dict[Name, str | int | float | bool | None] = Field(max_length=60)
    date: float = Field(ge=0, le=1e11)
    seconds: float = Field(ge=0, le=1e9)
    machine: Machine
    software: dict[Name, Name] = Field(max_length=20)
    steps: tuple[Annotated[int, Field(ge=0, le=10**9)], ...] = Field(max_length=MOST_STEPS)
    curves: tuple[Curve, ...] = Field(max_length=MOST_CURVES)
    metric: Name = "accuracy"
    samples: int = Field(default=0, ge=0)
    methods: tuple[MethodScores, ...] = Field(max_length=MOST_METHODS)
    verdict: tuple[Sentence, ...] = Field(max_length=3)
    plane: Plane | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "Recording":
        if any(late <= early for early, late in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError("steps must rise")
        if self.curves and len(self.steps) < 2:
            raise ValueError("a curve needs two steps")
        if any(len(curve.loss) != len(self.steps) or curve.task not in self.tasks for curve in self.curves):
            raise ValueError("each curve needs a loss for each step, and one of the tasks")
        if any(len(one.scores) != len(self.tasks) for one in self.methods):
            raise ValueError("each method needs a score for each task")
        if self.plane is not None and len(self.plane.finetuned.a) != len(self.tasks):
            raise ValueError("plane.finetuned needs a model for each task")
        if not self.curves and not self.methods:
            raise ValueError("there is neither a curve nor a score")
        return self

    @property
    def title(self) -> str:
        return self.name or self.run_id


def to_json(recording: Recording) -> str:
    """The recording as the text of its file. UserError if that is longer than `MOST_BYTES`."""
    text = recording.model_dump_json(exclude_none=True)
    if len(text.encode()) > MOST_BYTES:
        raise UserError(
            f"the recording of {recording.title} would have more than {MOST_BYTES:,} bytes: it is too large."
        )
    return text


def read_recording(path: Path) -> Recording:
    """The recording in a file. UserError if it cannot be read, is too large, or does not hold what a recording holds."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    again = "make it again with `python -m fda record RUN_ID`."
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES:,} bytes, too many for a recording: {again}")
    try:
        return Recording.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path} is no recording of version 1 ({first_problem(error)}): {again}") from None


def first_problem(error: ValidationError) -> str:
    """Where the first problem is, and what it is."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    location = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{location}: {message}" if location else message
