"""Settings of construction, adaptation, finetuning and landscapes, and each family's presets, with their sources.

No torch here: pages and the command line read these models to build their forms and options.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Distance = Literal["cos", "mse", "l1"]
Preset = Literal["paper", "fast"]
Arithmetic = Literal["auto", "plain", "compiled", "bfloat16"]
Family = Literal["vision", "vision-small", "roberta-base", "roberta-large", "llama"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class ConstructSettings(BaseModel):
    """How one unit (task × block) of anchors is constructed. Source: arXiv 2510.21223, anchor construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "fast"
    init: Literal["weight", "gauss"] = Field(
        default="weight", description="rows of the finetuned weights, or σ·N(0, I)"
    )
    sigma: float = Field(
        default=0.01, gt=0, le=100, description="scale of the gauss start; the weight start has its own"
    )
    weight_scale: float = Field(
        default=1.0, gt=0, le=100, description="factor on the rows of the weight start; the paper's is 1"
    )
    anchors: int = Field(default=64, ge=1, le=65536, description="anchors per task and block")
    tokens: int | None = Field(
        default=None, ge=1, le=4096, description="tokens per anchor; empty: as many as the model has"
    )
    steps: int = Field(default=1200, ge=1, le=100000, description="optimiser steps")
    distance: Distance = Field(default="cos", description="how block outputs are compared")
    optimizer: Literal["adamw", "muon"] = Field(default="adamw", description="optimiser of the anchors")
    learning_rate: float = Field(default=1e-2, gt=0, le=10, description="step size on the anchors")
    momentum: float = Field(default=0.95, ge=0, le=0.999, description="momentum of muon; AdamW has its usual ones")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="decay of the anchors")
    schedule: Literal["constant", "cosine", "trapezoid"] = Field(
        default="constant",
        description="course of the learning rate: constant, half a cosine to zero, or constant and in the second half a "
        "line to zero",
    )
    tolerance: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="relative fall of the loss within 25 steps below which a unit goes to its end early; 0: never",
    )
    arithmetic: Arithmetic = Field(
        default="plain",
        description="how a step is computed: plain as in the paper, compiled, or compiled with bfloat16 products; auto: "
        "compiled where a run is long enough to pay for it, with bfloat16 where the device has units for it",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="each unit's own seed follows from (seed, task, block)")


# Setting → (another setting, the value of that one with which it is read).
ONLY_WITH: dict[str, tuple[str, str]] = {
    "sigma": ("init", "gauss"),
    "weight_scale": ("init", "weight"),
    "momentum": ("optimizer", "muon"),
}


def is_read(name: str, values: Mapping[str, Any]) -> bool:
    """Whether construction reads the setting `name`, given the `values` of all settings."""
    condition, value = ONLY_WITH.get(name, (name, values[name]))
    return values[condition] == value


class AdaptSettings(BaseModel):
    """How a model is adapted on anchors, block by block, with Adam (arXiv 2510.21223, adaptation).

    Adaptation trains the weights of the pretrained model, or element-wise coefficients of a merged model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    distance: Distance = Field(default="cos", description="distance between block outputs and their targets")
    weights_lr: float = Field(
        default=1e-5, gt=0, le=1, description="learning rate on the weights, from the pretrained model"
    )
    weights_rate: Literal["absolute", "relative"] = Field(
        default="absolute",
        description="what the learning rate on the weights means: itself, or so many times the root mean square of the "
        "block's task vectors, which suits models of any size",
    )
    weights_epochs: int = Field(
        default=100, ge=1, le=10000, description="passes over the pooled anchors, on the weights"
    )
    coefficients_lr: float = Field(
        default=1e-2, gt=0, le=1, description="learning rate on the element-wise coefficients"
    )
    coefficients_epochs: int = Field(default=100, ge=1, le=10000, description="passes over them, on the coefficients")
    batch: int = Field(default=128, ge=1, le=65536, description="anchors per step, all tasks shuffled together")
    arithmetic: Literal["plain", "compiled", "bfloat16"] = Field(
        default="plain",
        description="how a gradient is computed: plain as in the paper, compiled, or compiled with bfloat16 products, for "
        "devices that have units for them",
    )

    def epochs(self, trained: Literal["weights", "coefficients"]) -> int:
        """Passes over the pooled anchors where this is trained."""
        return self.weights_epochs if trained == "weights" else self.coefficients_epochs

    @model_validator(mode="before")
    @classmethod
    def _accept_what_is_short(cls, values: Any) -> Any:
        return written_out(values) if isinstance(values, Mapping) else values


# One setting for models of any size, from the start `sum`: docs/results.md has what it reaches on three zoos, and what else was
# tried. Twenty epochs of 32 anchors for each of five tasks are a hundred steps.
BEST_ADAPT: dict[str, Any] = {
    "weights_rate": "relative",
    "weights_lr": 0.4,
    "weights_epochs": 20,
    "coefficients_lr": 2e-2,
    "coefficients_epochs": 20,
    "batch": 32,
}


def written_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace what is short in zoo files and on the command line: `epochs: N` is both kinds of epochs, `preset: best` is
    `BEST_ADAPT`, under the other values. ValueError for another preset.
    """
    rest = {name: value for name, value in values.items() if name not in ("epochs", "preset")}
    if values.get("preset", "best") != "best":
        raise ValueError(f"there is no adaptation preset {values['preset']!r}: there is best")
    preset = BEST_ADAPT if "preset" in values else {}
    epochs = {"weights_epochs": values["epochs"], "coefficients_epochs": values["epochs"]} if "epochs" in values else {}
    return preset | epochs | rest


# The paper's settings by family (arXiv 2510.21223, its tables of settings). RoBERTa takes vision's optimiser of the anchors and
# batch. CLIP uses its own number of tokens: 50, 197, 257. The paper adapts no Llama from the pretrained model: that learning
# rate is vision's, untried. `vision-small` is vision with blocks as narrow as the demo's (d = 128, not 768), which the paper
# does not have: its preset `fast` needs half the steps.
PAPER_CONSTRUCT = ConstructSettings(preset="paper")
_PAPER_CONSTRUCT: dict[Family, ConstructSettings] = {
    "vision": PAPER_CONSTRUCT,
    "roberta-base": ConstructSettings(preset="paper", tokens=5),
    "roberta-large": ConstructSettings(preset="paper", tokens=5),
    "llama": ConstructSettings(preset="paper", anchors=8192, tokens=1, steps=200),
}
PAPER_ADAPT: dict[Family, AdaptSettings] = {
    "vision": AdaptSettings(),
    "roberta-base": AdaptSettings(distance="mse", weights_lr=5e-5, weights_epochs=125),
    "roberta-large": AdaptSettings(distance="mse", weights_lr=5e-5, weights_epochs=25, coefficients_epochs=15),
    "llama": AdaptSettings(weights_epochs=50, coefficients_epochs=50, batch=8192),
}
PAPER_LAMBDA: dict[Family, float] = {"vision": 0.3, "roberta-base": 0.3, "roberta-large": 0.2, "llama": 0.5}


def paper_family(family: Family) -> Family:
    """Return the family whose settings in the paper this one uses, a key of the tables above."""
    return "vision" if family == "vision-small" else family


# Preset `fast`, chosen on the validation split of the demo zoo and on the loss of blocks of real sizes. Rows of weights times 4
# are nearer to the length of real block inputs, and the loss falls further in as many steps. Few rows (five tokens) tolerate a
# higher learning rate; few steps need one, and a smaller momentum, which builds up sooner.
_FAST_CONSTRUCT: dict[str, Any] = {
    "preset": "fast",
    "optimizer": "muon",
    "weight_scale": 4.0,
    "learning_rate": 0.2,
    "weight_decay": 0.0,
    "schedule": "trapezoid",
    "tolerance": 0.01,
    "arithmetic": "auto",
}
_FAST_OF_FAMILY: dict[Family, dict[str, Any]] = {
    "vision": {"steps": 250},
    "vision-small": {"steps": 125, "learning_rate": 0.5, "momentum": 0.92},
    "roberta-base": {"steps": 250, "learning_rate": 0.4},
    "roberta-large": {"steps": 250, "learning_rate": 0.4},
    "llama": {"steps": 120, "learning_rate": 0.4, "momentum": 0.6, "weight_scale": 1.0},
}


def presets(family: Family) -> dict[str, ConstructSettings]:
    """Return a family's presets: `paper`, and `fast` with half as many anchors and fewer steps, by Muon."""
    paper = _PAPER_CONSTRUCT[paper_family(family)]
    fast = _FAST_CONSTRUCT | {"anchors": paper.anchors // 2} | _FAST_OF_FAMILY[family]
    return {"paper": paper, "fast": paper.model_copy(update=fast)}


FAST_CONSTRUCT = presets("vision")["fast"]


class FinetuneSettings(BaseModel):
    """How a zoo's tasks are finetuned from its base, with AdamW, a linear warm-up and half a cosine to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trained: Literal["blocks", "all", "lora"] = Field(
        default="blocks",
        description="what learns: the blocks, every tensor of the base, or LoRA adapters on the blocks' linear layers",
    )
    head: Literal["means", "probe", "trained"] = Field(
        default="means",
        description="the head: class means of the base's features, a linear probe on them, both then frozen, or the class "
        "means trained along",
    )
    epochs: int = Field(default=10, ge=1, le=10000, description="passes over the training split")
    batch: int = Field(default=128, ge=1, le=65536, description="samples a step")
    learning_rate: float = Field(default=1e-5, gt=0, le=1, description="its highest value, after the warm-up")
    weight_decay: float = Field(default=0.1, ge=0, le=1, description="decay of what learns")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of the steps in which the learning rate rises")
    rank: int = Field(default=8, ge=1, le=4096, description="rank of the LoRA adapters")
    alpha: float = Field(default=16.0, gt=0, le=65536, description="LoRA's scale is alpha / rank")
    seed: int = Field(default=0, ge=0, lt=2**31, description="order of the samples, dropout, start of the adapters")


ONLY_LORA = ("rank", "alpha")

# Vision: Ilharco et al. 2023 (arXiv 2212.04089), whose 2000 steps are about 10 epochs here and whose heads are frozen. RoBERTa:
# Liu et al. 2019 (arXiv 1907.11692) on GLUE, whose heads are trained. `vision-small`: the demo zoo's. Llama: untried.
_FINETUNE_OF_FAMILY: dict[Family, dict[str, Any]] = {
    "vision": {},
    "vision-small": {"epochs": 32, "batch": 64, "learning_rate": 5e-4, "weight_decay": 0.0},
    "roberta-base": {"head": "trained", "batch": 16, "warmup": 0.06},
    "roberta-large": {"head": "trained", "batch": 16, "warmup": 0.06},
    "llama": {"head": "trained", "batch": 16, "epochs": 3},
}


def finetune_settings(family: Family, changes: Mapping[str, Any]) -> FinetuneSettings:
    """Return a family's settings with `changes`. ValueError (pydantic) for a wrong one."""
    return FinetuneSettings.model_validate({**_FINETUNE_OF_FAMILY[family], **changes})


Directions = Literal["ta_fda", "paths"]


class LandscapeSettings(BaseModel):
    """Loss and accuracy over a plane of weights through θ0 (arXiv 2510.21223, figure 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="the run whose anchors, tasks, blocks and adaptation are looked at")
    directions: Directions = Field(
        default="ta_fda",
        description="what spans the plane. ta_fda: task arithmetic, and the end of FDA from the pretrained model; paths: "
        "the two principal directions of all recorded weights and the finetuned models",
    )
    points: int = Field(default=25, ge=5, le=101, description="points along each side of the grid, an odd number")
    samples: int = Field(
        default=96, ge=1, le=4096, description="samples per task at every point, spread over the split"
    )
    split: Literal["auto", "validation", "test"] = Field(
        default="auto",
        description="where samples come from; auto: validation if the zoo names it for all tasks, else test",
    )
    snapshots: int = Field(
        default=12, ge=2, le=100, description="epochs of adaptation at which the weights are kept, denser at the start"
    )

    @field_validator("points")
    @classmethod
    def _has_a_middle(cls, points: int) -> int:
        if points % 2 == 0:
            raise ValueError(
                f"{points} is even: coarse and fine grids share points only if it is odd, such as {points + 1}"
            )
        return points
