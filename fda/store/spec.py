"""The specification of a run. `spec.json` in the run's folder holds it and is enough to repeat the run."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fda.settings import AdaptSettings, ConstructSettings, LandscapeSettings
from fda.store.analyses import Panel
from fda.zoos.zoo import Zoo

ADDRESS = re.compile(r"^(auto|local|[A-Za-z0-9.:\[\]_-]{1,255}:[0-9]{1,5})$")  # of a Ray cluster


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


class ExamplesSettings(_Helper):
    """Keep test samples of the finished run `run_id`, which an older version scored, for the view Examples."""

    kind: Literal["examples"] = "examples"
    run_id: str


class AnalysisSettings(_Helper):
    """Compute these panels of the view Analyses for the finished run `run_id`; they are kept in its folder.

    Without a run: `ZOO_PANELS` of the zoo's checkpoints. `files`: a digest of the state of its files.
    """

    kind: Literal["analysis"] = "analysis"
    run_id: str | None = None
    files: str | None = None
    panels: tuple[Panel, ...] = Field(min_length=1)


Helper = (
    ExportSettings
    | DownloadSettings
    | SurveySettings
    | PreviewSettings
    | EstimateSettings
    | ExamplesSettings
    | AnalysisSettings
)


class RunSpec(BaseModel):
    """What one run does: construct anchors, compare methods, both in turn, or compute a loss landscape.

    `helper`: the run does this for a page instead, and stays out of the lists of runs.

    `construction` is None for a run that only compares; `methods` is empty for a run that only constructs. A comparison without
    `construction` reads anchors, if a method needs them, from `anchors_run`. `hyperparameters`: method → name → value, where
    they differ from the registry's defaults. `adaptation`: None means the zoo's settings. `published`: a folder of published
    anchors to import; `construction` then describes how their authors made them, with the paper's values for the settings
    listed in `unknown`. `engine`: where units are computed; `address`: of the Ray cluster, by default RAY_ADDRESS, else one of
    this machine alone. `coarse_landscape`: once the run is done, its worker starts a run of its landscape on a coarse grid.
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
    coarse_landscape: bool = False
    helper: Annotated[Helper, Field(discriminator="kind")] | None = None
    device: str = "cpu"
    engine: Literal["local", "ray"] = "local"
    address: str | None = Field(default=None, pattern=ADDRESS.pattern)
    seed: int = 0

    @property
    def kind(self) -> str:
        """The run's kind in lists, one of `records.KINDS`; `demo` constructs and compares in one run."""
        if self.helper is not None:
            return self.helper.kind
        if self.landscape is not None:
            return "landscape"
        if self.construction is None:
            return "compare"
        return "demo" if self.methods else "construct"
