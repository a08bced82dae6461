"""What a run is asked to do. `spec.json` in the run's folder holds one of these and is enough to repeat the run."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fda.settings import AdaptSettings, ConstructSettings, LandscapeSettings
from fda.zoos.zoo import Zoo


class _Helper(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExportSettings(_Helper):
    """Write the merged model of `run_id` and `method` into `folder`. `task`: the task whose own head is added."""

    kind: Literal["export"] = "export"
    run_id: str
    method: str
    task: str | None = None
    folder: str


class DownloadSettings(_Helper):
    """Download the zoo's models from the hub, then check that everything fits together."""

    kind: Literal["download"] = "download"


class SurveySettings(_Helper):
    """Read the zoo's checkpoints: sizes, task-vector norms and cosines. `files`: a digest of the state of its files."""

    kind: Literal["survey"] = "survey"
    files: str


class PreviewSettings(_Helper):
    """Read the headers and configs of the zoo's models. `files`: a digest of the state of its files."""

    kind: Literal["preview"] = "preview"
    files: str


class EstimateSettings(_Helper):
    """Measure what this run would cost, on its device; the rest of the spec is the run's own."""

    kind: Literal["estimate"] = "estimate"


Helper = ExportSettings | DownloadSettings | SurveySettings | PreviewSettings | EstimateSettings


class RunSpec(BaseModel):
    """One run: construct anchors, or compare methods, or both one after the other; or compute a loss landscape.

    `helper`: the run does this for a page instead, and stays out of the lists of runs.

    `construction` is None for a run that only compares; `methods` is empty for a run that only constructs.
    A comparing run without `construction` takes its anchors, if a method needs them, from `anchors_run`. `hyperparameters`
    holds what differs from the registry's defaults (method → name → value); `adaptation` is None for the zoo's own settings.
    `published`: a folder of anchors that others constructed and this run imports; `construction` then says how they did it, but
    for the settings in `unknown`, where the paper's stand in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    zoo: Zoo
    zoo_path: str
    tasks: tuple[str, ...] = Field(min_length=1)
    blocks: tuple[int, ...] = ()
    construction: ConstructSettings | None = None
    published: str | None = None
    unknown: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    hyperparameters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    adaptation: AdaptSettings | None = None
    anchors_run: str | None = None
    landscape: LandscapeSettings | None = None
    helper: Annotated[Helper, Field(discriminator="kind")] | None = None
    device: str = "cpu"
    engine: Literal["local", "ray"] = "local"
    seed: int = 0

    @property
    def kind(self) -> str:
        """What the run is called in lists, one of `records.KINDS`: `demo` constructs and compares in one go."""
        if self.helper is not None:
            return self.helper.kind
        if self.landscape is not None:
            return "landscape"
        if self.construction is None:
            return "compare"
        return "demo" if self.methods else "construct"
