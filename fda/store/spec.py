"""What a run is asked to do. `spec.json` in the run's folder holds one of these and is enough to repeat the run."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fda.settings import AdaptSettings, ConstructSettings, LandscapeSettings
from fda.zoos.zoo import Zoo


class RunSpec(BaseModel):
    """One run: construct anchors, or compare methods, or both one after the other; or compute a loss landscape.

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
    device: str = "cpu"
    engine: Literal["local", "ray"] = "local"
    seed: int = 0

    @property
    def kind(self) -> Literal["construct", "compare", "demo", "landscape"]:
        """What the run is called in lists: `demo` constructs and compares in one go."""
        if self.landscape is not None:
            return "landscape"
        if self.construction is None:
            return "compare"
        return "demo" if self.methods else "construct"
