"""Parts, figures, tables and summary of the Playground page. Imports no streamlit.

The mathematics is in fda/analysis/playground.py; the last 128 courses are cached.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import yaml
from pydantic import BaseModel, ConfigDict

from fda.analysis.playground import Course, Setting, optimise
from fda.figures import playground as figures
from fda.figures.theme import Theme
from fda.home import ASSETS
from fda.measures import ANGLE_LOSS, TAIL_ENERGY

TEXTS = ASSETS / "texts" / "playground"
DEFAULT = Setting()

# Each control by its name in the URL: its field in `Setting`, and its choices, which keep the largest course below 60 ms.
FIELDS = {"d": "d", "rank": "rank", "n": "anchors", "start": "start", "sigma": "sigma", "rate": "learning_rate",
          "length": "steps", "lean": "lean"}  # fmt: skip
CHOICES: dict[str, tuple] = {
    "d": tuple(range(16, 65, 4)),
    "rank": tuple(range(1, 13)),
    "n": tuple(range(1, 65)),
    "start": ("weight", "gauss"),
    "sigma": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "rate": (0.001, 0.003, 0.01, 0.03, 0.1),
    "length": tuple(range(20, 201, 20)),
    "lean": (0.0, 0.25, 0.5, 0.75, 1.0),
}
STARTS = {"weight rows": {"start": "weight"}} | {
    f"σ = {sigma:g}": {"start": "gauss", "sigma": sigma} for sigma in (0.01, 1.0, 10.0)
}

course = lru_cache(maxsize=128)(optimise)


class SetUp(BaseModel):
    """A button of an exercise, which sets controls. `set`: control → value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    set: dict[str, float | str]


class Part(BaseModel):
    """One guided step: a text, and an exercise with an answer that the reader can open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    text: str
    task: str
    answer: str


class Dragging(Part):
    """Part 0, with anchors that one drags. `caption`: what a lecture shows below the figure."""

    caption: str


class Lesson(Part):
    """Parts 1 to 4: two figures of a layer that follows sliders.

    `shown`: control → value that shows the answer. `instead`: label → figure that the reader may choose in place of the
    first.
    """

    figures: tuple[str, str]
    instead: dict[str, str] = {}
    set_up: tuple[SetUp, ...]
    shown: dict[str, float | str]


@lru_cache
def dragging() -> Dragging:
    return Dragging.model_validate(yaml.safe_load((TEXTS / "drag.yaml").read_text(encoding="utf-8")))


@lru_cache
def lessons() -> tuple[Lesson, ...]:
    content = yaml.safe_load((TEXTS / "lessons.yaml").read_text(encoding="utf-8"))
    return tuple(Lesson.model_validate(lesson) for lesson in content)


def setting_of(values: Mapping[str, object]) -> Setting:
    """The setting for control values or URL strings; defaults replace values that are not a choice."""
    chosen = {}
    for name, choices in CHOICES.items():
        text = str(values.get(name, ""))
        match = next((choice for choice in choices if text == str(choice) or _number(text) == choice), None)
        if match is not None:
            chosen[FIELDS[name]] = match
    return replace(DEFAULT, **chosen)


def controls_of(setting: Setting) -> dict[str, float | str]:
    """Control → value, the inverse of `setting_of`."""
    return {name: getattr(setting, field) for name, field in FIELDS.items()}


def in_url(values: Mapping[str, float | str]) -> dict[str, str | None]:
    """Control → its text in the URL, as `setting_of` reads it; None for a default, which the URL omits."""
    defaults = controls_of(DEFAULT)
    return {
        name: None if value == defaults[name] else f"{value:g}" if isinstance(value, int | float) else value
        for name, value in values.items()
    }


def part_number(values: Mapping[str, object]) -> int:
    """The part in the URL: 0, or a lesson's number from 1. Without one: 1 if the URL sets a control, as old links do."""
    text = str(values.get("part", ""))
    if text in map(str, range(len(lessons()) + 1)):
        return int(text)
    return int(any(name in values for name in CHOICES))


def chosen_figure(lesson: Lesson, text: str | None) -> str | None:
    """The label of `lesson.instead` in the URL, or its first; None if the lesson offers no choice."""
    return text if text in lesson.instead else next(iter(lesson.instead), None)


def draw(name: str, setting: Setting, theme: Theme) -> go.Figure:
    """The figure `name`, a key of `ALTS`. Zoom survives while the figure and the number of steps stay the same."""
    current, kept = course(setting), {"uirevision": f"{name} {setting.steps}"}
    if name in _OF_STARTS:
        return _OF_STARTS[name](current, other_starts(setting), theme, **kept)
    return _OF_ONE[name](current, theme, **kept)


def other_starts(setting: Setting) -> dict[str, Course]:
    """The courses of the four `STARTS`, with all else as in `setting`."""
    return {name: course(replace(setting, **{"sigma": DEFAULT.sigma, **start})) for name, start in STARTS.items()}


def finding(setting: Setting) -> str:
    """The result in two sentences."""
    result = course(setting)
    return (
        f"After {setting.steps} steps the gradient points **{result.degrees[-1]:.1f}°** off Δ "
        f"(at the start {result.degrees[0]:.1f}°): angle loss "
        f"**{result.loss[-1]:.3f}**. The tail holds **{100 * result.tail_share[-1]:.0f} %** of the anchors' energy "
        f"(at the start {100 * result.tail_share[0]:.0f} %; by chance {100 * (1 - setting.rank / setting.d):.0f} %)."
    )


def code(setting: Setting) -> str:
    """Python that computes the course of `setting`."""
    changed = ", ".join(
        f"{field.name}={getattr(setting, field.name)!r}"
        for field in fields(Setting)
        if getattr(setting, field.name) != getattr(DEFAULT, field.name)
    )
    return (
        "from fda.analysis.playground import Setting, optimise\n\n"
        f"course = optimise(Setting({changed}))\n"
        "print(course.loss[-1], course.degrees[-1], course.tail_share[-1])\n"
    )


def course_table(setting: Setting) -> pd.DataFrame:
    """A row per step."""
    result = course(setting)
    return pd.DataFrame(
        {
            "step": np.arange(len(result.loss)),
            ANGLE_LOSS.key: result.loss,
            "degrees": result.degrees,
            "head_energy": result.head,
            TAIL_ENERGY.key: result.tail,
            "tail_share": result.tail_share,
        }
    )


def spectrum_table(setting: Setting) -> pd.DataFrame:
    """A row per snapshot, a column per singular value over the largest."""
    result = course(setting)
    table = pd.DataFrame(result.spectra, columns=range(1, result.spectra.shape[1] + 1))
    table.insert(0, "step", result.at)
    return table


def starts_table(setting: Setting) -> pd.DataFrame:
    """`course_table` of the reader's start and of the four `STARTS`, stacked."""
    settings = {figures.YOURS: setting} | {name: result.setting for name, result in other_starts(setting).items()}
    tables = [course_table(of_start).assign(start=name) for name, of_start in settings.items()]
    return pd.concat(tables, ignore_index=True).reindex(columns=["start", *tables[0].columns[:-1]])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_OF_ONE: dict[str, Callable[..., go.Figure]] = {
    "gradient": figures.gradient_maps,
    "loss": figures.loss_curve,
    "turn": figures.turning_arrows,
    "energy": figures.energy_areas,
    "energy_log": figures.energy_curves,
    "spectrum": figures.spectrum_of_anchors,
}
_OF_STARTS: dict[str, Callable[..., go.Figure]] = {
    "starts_loss": figures.starts_loss,
    "starts_tail": figures.starts_tail,
}
ALTS = {
    "gradient": "Heatmaps of the anchors' gradient at the first and the last step above the task vector, head left of tail",
    "loss": "Angle loss over steps",
    "turn": "Arrows of the gradient at several steps, turning towards the task vector",
    "energy": "Shares of the anchors' energy in the head and in the hatched tail, over steps",
    "energy_log": "Energy in head and tail over steps, on a log axis",
    "spectrum": "Singular values of the anchors at several steps, with the rank of the task vector marked",
    "starts_loss": "Angle loss over steps for five starts",
    "starts_tail": "Share of the energy in the tail over steps for five starts",
}
