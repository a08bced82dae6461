"""Remembers which steps of construction this machine has compiled, and how long that took. Imports no torch.

What was compiled is noted in the compiler's own cache, so that both are deleted together.
"""

import contextlib
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

from fda.atomic import write_text
from fda.home import fda_home
from fda.store.spec import RunSpec
from fda.store.store import queue_device
from fda.zoos.stamps import stamps


def is_compiled(spec: RunSpec, arithmetic: str) -> bool:
    """Whether a run of this zoo and these settings has compiled its step before, and the compiler's cache is still there."""
    return _note(spec, arithmetic).is_file()


def compiling_seconds() -> float | None:
    """Seconds that the last step took which this machine compiled; None if it compiled none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return float(json.loads(_last().read_text(encoding="utf-8"))["seconds"])
    return None


def remember(spec: RunSpec, arithmetic: str, seconds: float, *, compiled: bool) -> None:
    """Note that a step is in the compiler's cache; `compiled`: it was not before, and making it took these seconds."""
    with contextlib.suppress(OSError):
        note = _note(spec, arithmetic)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, "")
        if compiled:
            _last().parent.mkdir(parents=True, exist_ok=True)
            write_text(_last(), json.dumps({"seconds": round(seconds, 1)}) + "\n")


def _last() -> Path:
    return fda_home() / "cache" / "last_compiled.json"


def _note(spec: RunSpec, arithmetic: str) -> Path:
    settings = spec.construction
    shape = None if settings is None else (settings.anchors, settings.tokens, settings.distance)
    parts = [version("torch"), stamps(Path(spec.zoo_path), spec.zoo), shape, arithmetic, queue_device(spec.device)]
    named = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    cache = os.environ.get("TORCHINDUCTOR_CACHE_DIR") or fda_home() / "cache" / "compiled"
    return Path(cache) / "fda_steps" / named
