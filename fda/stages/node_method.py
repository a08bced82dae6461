"""One merging method on a node of a Ray cluster: merge and score it there as a run of its own, and send what that writes.

The node's run has a store in a temporary folder. What the store is told of the method, and the files of its results, go to the
run's worker (`ray_engine.py`), which writes them down in the same order. Imports no Ray.
"""

import queue
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fda.cancel import NEVER
from fda.errors import UserError
from fda.jobs.lanes import take_one_lane
from fda.stages.compare import Comparison
from fda.stages.ray_node import brought_spec, require_same
from fda.stages.work import Work
from fda.store.finished import keep
from fda.store.numbers import MethodResult, Score
from fda.store.records import Unit, UnitKey
from fda.store.store import Store
from fda.tasks.image_sizes import counted_on_data
from fda.zoos.survey import open_zoo

FOLDERS = ("merged", "predictions")  # of the files that are sent
PIECE_BYTES = 2**26
AHEAD = 8  # messages that wait until the worker takes them


@dataclass(frozen=True)
class NodeMethod:
    """A method to compute on a node.

    `spec`: the run's with this method alone, as JSON. `version`: of fda. `base`, `finetuned` (task → …): fingerprints of the
    checkpoints that the run's worker has. `brought`: as in `NodeUnit`.
    """

    spec: str
    device: str
    version: str
    base: str
    finetuned: Mapping[str, str]
    brought: str | None


@dataclass(frozen=True)
class Call:
    """What the store was told: the name of its method, and the arguments after the run."""

    name: str
    given: tuple[Any, ...]
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """The next bytes of a file, by its path below the run's folder. `kept`: the run's worker records its checksum."""

    path: str
    content: bytes
    last: bool
    kept: bool


def compute_method(
    order: NodeMethod, anchors: tuple[Sequence[Unit], Mapping[str, bytes]] | None
) -> Iterator[Call | Piece]:
    """What the store is told of a method, and its files before its result. `anchors`: units, and path → bytes of their files.

    UserError, with the node's name, for whatever a user can mend.
    """
    messages: queue.Queue[Call | Piece | BaseException | None] = queue.Queue(AHEAD)

    def compute() -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="fda-node-") as home:
                _compute(order, anchors, Path(home), messages.put)
            messages.put(None)
        except BaseException as error:  # raised where the messages are read
            messages.put(error)

    threading.Thread(target=compute, name="method", daemon=True).start()
    while (message := messages.get()) is not None:
        if isinstance(message, UserError):
            raise UserError(f"node {socket.gethostname()}: {message}") from None
        if isinstance(message, BaseException):
            raise message
        yield message


def _compute(
    order: NodeMethod,
    anchors: tuple[Sequence[Unit], Mapping[str, bytes]] | None,
    home: Path,
    send: Callable[[Call | Piece], None],
) -> None:
    if order.device == "cpu":
        take_one_lane()
    spec = brought_spec(order.spec, order.brought, order.version)
    opened = open_zoo(spec.zoo, spec.tasks)
    require_same([(opened.base, order.base), *((opened.tasks[task], order.finetuned[task]) for task in spec.tasks)])
    store = _Telling(home, send)
    run_id = store.create_run(spec)
    units, files = anchors or ((), {})
    for path, content in files.items():
        file = store.run_dir(run_id) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        keep(store, run_id, file)
    store.add_units(run_id, [(unit.key, unit.steps) for unit in units])
    for unit in units:
        store.update_unit(
            run_id, unit.key, state=unit.state, step=unit.step, seconds=unit.seconds, message=unit.message
        )
    store.tells = True
    work = Work(store, run_id, spec, counted_on_data(opened), order.device, NEVER)
    Comparison(work).merge_and_score(spec.methods)


class _Telling(Store):
    """The store of a node's run. Once `tells` is set, it passes on what it is told of units and results."""

    def __init__(self, home: Path, send: Callable[[Call | Piece], None]) -> None:
        super().__init__(home)
        self._send, self.tells = send, False

    def update_unit(self, run_id: str, key: UnitKey, **changes: Any) -> None:
        super().update_unit(run_id, key, **changes)
        if self.tells:
            self._send(Call("update_unit", (key,), changes))

    def add_scalars(self, run_id: str, key: UnitKey, rows: Any, **changes: Any) -> None:
        super().add_scalars(run_id, key, rows, **changes)
        if self.tells:
            self._send(Call("add_scalars", (key, rows), changes))

    def add_result(self, run_id: str, result: MethodResult, scores: Sequence[Score] = ()) -> None:
        super().add_result(run_id, result, scores)
        recorded = self.files(run_id)
        for file in sorted(self.run_dir(run_id).glob("*/*.safetensors")):
            path = file.relative_to(self.run_dir(run_id))
            if path.parts[0] in FOLDERS:
                self._send_file(file, path.as_posix(), kept=path.as_posix() in recorded)
        self._send(Call("add_result", (result, scores)))

    def _send_file(self, file: Path, path: str, *, kept: bool) -> None:
        left = file.stat().st_size
        with file.open("rb") as opened:
            while left:
                content = opened.read(PIECE_BYTES)
                left -= len(content)
                self._send(Piece(path, content, last=not left, kept=kept))
