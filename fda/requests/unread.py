"""Which settings the methods of a run read. A setting that is asked for and that no method reads is refused."""

from collections.abc import Iterable

from fda.errors import UserError
from fda.merging.method import Method
from fda.merging.registry import METHODS
from fda.settings import AdaptSettings
from fda.store.spec import RunSpec


def read_anchors(methods: Iterable[str]) -> bool:
    """Whether a method reads anchors. A name that the registry has no more reads nothing."""
    return any(one.needs == "anchors" for one in _known(methods))


def work_by_block(methods: Iterable[str]) -> bool:
    """Whether a method works on the chosen blocks; all others merge the whole model."""
    return any(one.needs == "anchors" or one.start is not None for one in _known(methods))


def adaptation_read_by(methods: Iterable[str]) -> tuple[str, ...]:
    """The adaptation settings that the methods read: those of weights or of coefficients, by what they train."""
    read: set[str] = set()
    for one in _known(methods):
        if one.start is not None:
            read |= {"distance", "batch", "arithmetic", f"{one.trained}_lr", f"{one.trained}_epochs"}
            read |= {"weights_rate"} if one.trained == "weights" else set()
    return tuple(name for name in AdaptSettings.model_fields if name in read)


def require_readers(spec: RunSpec, adaptation: Iterable[str]) -> None:
    """UserError for anchors, blocks or adaptation settings that are asked for and that no method of the spec reads.

    `adaptation`: the names that were given; `epochs` and `preset` set both kinds, so that either reader will do.
    """
    if spec.anchors_run is not None and not read_anchors(spec.methods):
        raise UserError(
            "--anchors is given, but no method of this run reads anchors: add one, such as fda:ta, or leave it out."
        )
    if spec.blocks and spec.construction is None and not work_by_block(spec.methods):
        raise UserError(
            "--blocks is given, but no method of this run works by block: add one, such as fda:ta, or leave it out."
        )
    read, given = adaptation_read_by(spec.methods), set(adaptation)
    for name in sorted(given):
        if name not in read and not (name in ("epochs", "preset") and read):
            reader = "fda:pretrained" if name.startswith("weights") else "fda:ta"
            raise UserError(
                f"--adapt {name} is set, but no method of this run reads it: add one, such as {reader}, or leave it out."
            )
    if {"epochs", *(name for name in read if name.endswith("_epochs"))} <= given:
        raise UserError("--adapt epochs stands for what is set beside it: leave it out.")


def _known(methods: Iterable[str]) -> list[Method]:
    return [METHODS[name] for name in methods if name in METHODS]
