"""The specification of a run. `spec.json` in the run's folder holds it and is enough to repeat the run."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fda.settings import AdaptSettings, ConstructSettings, LandscapeSettings
from fda.zoos.zoo import Zoo


class RunSpec(BaseModel):
    """What one run does: construct anchors, compare methods, both in turn, or compute a loss landscape.

    `construction` is None for a run that only compares; `methods` is empty for a run that only constructs. A comparison without
    `construction` reads anchors, if a method needs them, from `anchors_run`. `hyperparameters`: method → name → value, where
    they differ from the registry's defaults. `adaptation`: None means the zoo's settings. `published`: a folder of published
    anchors to import; `construction` then describes how their authors made them, with the paper's values for the settings
    listed in `unknown`.
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
    device: str = "cpu"
    engine: Literal["local", "ray"] = "local"
    seed: int = 0

    @property
    def kind(self) -> Literal["construct", "compare", "demo", "landscape"]:
        """The run's kind in lists; `demo` constructs and compares in one run."""
        if self.landscape is not None:
            return "landscape"
        if self.construction is None:
            return "compare"
        return "demo" if self.methods else "construct"
