"""Why a checkpoint does not fit an architecture, and what to do about it: one sentence for a cause that can be told.

Told from names and shapes alone. Where no cause is recognised, the first tensors that do not fit are named.
"""

import difflib
import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from fda.checkpoints.weights import Weights

Shape = tuple[int, ...]
MOST_COMPARED = 1000  # names; a comparison takes some 50 microseconds
MOST_PROBLEMS = 5  # of one checkpoint that are told: one cause often shows in every tensor
# Ends of the names of tensors that only quantised checkpoints have: GPTQ and AWQ, bitsandbytes, compressed-tensors, FP8, MXFP4.
QUANTISED = (
    ".qweight",
    ".qzeros",
    ".g_idx",
    ".SCB",
    ".absmax",
    ".quant_map",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    "_proj_blocks",
)


def misfits(
    weights: Weights,
    expected: Mapping[str, Shape],
    names: Mapping[str, str],
    renamed: Mapping[str, str],
    wrong: Sequence[str],
    vocabulary: Collection[str] = (),
) -> list[str]:
    """A sentence on the cause, or one on each of the first `wrong` tensors.

    `expected`: name → shape. `names`: expected name → name in `weights`, for those that are there; `renamed`: every tensor's
    new name → its name in `weights`. `wrong`: expected names that are missing or of another shape. `vocabulary`: those
    with a row for each token.
    """
    known = (
        _not_gathered(weights)
        or _quantised(weights)
        or _experts(weights, wrong, names)
        or _depth(weights, expected, renamed)
        or _width(weights, expected, names, wrong)
    )
    if known:
        return [known]
    told_ones = [_misfit(weights, name, expected[name], names, renamed, vocabulary) for name in wrong[:MOST_PROBLEMS]]
    return told(told_ones, len(wrong), weights)


def told(problems: list[str], count: int, weights: Weights) -> list[str]:
    """The problems, with a sentence on how many more there are."""
    more = count - len(problems)
    return [*problems, f"{weights.path}: {more} more tensors do not fit."] if more > 0 else problems


def _misfit(
    weights: Weights,
    name: str,
    shape: Shape,
    names: Mapping[str, str],
    renamed: Mapping[str, str],
    vocabulary: Collection[str],
) -> str:
    if name in names:
        found = weights.header[names[name]].shape
        if name in vocabulary and found[1:] == shape[1:]:
            return (
                f"{weights.path}: the vocabulary was cut: {names[name]} has {found[0]} rows where the base has {shape[0]}, and "
                "no tokenizer shows that the missing rows are never used: give the base its own tokenizer, or bring the rows "
                f"back with `resize_token_embeddings({shape[0]})`."
            )
        return (
            f"{weights.path}: tensor {names[name]} has shape {list(found)} where {list(shape)} is "
            "expected: give a checkpoint of the architecture of the base."
        )
    near = nearest(name, renamed)
    hint = f"; the nearest name there is {renamed[near]}" if near is not None else ""
    return f"{weights.path} has no tensor {name}{hint}: give a checkpoint of the architecture of the base."


def nearest(name: str, names: Collection[str]) -> str | None:
    """Of these names the one most like `name`, or None. Of very many those are compared that share most of its parts."""
    parts = set(name.split("."))
    if len(names) > MOST_COMPARED:
        names = heapq.nlargest(MOST_COMPARED, names, key=lambda other: len(parts.intersection(other.split("."))))
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)


def _not_gathered(weights: Weights) -> str | None:
    empty = [name for name, info in weights.header.items() if info.shape == (0,)]
    if not empty:
        return None
    return (
        f"{weights.path}: {len(empty)} of {len(weights)} tensors are empty, the first {empty[0]}: DeepSpeed ZeRO-3 saved it "
        "without gathering its shards: run the `zero_to_fp32.py` that lies in the training's checkpoint folder, and give what "
        "it writes."
    )


def _quantised(weights: Weights) -> str | None:
    found = next((name for name in weights if name.endswith(QUANTISED)), None)
    if found is None:
        return None
    return (
        f"{weights.path} holds quantised weights (tensor {found}), which cannot be merged: give the checkpoint that they "
        "were made from, or save it again after `model.dequantize()`."
    )


def _experts(weights: Weights, wrong: Collection[str], names: Collection[str]) -> str | None:
    missing = next((name for name in wrong if "experts" in name.split(".") and name not in names), None)
    if missing is None:
        return None
    stored = next((name for name in weights if "experts" in name.split(".")), None)
    if stored is None:
        return (
            f"{weights.path} has no experts ({missing}), but the base is a mixture of experts: give its own checkpoint."
        )
    return (
        f"{weights.path} keeps its experts as {stored}, the library as {missing}: a mixture of experts is not read in this "
        "form: give a dense model."
    )


def _depth(weights: Weights, expected: Collection[str], renamed: Mapping[str, str]) -> str | None:
    path, count = repeated_path(expected)
    if path is None:
        return None
    own = {int(part) for name in renamed if (part := _after(name, path)) is not None}
    if not own or len(own) == count:
        return None
    return (
        f"{weights.path} has {len(own)} blocks ({path}…) where {count} are expected: give a checkpoint of a model of the same "
        "size, with its own config."
    )


def _after(name: str, path: str) -> str | None:
    """The number behind a path, wherever it stands in a name."""
    at = f".{name}".find(f".{path}")
    part = name[at + len(path) :].split(".")[0] if at >= 0 else ""
    return part if part.isdigit() else None


def repeated_path(names: Collection[str]) -> tuple[str | None, int]:
    """(path of the numbered parts that most tensors lie in, how many parts), such as (`encoder.layer.`, 12)."""
    parts: dict[str, set[int]] = {}
    tensors: Counter[str] = Counter()
    for name in names:
        pieces = name.split(".")
        place = next((at for at, piece in enumerate(pieces) if piece.isdigit()), None)
        if place:
            path = ".".join(pieces[:place]) + "."
            parts.setdefault(path, set()).add(int(pieces[place]))
            tensors[path] += 1
    if not tensors:
        return None, 0
    path = max(tensors, key=lambda path: (tensors[path], path))
    return path, len(parts[path])


def _width(
    weights: Weights, expected: Mapping[str, Shape], names: Mapping[str, str], wrong: Collection[str]
) -> str | None:
    """Of a model whose tensors are nearly all there, most of them of another size on the side that most share."""
    shaped = [name for name in wrong if name in names]
    if len(names) < 0.9 * len(expected) or len(shaped) < 0.5 * len(expected):
        return None
    pairs = Counter(
        (own, usual)
        for name in shaped
        for own, usual in zip(weights.header[names[name]].shape, expected[name], strict=False)
        if own != usual
    )
    if not pairs:
        return None
    own, usual = pairs.most_common(1)[0][0]
    return (
        f"{weights.path} is {own} wide where {usual} is expected (its {names[shaped[0]]} is the first such tensor): give a "
        "checkpoint of a model of the same size, with its own config."
    )
