"""The engine `ray`: the units and the methods of a run as jobs of a Ray cluster, whose numbers are written as they come."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from fda import __version__
from fda.atomic import whole_file
from fda.merging.method import Method
from fda.stages.node_method import FOLDERS, Call, NodeMethod, Piece, compute_method
from fda.stages.ray_cluster import Cluster, runtime_env
from fda.stages.ray_node import NodeUnit, compute_unit
from fda.stages.real_inputs import RealBlockInputs
from fda.stages.unit_update import UnitUpdate, write_update
from fda.stages.work import Work
from fda.store.files import anchors_file
from fda.store.records import UnitKey


def construct_on_ray(work: Work, keys: Sequence[UnitKey], real: Mapping[str, RealBlockInputs | None]) -> None:
    """Construct these units on the cluster to which this process is connected. `real`: task → its real block inputs.

    Cancelled and UserError as `Cluster.carry_out`.
    """
    cluster = Cluster(work)
    tokens = work.construction.tokens or work.opened.model.tokens  # counted on data, which nodes need not have
    construction = work.construction.model_copy(update={"tokens": tokens})
    spec = work.spec.model_copy(update={"construction": construction}).model_dump_json()
    cluster.carry_out(compute_unit, [_Unit(work, key, real[key.name], spec, cluster.device) for key in keys])


def compare_on_ray(work: Work, methods: Sequence[Method], keys: Mapping[str, Sequence[UnitKey]]) -> None:
    """Merge and score each method on a node of the cluster. `keys`: method → its units in the store.

    Errors as `construct_on_ray`. A method that fails on its node has a result that says so.
    """
    cluster = Cluster(work)
    anchors = _Anchors(work, cluster.ray)
    cluster.carry_out(compute_method, [_Method(work, one, keys[one.name], anchors, cluster.device) for one in methods])


class _Unit:
    """The job of constructing one unit."""

    def __init__(self, work: Work, key: UnitKey, real: RealBlockInputs | None, spec: str, device: str) -> None:
        self.name = f"unit {key.name}, block {key.block}"
        self._work, self._key, self._real, self._spec, self._device = work, key, real, spec, device

    def order(self) -> tuple[Any, ...]:
        opened, key = self._work.opened, self._key
        unit = NodeUnit(
            self._spec,
            key,
            self._device,
            __version__,
            opened.base.fingerprint,
            opened.tasks[key.name].fingerprint,
            runtime_env().get("working_dir"),
        )
        return unit, None if self._real is None else self._real[key.block].numpy()

    def receive(self, node: str, message: list[UnitUpdate]) -> bool:
        for update in message:
            if update.anew:
                update.columns["node"] = node
            write_update(self._work, update)
        return any(update.columns.get("state") == "done" for update in message)

    def forget(self) -> None:
        write_update(self._work, UnitUpdate(self._key, anew=True))


class _Anchors:
    """The anchors that methods of a run read, put once where every node can fetch them."""

    def __init__(self, work: Work, ray: Any) -> None:
        self._work, self._ray = work, ray

    @cached_property
    def put(self) -> Any:
        """Ray's reference to: the units whose anchors they are, and path below the run's folder → bytes of the file."""
        work, source = self._work, self._work.anchors_run
        blocks = {block.index for block in work.blocks}
        units = [unit for unit in work.store.units(source, "construct") if unit.key.block in blocks]
        paths = [anchors_file(Path(), unit.key.name, unit.key.block) for unit in units]
        folder = work.store.run_dir(source)
        files = {path.as_posix(): (folder / path).read_bytes() for path in paths if (folder / path).is_file()}
        return self._ray.put((units, files))


class _Abandoned(Exception):
    """A file will not be received to its end."""


class _Method:
    """The job of merging and scoring one method."""

    def __init__(self, work: Work, method: Method, keys: Sequence[UnitKey], anchors: _Anchors, device: str) -> None:
        self.name = f"method {method.name}"
        self._work, self._method, self._keys, self._anchors, self._device = work, method, keys, anchors, device
        self._writing = ExitStack()  # of the file that is being received
        self._part: Path | None = None

    def order(self) -> tuple[Any, ...]:
        opened, spec = self._work.opened, self._work.spec.model_copy(update={"methods": (self._method.name,)})
        fingerprints = {name: weights.fingerprint for name, weights in opened.tasks.items()}
        method = NodeMethod(
            spec.model_dump_json(),
            self._device,
            __version__,
            opened.base.fingerprint,
            fingerprints,
            runtime_env().get("working_dir"),
        )
        return method, self._anchors.put if self._method.needs == "anchors" else None

    def receive(self, node: str, message: Call | Piece) -> bool:
        if isinstance(message, Piece):
            self._write(message)
            return False
        changes = message.changes | ({"node": node} if message.changes.get("state") == "running" else {})
        getattr(self._work.store, message.name)(self._work.run_id, *message.given, **changes)
        return message.name == "add_result"

    def forget(self) -> None:
        self._part = None
        with suppress(_Abandoned), self._writing:  # which deletes the part that is there
            raise _Abandoned
        for key in self._keys:
            self._work.store.reset_unit(self._work.run_id, key)

    def _write(self, piece: Piece) -> None:
        """Append to the file that a node sends; its last piece makes it the run's."""
        folder, name = Path(piece.path).parts
        assert folder in FOLDERS, piece.path
        path = self._work.folder / folder / name
        if self._part is None:
            self._part = self._writing.enter_context(whole_file(path))
            self._part.touch()
        with self._part.open("ab") as file:
            file.write(piece.content)
        if piece.last:
            self._part = None
            self._writing.close()
            if piece.kept:
                self._work.keep(path)
