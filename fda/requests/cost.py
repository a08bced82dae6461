"""Predicts what a run will take in seconds, memory and disk, from measurements made once on this device.

Here the numbers and the arithmetic on them, without torch, so that a page can tell again when a setting changes. The
measuring is `calibrate.py`. Merging methods whose cost one block does not determine are named, not counted.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fda.atomic import write_text
from fda.home import fda_home
from fda.measures import PHASES
from fda.merging.method import SWEPT
from fda.merging.registry import METHODS
from fda.requests.runs import adapt_settings
from fda.store.landscape_record import FDA_PATHS
from fda.store.spec import RunSpec
from fda.store.store import queue_device
from fda.zoos.stamps import stamps

PAYS_FROM = 2e12  # floating-point operations of a run: some twenty seconds of plain steps, about what compiling takes
SNAPSHOTS = 20  # of a unit, at most
LAMBDAS = 12  # points of task arithmetic's path on a landscape
UNCOUNTED = ("wudi",)  # optimises for minutes on large matrices
PARTS = {name: doing for name, (_, doing) in PHASES.items()}  # of a prediction, in words
VERSION = 1  # of what is kept: grows when it is measured otherwise


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step of one batch with all lanes at work, and of compiling once the compiler's own cache is warm.

    `together`: how many units a batch has; `lanes`: how many batches are at work at once, None as all other work.
    """

    step: float
    compile: float
    together: int = 1
    lanes: int | None = None


@dataclass(frozen=True)
class ScoreCost:
    """How many samples the test and the validation splits have; seconds a sample, over all lanes together."""

    samples: int
    validation_samples: int
    prepare: float
    score: float


@dataclass(frozen=True)
class Calibration:
    """What was measured. Seconds are of one piece of work while all lanes are at work.

    `start`: from the process's first moment to its first step; `inputs`: real block inputs of one task; `recording`: spectra
    and measures of one unit at all its snapshots; `operations`: of one step. By name: `steps` an arithmetic, `epochs` a
    kind of adaptation (see `adaptation_kind`), `merges` a method; `scoring`: None until a spec with methods was measured.
    """

    lanes: int
    blocks: int
    start: float
    inputs: float
    recording: float
    operations: float
    long_arithmetic: str  # what `auto` means for a run that is long enough to compile for
    parameter_bytes: int
    anchor_bytes: int  # of one unit
    peak_bytes: int
    shapes: int = 1  # kinds of blocks, each of which is compiled
    steps: dict[str, StepCost] = field(default_factory=dict)
    epochs: dict[str, float] = field(default_factory=dict)
    merges: dict[str, float] = field(default_factory=dict)
    scoring: ScoreCost | None = None


@dataclass(frozen=True)
class Prediction:
    """What a run will take. `stages`: key of `PARTS` → seconds; `uncounted`: methods whose own merging is left out."""

    stages: dict[str, float]
    memory_bytes: int
    disk_bytes: int
    uncounted: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(self.stages.values())


def predict(spec: RunSpec, known: Calibration) -> Prediction:
    """What the run of `spec` takes, by what was measured for it. KeyError if `missing` has anything."""
    blocks = len(spec.blocks) or known.blocks
    stages, disk = {"start": known.start}, 0
    if spec.construction is not None:
        units, pace = len(spec.tasks) * blocks, known.steps[arithmetic(spec, known)]
        records = pace.together * known.recording * _snapshots(spec.construction.steps)
        batch = pace.step * spec.construction.steps + records
        stages["inputs"] = known.inputs * len(spec.tasks)
        stages["compile"] = pace.compile * known.shapes
        at_once = pace.together * (pace.lanes or known.lanes)
        stages["construct"] = _rounds(units, at_once) * batch
        disk += units * known.anchor_bytes
    if adapting := adapted(spec):
        settings = adapt_settings(spec.zoo, spec.adaptation)
        stages["adapt"] = sum(
            _rounds(blocks, known.lanes) * known.epochs[adaptation_kind(name)] * settings.epochs(METHODS[name].trained)
            for name in adapting
        )
    if spec.methods:
        stages["merge"] = sum(known.merges[name] for name in merged(spec))
        swept = [name for name in spec.methods if METHODS[name].swept]
        sweeps = sum(len(one.sweep) for name in swept if (one := METHODS[name].coefficient) is not None)
        cost = _scoring(known)
        tests = cost.samples * (cost.prepare + cost.score * len(spec.methods))
        stages["score"] = tests + cost.validation_samples * (cost.prepare * bool(swept) + cost.score * sweeps)
        files = len(set(spec.methods) - {"individual"} | set(merged(spec)))
        disk += files * known.parameter_bytes
    if spec.landscape is not None:
        cost, samples = _scoring(known), spec.landscape.samples * len(spec.tasks)
        paths = len(FDA_PATHS) * spec.landscape.snapshots + LAMBDAS + len(spec.tasks)
        stages["landscape"] = samples * (cost.prepare + cost.score * (spec.landscape.points**2 + paths))
    return Prediction(stages, known.peak_bytes, disk, _uncounted(spec))


def missing(spec: RunSpec, known: Calibration | None) -> bool:
    """Whether something that `predict` needs has not been measured yet."""
    if known is None:
        return True
    steps = {arithmetic(spec, known)} if spec.construction is not None else set()
    kinds = {adaptation_kind(name) for name in adapted(spec)}
    if (spec.methods or spec.landscape) and known.scoring is None:
        return True
    return bool(steps - set(known.steps) or kinds - set(known.epochs) or set(merged(spec)) - set(known.merges))


def arithmetic(spec: RunSpec, known: Calibration) -> str:
    """How the run computes its steps; what `auto` means is decided as the run itself does, by its operations."""
    settings = spec.construction
    assert settings is not None, "only a run that constructs has steps"
    if settings.arithmetic != "auto":
        return settings.arithmetic
    units = len(spec.tasks) * (len(spec.blocks) or known.blocks)
    return known.long_arithmetic if known.operations * settings.steps * units >= PAYS_FROM else "plain"


def adapted(spec: RunSpec) -> tuple[str, ...]:
    """The methods whose adaptation on anchors is counted."""
    names = FDA_PATHS if spec.landscape is not None else spec.methods
    return tuple(name for name in names if METHODS[name].start and METHODS[name].needs == "anchors")


def adaptation_kind(name: str) -> str:
    """What an adapting method trains: `weights`, `coefficients` of one task vector, or `task coefficients` of all."""
    one = METHODS[name]
    return "task coefficients" if one.start == "ta" else one.trained


def merged(spec: RunSpec) -> tuple[str, ...]:
    """The methods, and the starts of adapting methods, whose merging is counted."""
    starts = [start for name in spec.methods if (start := METHODS[name].start) and start not in ("pretrained", "ta")]
    names = [name.removesuffix(SWEPT) for name in spec.methods if METHODS[name].start is None]
    plain = [name for name in dict.fromkeys([*names, *starts]) if METHODS[name].merge is not None]
    return tuple(name for name in plain if METHODS[name].needs == "nothing" and name not in UNCOUNTED)


def _uncounted(spec: RunSpec) -> tuple[str, ...]:
    """Methods that read data or anchors, or optimise, while they merge."""
    whole = {*merged(spec), "pretrained", "individual", "ta"}
    return tuple(
        name
        for name in spec.methods
        if (METHODS[name].start or name.removesuffix(SWEPT)) not in whole or METHODS[name].needs in ("inputs", "labels")
    )


def _scoring(known: Calibration) -> ScoreCost:
    if known.scoring is None:
        raise KeyError("scoring")
    return known.scoring


def _rounds(pieces: int, lanes: int) -> int:
    return math.ceil(pieces / lanes)


def _snapshots(steps: int) -> float:
    """The share of all snapshots that a run of few steps has."""
    return min(1.0, (steps + 1) / SNAPSHOTS)


# keeping ---------------------------------------------------------------------------------------------------------------


def costly_settings(spec: RunSpec) -> list:
    """Every setting that costs depend on, as JSON values."""
    settings = spec.construction
    shape = None if settings is None else (settings.anchors, settings.tokens, settings.distance, settings.optimizer)
    adapt = adapt_settings(spec.zoo, spec.adaptation)
    return json.loads(json.dumps([spec.tasks, shape, adapt.distance, adapt.batch]))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def calibration_file(spec: RunSpec) -> Path:
    """Where measurements for this spec are kept: named by its files, its device, and every setting that costs depend on."""
    parts = [VERSION, stamps(Path(spec.zoo_path), spec.zoo), *costly_settings(spec), queue_device(spec.device), cores()]
    named = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return fda_home() / "cache" / "calibrations" / f"{named}.json"


def kept_calibration(spec: RunSpec) -> Calibration | None:
    """What was measured before, if it can be read."""
    try:
        return read_calibration(json.loads(calibration_file(spec).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def read_calibration(data: dict) -> Calibration:
    """A calibration from its JSON object. TypeError, KeyError or AttributeError if it is none."""
    steps = {name: StepCost(**one) for name, one in data["steps"].items()}
    scoring = data["scoring"] and ScoreCost(**data["scoring"])
    return Calibration(**data | {"steps": steps, "scoring": scoring})


def keep_calibration(spec: RunSpec, known: Calibration) -> None:
    """Keep the measurements for later predictions."""
    write_text(calibration_file(spec), json.dumps(asdict(known)) + "\n")
