"""Settings of construction and adaptation, and the presets `paper` and `fast`, each value with its source.

No torch here: pages and the command line read these models to build their forms and options.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Distance = Literal["cos", "mse", "l1"]
Preset = Literal["paper", "fast"]


class ConstructSettings(BaseModel):
    """How one unit (task × block) of anchors is constructed. Source: arXiv 2510.21223, anchor construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = "fast"
    init: Literal["weight", "gauss"] = Field("weight", description="rows of the finetuned weights, or σ·N(0, I)")
    sigma: float = Field(0.01, gt=0, le=100, description="scale of the gauss start; the weight start is not scaled")
    anchors: int = Field(64, ge=1, le=65536, description="anchors per task and block")
    tokens: int | None = Field(None, ge=1, le=4096, description="tokens per anchor; empty: as many as the model has")
    steps: int = Field(1200, ge=1, le=100000, description="optimiser steps")
    distance: Distance = Field("cos", description="how block outputs are compared")
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="optimiser of the anchors")
    learning_rate: float = Field(1e-2, gt=0, le=10, description="step size on the anchors")
    weight_decay: float = Field(0.01, ge=0, le=1, description="decay of the anchors")
    schedule: Literal["constant", "cosine"] = Field("constant", description="course of the learning rate")
    seed: int = Field(0, ge=0, lt=2**31, description="each unit's own seed follows from (seed, task, block)")


class AdaptSettings(BaseModel):
    """How a model is adapted on anchors, block by block, with Adam (arXiv 2510.21223, adaptation)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distance: Distance = Field("cos", description="distance between block outputs and their targets")
    weights_lr: float = Field(1e-5, gt=0, le=1, description="learning rate on the weights, from the pretrained model")
    coefficients_lr: float = Field(1e-2, gt=0, le=1, description="learning rate on the element-wise coefficients")
    epochs: int = Field(100, ge=1, le=10000, description="passes over the pooled anchors")
    batch: int = Field(128, ge=1, le=65536, description="anchors per step, all tasks shuffled together")


PAPER_CONSTRUCT = ConstructSettings(preset="paper")
FAST_CONSTRUCT = ConstructSettings(
    preset="fast", anchors=32, steps=250, optimizer="muon", learning_rate=0.1, weight_decay=0.0, schedule="cosine"
)
PRESETS: dict[str, ConstructSettings] = {"paper": PAPER_CONSTRUCT, "fast": FAST_CONSTRUCT}
