"""How long each phase of a run is expected to take, from what was measured on this machine. Imports no torch.

The measuring is `fda.stages.calibrate`, its arithmetic `cost.py`.
"""

import contextlib
from dataclasses import dataclass

from fda.errors import UserError
from fda.measures import PHASES, PhaseName
from fda.merging.registry import METHODS
from fda.requests import cost
from fda.requests.compiled import compiling_seconds, is_compiled
from fda.requests.cost import Calibration
from fda.requests.shipped import shipped_compiling, shipped_costs, slowness
from fda.store.landscape_record import FDA_PATHS
from fda.store.spec import RunSpec
from fda.store.store import Store

ANEW: tuple[PhaseName, ...] = ("start", "inputs", "compile")  # phases that a resumed run does again


@dataclass(frozen=True)
class Expected:
    """Phase → expected seconds, in the order of the work; None where nothing was measured.

    Without `compile` if nothing is to be compiled, as far as is known before. `here`: measured on this machine.
    """

    phases: dict[PhaseName, float | None]
    here: bool

    @property
    def seconds(self) -> float | None:
        """Of the whole run; None if a part of it was not measured."""
        parts = self.phases.values()
        return sum(part for part in parts if part is not None) if None not in parts else None


def expected(store: Store, spec: RunSpec) -> Expected:
    """What the phases of a run of `spec` are expected to take."""
    known, here = _known_costs(store, spec)
    if known is None or spec.published is not None or spec.engine == "ray":  # nodes have speeds of their own
        return Expected(dict.fromkeys(_phases(spec, compiles=True)), here)
    prediction = cost.predict(spec, known)
    phase_seconds: dict[str, float | None] = {**prediction.stages}
    if prediction.uncounted:
        phase_seconds["merge"] = None
        phase_seconds["adapt"] = (
            phase_seconds.get("adapt") if set(prediction.uncounted).isdisjoint(adapting(spec)) else None
        )
    loading = prediction.stages.get("compile", 0.0)  # of a step that the compiler's cache has
    seconds = compiling_seconds() or (None if here else shipped_compiling())  # None: compiled before it was remembered
    compiles = loading > 0 and seconds is not None and not is_compiled(spec, cost.arithmetic(spec, known))
    if compiles and seconds is not None:
        phase_seconds["compile"] = max(0.0, known.shapes * seconds - loading)
    phase_seconds["start"] = prediction.stages["start"] + loading
    slower = 1.0 if here else slowness()
    seconds_of = {phase: None if seconds is None else slower * seconds for phase, seconds in phase_seconds.items()}
    return Expected({phase: seconds_of.get(phase) for phase in _phases(spec, compiles=compiles)}, here)


def _known_costs(store: Store, spec: RunSpec) -> tuple[Calibration | None, bool]:
    """(what was measured for this spec, whether on this machine). For a spec that uses a run's anchors, it is what was
    measured for that run's settings.
    """
    with contextlib.suppress(UserError, OSError, ValueError):  # a run or a file is gone: the worker will say so
        asked = spec
        if spec.construction is None and spec.anchors_run is not None:
            asked = spec.model_copy(update={"construction": store.run(spec.anchors_run).spec.construction})
        for known, here in ((cost.kept_calibration(asked), True), (shipped_costs(asked), False)):
            if known is not None and not cost.missing(spec, known):
                return known, here
    return None, True


def adapting(spec: RunSpec) -> tuple[str, ...]:
    """The methods for which the run adapts blocks."""
    names = FDA_PATHS if spec.landscape is not None else spec.methods
    return tuple(name for name in names if METHODS[name].start is not None)


def _phases(spec: RunSpec, *, compiles: bool) -> list[PhaseName]:
    """The phases that a run of `spec` has."""
    has: dict[PhaseName, bool] = {
        "start": True,
        "inputs": spec.construction is not None,
        "compile": compiles and spec.construction is not None and spec.published is None,
        "construct": spec.construction is not None,
        "adapt": bool(adapting(spec)),
        "merge": bool(spec.methods),
        "score": bool(spec.methods),
        "landscape": spec.landscape is not None,
    }
    return [phase for phase in PHASES if has[phase]]
