"""What a run records and shows: one entry a measure, with its words and its figure. No torch.

The run page, the run report, tables, CSV files and alternative texts are made from these entries. Computing a measure is
`fda.analysis`, recording it `fda.stages.measuring`, drawing it `fda.figures`.
"""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["construct", "adapt", "evaluate", "landscape", "export", "download"]
STAGES: dict[Stage, str] = {  # in the order of the work, and what a run is doing meanwhile
    "construct": "constructing anchors",
    "adapt": "adapting blocks",
    "evaluate": "merging and scoring",
    "landscape": "scoring the plane",
    "export": "writing the merged model",
    "download": "downloading",
}
PhaseName = Literal["start", "inputs", "compile", "construct", "adapt", "merge", "score", "landscape"]
PHASES: dict[
    PhaseName, tuple[str, str]
] = {  # name → its word, and what a run is doing meanwhile; in the order of the work
    "start": ("start", "starting"),
    "inputs": ("real inputs", "computing real inputs"),
    "compile": ("compile", "compiling the step"),
    "construct": ("anchors", "constructing anchors"),
    "adapt": ("adapt", "adapting blocks"),
    "merge": ("merge", "merging"),
    "score": ("score", "scoring"),
    "landscape": ("landscape", "scoring the plane"),
}
SHARES = tuple(step / 50 for step in range(1, 51))  # of the d directions, at which similarity is recorded
NEAREST = 5  # real inputs recorded for each anchor
TOP_SHARE = 0.2  # the share of d that single numbers are taken at (paper, figure 4)

Kind = Literal["scalar", "scalar by tensor", "snapshot", "whole run"]
Reads = Literal["units", "nodes", "series", "similarity", "tensors", "snapshots", "memory"]


@dataclass(frozen=True)
class Figure:
    """A figure on the run page and in the run report.

    `name` is short and unique: the page's keys begin with it. `draw` is a function of `fda.figures`, as `module:function`.
    `reads` says which numbers it is called with (see `fda/report/run_numbers.py`). `alt` is the alternative text.
    Figures of one `row` stand side by side, those of row 0 one below the other beside them.
    `smoothed`: it is called with the reader's `smoothing` too.
    """

    name: str
    draw: str
    reads: Reads
    row: int
    alt: str
    smoothed: bool = False


@dataclass(frozen=True)
class Measure:
    """One measure.

    `key` is its name in the store, in CSV columns and in JSON. A "scalar by tensor" is stored as `key` + tensor name.
    `title` names it on pages and in menus, `heading` stands above its figures, `label` heads its column in tables.
    `unit` says what its values are, as on an axis, `number` is their format, `sentence` explains its figure in the run report.
    `real`: the same number of held-out real inputs is stored as `real_key`, at step 0.
    `merged`: the same measure at the merged model.
    """

    key: str
    title: str
    unit: str = ""
    sentence: str = ""
    kind: Kind = "scalar"
    stages: tuple[Stage, ...] = ("construct",)
    number: str = ".3f"
    heading: str = ""
    label: str = ""
    real: bool = False
    merged: "Measure | None" = None
    figure: Figure | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", self.heading or f"{self.title} over steps")
        object.__setattr__(self, "label", self.label or self.title.lower())

    @property
    def real_key(self) -> str:
        return f"{self.key}_real"


PROGRESS = Measure(
    key="progress",
    title="Progress",
    heading="Construction: tasks × blocks",
    unit="best angle loss",
    sentence="Each cell is one unit: a task in one block.",
    kind="whole run",
    figure=Figure(
        name="progress",
        draw="progress:progress_map",
        reads="units",
        row=0,
        alt="Map of construction progress, tasks by blocks",
    ),
)
METHODS = Measure(
    key="methods",
    title="Methods",
    heading="Methods: adaptation, then score",
    unit="last adaptation loss",
    sentence="Adaptation by block, then the score.",
    kind="whole run",
    stages=("adapt", "evaluate"),
    figure=Figure(
        name="methods",
        draw="progress:progress_map",
        reads="units",
        row=0,
        alt="Map of progress of the merging methods",
    ),
)
NODES = Measure(
    key="nodes",
    title="Nodes",
    heading="Units by node of the cluster",
    sentence="Units that each node of the cluster has computed, and those that it has at work.",
    kind="whole run",
    figure=Figure(
        name="nodes",
        draw="nodes:node_bars",
        reads="nodes",
        row=0,
        alt="Finished units and units at work of each node of the cluster",
    ),
)
ANGLE_LOSS = Measure(
    key="angle_loss",
    title="Angle loss",
    unit="angle loss (mean over tensors)",
    sentence="Angle loss of each unit: 0 where the anchors' gradient points along the task vector.",
    number=".4f",
    figure=Figure(
        name="loss",
        draw="curves:loss_curves",
        reads="series",
        row=1,
        alt="Angle loss over steps, a curve for each task and block",
        smoothed=True,
    ),
)
SIMILARITY = Measure(
    key="similarity",
    title="Similarity",
    heading="Similarity with real data",
    label="similarity (20 %)",
    unit="subspace similarity",
    sentence="Subspace similarity of anchors and real block inputs; the dashed line is chance (paper, figure 4).",
    figure=Figure(
        name="similarity",
        draw="curves:similarity_curves",
        reads="similarity",
        row=1,
        alt="Subspace similarity of anchors and real inputs over steps, with the chance line",
    ),
)
SIMILARITY_BY_SHARE = Measure(
    key="similarity_by_share",
    title="Similarity by share",
    heading="Similarity by share of d",
    unit=SIMILARITY.unit,
    kind="snapshot",
)
EFFECTIVE_RANK = Measure(key="effective_rank", title="Effective rank", unit="effective rank", number=".1f")
SPECTRUM = Measure(
    key="spectrum",
    title="Spectrum",
    heading="Spectrum of the anchors",
    unit="singular value / largest",
    sentence="Singular values of one unit's anchors over the steps (paper, figure 3).",
    kind="snapshot",
    figure=Figure(
        name="spectrum",
        draw="spectrum:spectrum_curves",
        reads="snapshots",
        row=2,
        alt="Singular values of the anchors at several steps",
    ),
)
TAIL_ENERGY = Measure(
    key="tail_energy",
    title="Tail energy",
    unit="energy beyond the top 20 % of d",
    sentence="Energy of the spectra beyond the top 20 % of the directions.",
    number=".4f",
    figure=Figure(
        name="tail",
        draw="curves:share_curves",
        reads="series",
        row=3,
        alt="Tail energy of the anchors' spectra over steps",
    ),
)
PROJECTION_ENERGY_MERGED = Measure(
    key="projection_energy_merged",
    title="Projection energy at the merged model",
    heading="Projection energy at the merged model",
    unit="share of the update in real data's cone",
    real=True,
)
PROJECTION_ENERGY = Measure(
    key="projection_energy",
    title="Projection energy",
    heading="Projection energy at θ₀",
    unit=PROJECTION_ENERGY_MERGED.unit,
    sentence="How much of the update that anchors induce real batches could have induced (paper, figure 5).",
    real=True,
    merged=PROJECTION_ENERGY_MERGED,
    figure=Figure(
        name="projection",
        draw="curves:share_curves",
        reads="series",
        row=2,
        alt="Projection energy of the anchors' updates over steps, with the line of held-out real data",
    ),
)
COSINES = Measure(
    key="cosine/",
    title="Cosines",
    heading="Cosine by tensor",
    unit="cosine of induced gradient and task vector",
    sentence="Of one unit, tensor by tensor: the loss is 1 minus their mean.",
    kind="scalar by tensor",
    figure=Figure(
        name="cosines",
        draw="curves:cosine_bars",
        reads="tensors",
        row=3,
        alt="Cosine of the induced gradient with the task vector, by tensor",
    ),
)
ANGLES = Measure(key="angles", title="Principal angles", heading="Principal angles to real data", kind="snapshot")
PLANE_MAP = Measure(key="map", title="Map", kind="snapshot")
NEAREST_INPUTS = Measure(key="nearest", title="Nearest", kind="snapshot")
REAL_NEAREST = Measure(key="real_nearest", title="Nearest among real inputs", kind="snapshot")
MEMORY = Measure(
    key="memory",
    title="Memory",
    heading="Memory in use",
    unit="GiB",
    sentence="Memory while the run was at work.",
    kind="whole run",
    figure=Figure(
        name="memory",
        draw="machine:memory_curves",
        reads="memory",
        row=4,
        alt="Memory in use over time",
    ),
)

MEASURES = (
    PROGRESS,
    METHODS,
    NODES,
    ANGLE_LOSS,
    SIMILARITY,
    SIMILARITY_BY_SHARE,
    EFFECTIVE_RANK,
    SPECTRUM,
    TAIL_ENERGY,
    PROJECTION_ENERGY,
    PROJECTION_ENERGY_MERGED,
    COSINES,
    ANGLES,
    PLANE_MAP,
    NEAREST_INPUTS,
    REAL_NEAREST,
    MEMORY,
)

FIGURES: dict[str, tuple[Measure, Figure]] = {  # by name, in the order of the page
    figure.name: (measure, figure)
    for measure, figure in sorted(((one, one.figure) for one in MEASURES if one.figure), key=lambda pair: pair[1].row)
}
SCALARS = tuple(measure for measure in MEASURES if measure.kind == "scalar")
SUMMARY = (ANGLE_LOSS, SIMILARITY, EFFECTIVE_RANK, TAIL_ENERGY, PROJECTION_ENERGY)  # what sums a unit up in one row
SCALAR_KEYS = (
    *(one.key for one in SCALARS),
    *(one.real_key for one in SCALARS if one.real),
)  # in the order of CSV columns
