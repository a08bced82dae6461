"""How one unit's anchors align with real data, and their gradients with the task vector.

The figures follow the dials for the step and the share of d. `anchors.py` has records, scenes and curves over steps.
"""

from collections.abc import Sequence

import numpy as np

from fda.escape import plotly
from fda.figures.anchors import SHARE, STEP, Record, Scene, add_course, add_cursor, axis_top, vertical_line
from fda.figures.scrub import Scrubbed
from fda.figures.theme import PALETTES
from fda.measures import ANGLES, SIMILARITY, SIMILARITY_BY_SHARE

LEGEND_PIXELS = 70  # from a tall plot's lower edge to its legend
HATCHES = ("", "/", "x", ".", "\\", "|")


def angles_at(records: Sequence[Record], scene: Scene) -> Scrubbed:
    """Principal angles between the top 20 % subspaces of anchors and real inputs at the dial's step; `values` in radians."""
    figure = scene.blank("")
    scrubbed = Scrubbed(figure)
    for record in records:
        drawn = scene.over_dial(record, np.degrees)
        figure.add_scatter(
            x=1 + np.arange(record.values.shape[1], dtype=np.int32),
            y=drawn[0].astype(np.float32),
            mode="lines+markers",
            line=scene.line(record.run),
            marker=scene.marker(record.run) | {"size": 4},
            name=scene.named(record.run),
            hovertemplate=f"<b>{record.run}</b><br>angle %{{x}}: %{{y:.1f}}°<extra></extra>",
            uid=f"at-{record.run}",
        )
        scrubbed.move_trace(STEP, f"at-{record.run}", y=drawn)
    scrubbed.move_layout(STEP, "title.text", scene.titles(ANGLES.heading))
    figure.update_xaxes(title="direction, smallest angle first")
    figure.update_yaxes(title="angle", range=[0, 92], ticksuffix="°", dtick=30)
    return scrubbed


def cosines_at(records: Sequence[Record], scene: Scene, *, tensors: Sequence[str]) -> Scrubbed:
    """Cosine of each tensor's induced gradient with its task vector at the dial's step; `values` (S, tensors)."""
    figure = scene.blank("")
    scrubbed = Scrubbed(figure)
    for record in records:
        drawn = scene.over_dial(record, lambda values: values)
        figure.add_bar(
            x=drawn[0].astype(np.float32),
            y=list(map(plotly, tensors)),
            orientation="h",
            marker={
                "color": scene.colour(record.run),
                "pattern": {"shape": HATCHES[scene.runs.index(record.run) % len(HATCHES)], "fillmode": "overlay"},
            },
            name=scene.named(record.run),
            hovertemplate=f"<b>{record.run}</b><br>%{{y}}: %{{x:.3f}}<extra></extra>",
            uid=f"at-{record.run}",
        )
        scrubbed.move_trace(STEP, f"at-{record.run}", x=drawn)
    scrubbed.move_layout(STEP, "title.text", scene.titles("Gradient and task vector, by tensor"))
    lowest = min(0.0, min(float(np.nanmin(record.values)) for record in records))
    figure.update_xaxes(title="cosine", range=[1.05 * lowest, 1.0])
    figure.update_yaxes(autorange="reversed", ticks="")
    figure.update_layout(barmode="group", bargap=0.25)
    height = max(scene.height, 110 + len(tensors) * (10 + 9 * len(records)))
    figure.update_layout(height=height, legend={"y": -LEGEND_PIXELS / height})
    return scrubbed


def similarity_over_steps(
    records: Sequence[Record], scene: Scene, *, shares: np.ndarray, chance: np.ndarray
) -> Scrubbed:
    """Subspace similarity with real data over steps (paper, figure 4) at the dial's share of d, with its chance line.

    `values` (S, shares); `chance` (shares,) is k/d.
    """
    figure = scene.blank("")
    scrubbed = Scrubbed(figure)
    for record in records:
        add_course(figure, scene, record, record.values[:, 0], "similarity %{y:.3f}")
        scrubbed.move_trace(SHARE, f"over-{record.run}", y=list(record.values.T))
    _add_chance(scrubbed, scene, chance)
    add_cursor(scrubbed, scene)
    shown = [f"{SIMILARITY.heading}, top {100 * share:.0f} % of d" for share in shares]
    scrubbed.move_layout(SHARE, "title.text", shown)
    highest = np.nanmax(np.concatenate([chance[None], *(record.values for record in records)]), axis=0)
    scrubbed.move_layout(SHARE, "yaxis.range", [[0, axis_top(high, 1.02)] for high in highest])
    figure.update_yaxes(title=SIMILARITY.unit)
    return scrubbed


def similarity_by_share(records: Sequence[Record], scene: Scene, *, shares: np.ndarray, chance: np.ndarray) -> Scrubbed:
    """Subspace similarity over the share of d at the dial's step. Chance is the diagonal; at all of d both spaces are equal."""
    figure = scene.blank("")
    scrubbed = Scrubbed(figure)
    palette = PALETTES[scene.theme]
    figure.add_scatter(
        x=shares.astype(np.float32),
        y=chance.astype(np.float32),
        mode="lines",
        line={"width": 1.5, "color": palette.ink, "dash": "2px,3px"},
        name="chance k/d",
        hovertemplate="chance %{y:.2f}<extra></extra>",
        uid="chance",
    )
    for record in records:
        drawn = scene.over_dial(record, lambda values: values)
        figure.add_scatter(
            x=shares.astype(np.float32),
            y=drawn[0].astype(np.float32),
            mode="lines",
            line=scene.line(record.run),
            name=scene.named(record.run),
            hovertemplate=f"<b>{record.run}</b><br>top %{{x:.0%}}: %{{y:.3f}}<extra></extra>",
            uid=f"at-{record.run}",
        )
        scrubbed.move_trace(STEP, f"at-{record.run}", y=drawn)
    figure.update_layout(showlegend=True, shapes=[vertical_line(float(shares[0]), palette.accent)])
    for end in ("x0", "x1"):
        scrubbed.move_layout(SHARE, f"shapes[0].{end}", shares)
    scrubbed.move_layout(STEP, "title.text", scene.titles(SIMILARITY_BY_SHARE.heading))
    figure.update_xaxes(title="share of the d directions", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title=SIMILARITY.unit, range=[0, 1.02])
    return scrubbed


def _add_chance(scrubbed: Scrubbed, scene: Scene, chance: np.ndarray) -> None:
    """A horizontal line that follows the share dial."""
    figure, palette = scrubbed.figure, PALETTES[scene.theme]
    ends = [scene.steps[0], max(scene.steps[-1], scene.steps[0] + 1)]
    figure.add_scatter(
        x=ends,
        y=[float(chance[0])] * 2,
        mode="lines",
        line={"width": 1.5, "color": palette.ink, "dash": "2px,3px"},
        name="chance k/d",
        hovertemplate="chance k/d = %{y:.2f}<extra></extra>",
        uid="chance",
    )
    figure.update_layout(showlegend=True)
    scrubbed.move_trace(SHARE, "chance", y=[[level, level] for level in chance], name=[
        f"chance k/d = {level:.2f}" for level in chance
    ])  # fmt: skip
