"""What a page and its mixer's process say to each other, as JSON. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MOST_SAMPLES = 4096  # of a task
SAMPLES = 100  # of a task, unless a request asks for another number
MOST_SHOWN = 200  # samples whose answers one request asks for, of a task


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class MixRequest(Message):
    """Mix and score. `recipe`: `Recipe.content()`; `baseline`: likewise the pinned mix, or None.

    `samples`: how many of each task's validation split are answered, a fixed choice (seed 0): a smaller number is a part of a
    larger one. `shown`: task → indices in its validation split whose answers are given too; empty: those of `TaskAbout.shown`.
    """

    recipe: dict[str, Any]
    baseline: dict[str, Any] | None = None
    samples: int = Field(SAMPLES, ge=1, le=MOST_SAMPLES)
    shown: dict[str, tuple[int, ...]] = Field(default_factory=dict)


class Prediction(Message):
    """The answer to one sample. `index`: in the task's validation split. `label`, `predicted`: classes of the head.

    For `pearson` they are numbers; then, and for generated texts, `confidence` (the class's probability) is None.
    """

    index: int
    label: float
    predicted: float
    confidence: float | None

    @property
    def right(self) -> bool:
        return self.predicted == self.label


class Scores(Message):
    """`tasks`: task → its metric, 0..1 (correlations −1..1); `average`: their mean; `shown`: of samples asked for."""

    tasks: dict[str, float]
    average: float
    shown: dict[str, tuple[Prediction, ...]]


class Place(Message):
    """A model on the plane of `About.plane`: `a`, `b` and its `distance` from it, in units of ‖Σ τ_i‖ over the blocks."""

    a: float
    b: float
    distance: float


class BlockRow(Message):
    """What one block got. `index`: None for the tensors outside blocks, whose `block` is `rest`.

    `method` as in the recipe; `pretrained` if no part names the block. `settings`: all hyperparameters. `weights`: of the
    recipe. `change`: ‖θ − θ0‖ / ‖θ0‖ of the block's tensors.
    """

    block: str
    index: int | None
    method: str
    settings: dict[str, int | float | str]
    weights: dict[str, float]
    change: float


class Answer(Message):
    """The scores of a mix. `individual`: each finetuned model on its own task, on the same samples.

    `samples`: task → how many were answered; `note`: a sentence, if they are fewer than asked for. `place`: None without a
    plane. `generation`: of the request, growing. `seconds`: that the process worked on it.
    """

    generation: int
    mix: Scores
    individual: Scores
    baseline: Scores | None
    place: Place | None
    blocks: tuple[BlockRow, ...]
    samples: dict[str, int]
    note: str | None
    seconds: float
    resident_bytes: int


class Progress(Message):
    """What the process is at (`opening the checkpoints`, `computing ta`), and the share that is done, 0..1, if known."""

    text: str
    share: float | None = None


class TaskAbout(Message):
    """`samples`: of its validation split. `shown`: indices in it of the samples that are shown. `classes`: names, or None."""

    name: str
    title: str
    metric: str
    samples: int
    shown: tuple[int, ...]
    classes: tuple[str, ...] | None


class PlaneAbout(Message):
    """The plane through θ0, which is at (0, 0), that a mix is shown on, in units of ‖Σ τ_i‖ over the blocks.

    `landscape`: the run whose loss plane it is (`fda.store.landscape_record.load_map`); None: that of the two principal
    directions of the task vectors. `tasks`: where each finetuned model is; `sum`: where θ0 + Σ τ_i is.
    """

    landscape: str | None
    tasks: dict[str, Place]
    sum: Place


class About(Message):
    """What a mixer has opened. `blocks`: their names, in order. `largest`: the samples of a task it answers within a second.

    `forecast_bytes`: of memory the process may take. `note`: a sentence for a model too large to answer the default number of
    samples within a second, else None.
    """

    zoo: str
    run_id: str | None
    tasks: tuple[TaskAbout, ...]
    blocks: tuple[str, ...]
    plane: PlaneAbout | None
    largest: int
    forecast_bytes: int
    note: str | None


class Pictures(Message):
    """Samples to be shown of one task: index in the validation split → a WebP picture, or UTF-8 text, in base64.

    `kind`: image or text.
    """

    kind: str
    content: dict[int, str]
    labels: dict[int, float]

    def decoded(self) -> Mapping[int, bytes]:
        from base64 import b64decode

        return {index: b64decode(text) for index, text in self.content.items()}
