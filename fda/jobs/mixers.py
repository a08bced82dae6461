"""The mixer's processes: one for each visitor, which keeps a zoo's models in memory and scores mixes of them. Imports no torch.

    mixer = mixer_for(visitor, zoo, run_id)
    about = mixer.about(on_progress)                       # starts the process, if there is none
    answer = mixer.ask(MixRequest(recipe=recipe.content()), on_progress)

Page and process speak JSON over a pair of connected sockets, which have no name that another process could find. So the process
ends by itself when the server ends; it also ends when it has not been asked for ten minutes. What it does: `fda.stages.mixer`.
"""

import contextlib
import itertools
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import psutil

from fda.access import read_access
from fda.actor import acting_as, actor
from fda.checkpoints.weights import Checkpoint
from fda.child_limits import child_limits
from fda.errors import UserError
from fda.home import REPO
from fda.jobs.gate import permit
from fda.jobs.mixer_messages import About, Answer, MixRequest, Pictures, Progress
from fda.zoos.hub import snapshot_folder
from fda.zoos.hub_ids import is_hub_id
from fda.zoos.zoo import Zoo

IDLE_SECONDS = 600.0  # without a request, after which a process ends
YIELD_SECONDS = 60.0  # without a request, after which a process ends if another visitor needs its place
TICK_SECONDS = 0.2  # between two reports of progress to the caller
MOST_MIXERS = 2  # processes at once, unless FDA_MIXERS says another number
OWN_BYTES = 1200 << 20  # of a process before it opens a zoo: Python, torch and what they import
COPIES = 6  # of the model in float32: the module, the mix, the plane's two directions, parts
KEPT_COPIES = 24  # more of it than this do parts never take

OnProgress = Callable[[Progress], None]


def _ignore(_: Progress) -> None:
    pass


class Superseded(Exception):
    """A newer request came, so this one gets no answer."""


class MixerEnded(UserError):
    """The process ended while it was asked. The next request starts a new one."""


class _EndedIdle(MixerEnded):
    """It had waited so long that it ended by itself."""


class Mixer:
    """A visitor's mixer of one zoo. Its methods may be called by several threads; its process starts when it is first asked."""

    def __init__(self, zoo: Zoo, run_id: str | None = None) -> None:
        self.zoo, self.run_id = zoo, run_id
        self.owner = actor()  # whoever asks in a thread of the server goes on with what this person began
        self.asked = time.monotonic()
        self._process: _Process | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.alive else None

    def about(self, on_progress: OnProgress = _ignore) -> About:
        """What is opened. Waits until it is. UserError if the zoo cannot be opened or does not fit into memory."""
        return About.model_validate(self._call("about", {}, on_progress))

    def ask(self, request: MixRequest, on_progress: OnProgress = _ignore) -> Answer:
        """Mix and score. `on_progress` is called in this thread a few times a second; what it raises ends the waiting.

        Superseded if a newer request came meanwhile; UserError for a recipe that cannot be mixed; MixerEnded.
        """
        return Answer.model_validate(self._call("mix", {"request": request.model_dump(mode="json")}, on_progress))

    def pictures(self, shown: Mapping[str, Sequence[int]]) -> dict[str, Pictures]:
        """Task → those samples of its validation split. UserError for an index that is none."""
        wanted = {task: list(indices) for task, indices in shown.items()}
        answer = self._call("pictures", {"shown": wanted}, _ignore)
        return {task: Pictures.model_validate(one) for task, one in answer.items()}

    def end(self) -> None:
        """End the process, if there is one. The mixer can be asked again, which starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _call(self, kind: str, content: Mapping[str, Any], on_progress: OnProgress) -> Any:
        try:
            return self._call_once(kind, content, on_progress)
        except _EndedIdle:  # a moment before it was asked
            return self._call_once(kind, content, on_progress)

    def _call_once(self, kind: str, content: Mapping[str, Any], on_progress: OnProgress) -> Any:
        def waiting(progress: Progress) -> None:
            self.asked = time.monotonic()  # nobody else takes its place meanwhile
            on_progress(progress)

        with acting_as(self.owner):
            permit("mix")  # also where a process runs already: a tab takes over that of one that has closed
        self.asked = time.monotonic()
        with self._lock:
            process, first = self._process, "starting the mixer"
            if process is None or not process.alive:
                first = first if process is None else "the mixer's process had ended: starting a new one"
                with _starting:
                    _make_room(self)
                    process = self._process = _Process(self.zoo, self.run_id)
            call = process.send(kind, content)
        try:
            return call.result(waiting, Progress(text=first))
        finally:
            self.asked = time.monotonic()


_mixers: dict[str, Mixer] = {}
_all, _starting = threading.Lock(), threading.Lock()


def mixer_for(visitor: str, zoo: Zoo, run_id: str | None = None) -> Mixer:
    """The visitor's mixer of this zoo; one of another zoo or run ends. Starts nothing.

    `visitor`: stays the same while a tab is reloaded, if it can. `run_id`: the run whose landscape gives the plane.
    """
    with _all:
        known = _mixers.get(visitor)
        if known is None or (known.zoo, known.run_id) != (zoo, run_id):
            if known is not None:
                known.end()
            known = _mixers[visitor] = Mixer(zoo, run_id)
        known.owner = actor()
        for other, one in list(_mixers.items()):
            if one is not known and not one.running and time.monotonic() - one.asked > IDLE_SECONDS:
                del _mixers[other]
        return known


def end_mixer(visitor: str) -> None:
    """End the visitor's mixer, if there is one."""
    with _all:
        known = _mixers.pop(visitor, None)
    if known is not None:
        known.end()


def most_mixers() -> int:
    """How many processes may run at once: FDA_MIXERS, or 2."""
    try:
        return max(1, int(os.environ.get("FDA_MIXERS", "")))
    except ValueError:
        return MOST_MIXERS


def memory_limit() -> int:
    """Bytes that one process may take: FDA_MIXER_GB, or half of the memory that is available now."""
    try:
        return int(float(os.environ.get("FDA_MIXER_GB", "")) * 1e9)
    except (ValueError, OverflowError):
        return psutil.virtual_memory().available // 2


def memory_forecast(zoo: Zoo) -> int:
    """Bytes that a mixer of this zoo needs at least. UserError if a model is not downloaded."""
    return OWN_BYTES + COPIES * model_bytes(zoo)


def model_bytes(zoo: Zoo) -> int:
    """Bytes of the base in float32, from its file's header, or for other formats at most, from its size."""
    base_path: Path | None = Path(zoo.base.model)
    if is_hub_id(zoo.base.model) and not base_path.exists():
        base_path = snapshot_folder(zoo.base.model)
        if base_path is None:
            raise UserError(
                f"{zoo.base.model} is not downloaded: download the zoo's models on the page Checkpoints first."
            )
    try:
        return 4 * sum(info.count for info in Checkpoint(base_path).header.values())
    except UserError:  # of several files, or of another format
        files = [base_path] if base_path.is_file() else [path for path in base_path.rglob("*") if path.is_file()]
        return 2 * sum(path.stat().st_size for path in files)


def _make_room(mixer: Mixer) -> None:
    """End the process that has waited longest, if there are too many: of all, and of those of this mixer's owner.

    UserError if all of them are in use.
    """
    others = [one for one in list(_mixers.values()) if one is not mixer]
    mine = [one for one in others if one.owner.name == mixer.owner.name]
    if mixer.owner.limited and (most := read_access().limits.mixers) is not None:
        refusal = f"{mixer.owner.name} has as many mixers in use as are allowed ({most}): wait a minute."
        _end_until_fewer(mine, most, refusal)
    most = most_mixers()
    refusal = (
        f"{most} mixers are in use, and no more run at once here: wait a minute, or set FDA_MIXERS to a larger number."
    )
    _end_until_fewer(others, most, refusal)


def _end_until_fewer(mixers: Sequence[Mixer], most: int, otherwise: str) -> None:
    """End those that have waited longest until fewer than `most` run. UserError, `otherwise`, if that one is in use."""
    while len(running := [one for one in mixers if one.running]) >= most:
        oldest = min(running, key=lambda one: one.asked)
        if time.monotonic() - oldest.asked < YIELD_SECONDS:
            raise UserError(otherwise)
        oldest.end()


class _Call:
    """One question to a process: what came back so far."""

    def __init__(self) -> None:
        self.came: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def result(self, on_progress: OnProgress, progress: Progress) -> Any:
        """What it answers. `progress`: what is said until the process says something."""
        while True:
            with contextlib.suppress(queue.Empty):
                message = self.came.get(timeout=TICK_SECONDS)
                kind = message.get("kind")
                if kind == "result":
                    return message["content"]
                if kind == "superseded":
                    raise Superseded
                if kind == "problem":
                    raise UserError(str(message["sentence"]))
                if kind == "ended":
                    raise (_EndedIdle if message["idle"] else MixerEnded)(str(message["sentence"]))
                if kind == "progress":
                    progress = Progress(text=str(message["text"]), share=message.get("share"))
            on_progress(progress)


class _Process:
    """A process and the thread that reads what it says."""

    def __init__(self, zoo: Zoo, run_id: str | None) -> None:
        limit, needed = memory_limit(), memory_forecast(zoo)
        if needed > limit:
            raise UserError(
                f"a mixer of zoo {zoo.name} needs {needed / 1e9:.1f} GB of memory, and {limit / 1e9:.1f} GB are allowed: free "
                "some, or set FDA_MIXER_GB to a larger number."
            )
        limit_child = child_limits()
        room = min(limit - needed, KEPT_COPIES * model_bytes(zoo))
        ours, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "fda.stages.mixer", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd=REPO,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        limit_child(self._popen.pid)
        self._connection = Connection(ours.detach())
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._ending = False
        self._send(
            {
                "kind": "open",
                "zoo": zoo.model_dump(mode="json"),
                "run_id": run_id,
                "idle_seconds": IDLE_SECONDS,
                "parts_bytes": room,
                "forecast_bytes": needed + room,
            }
        )
        threading.Thread(target=self._read, daemon=True, name="mixer").start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return not self._ending and self._popen.poll() is None

    def send(self, kind: str, content: Mapping[str, Any]) -> _Call:
        call = _Call()
        with self._lock:
            number = next(self._numbers)
            self._calls[number] = call
        self._send({"kind": kind, "generation": number, **content})
        return call

    def end(self) -> None:
        self._ending = True
        self._popen.kill()  # it writes no file that could be left half
        self._popen.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended: the reading thread says so
            self._connection.send_bytes(json.dumps(message).encode())

    def _read(self) -> None:
        try:
            while True:
                self._deliver(json.loads(self._connection.recv_bytes()))
        except (EOFError, OSError, ValueError):
            pass
        self._ending, wished = True, self._ending
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(5)
        self._popen.kill()
        sentence = "the mixer was ended: ask again, and a new one starts." if wished else self._last_words()
        with self._lock:
            calls, self._calls = self._calls, {}
        for call in calls.values():
            call.came.put({"kind": "ended", "sentence": sentence, "idle": not wished and self._popen.returncode == 0})
        self._connection.close()
        self._errors.close()

    def _deliver(self, message: dict[str, Any]) -> None:
        with self._lock:
            call = self._calls.get(int(message["generation"]))
            if call is not None and message["kind"] != "progress":
                del self._calls[int(message["generation"])]
        if call is not None:
            call.came.put(message)

    def _last_words(self) -> str:
        """Why the process ended, in a sentence."""
        code = self._popen.wait()
        if code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                memory = ", perhaps for lack of memory" if name == "SIGKILL" else ""
                return f"the mixer's process was ended by {name}{memory}: the next move of a slider starts a new one."
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        why = f" ({lines[-1]})" if lines else ""
        return f"the mixer's process ended with code {code}{why}: the next move of a slider starts a new one."
