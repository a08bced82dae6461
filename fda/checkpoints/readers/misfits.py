"""Explain why a checkpoint does not fit an architecture: one sentence with the cause and what to do.

Looks at names and shapes only. If no cause is recognised, it names the first tensors that do not fit.
"""

import difflib
import heapq
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from fda.checkpoints.weights import Weights

Shape = tuple[int, ...]
MOST_COMPARED = 1000  # names; a comparison takes about 50 microseconds
MOST_PROBLEMS = 5  # reported for one checkpoint: one cause often shows in every tensor
EXAMPLE = " (its "  # begins the example of a sentence
# Suffixes of tensors that only quantised checkpoints have: GPTQ and AWQ, bitsandbytes, compressed-tensors, FP8, MXFP4.
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
    """Return one sentence on the cause, or one on each of the first `wrong` tensors.

    `expected`: name → shape. `names`: expected name → name in `weights`, for the tensors it has; `renamed`: new name → name in
    `weights`, for every tensor. `wrong`: expected names that are missing or of another shape. `vocabulary`: names of the
    tensors with a row for each token.
    """
    cause = (
        _not_gathered(weights)
        or _quantised(weights)
        or _experts(weights, wrong, names)
        or _depth(weights, expected, renamed)
        or _width(weights, expected, names, wrong)
    )
    if cause:
        return [cause]
    problems = [_misfit(weights, name, expected[name], names, renamed, vocabulary) for name in wrong[:MOST_PROBLEMS]]
    return with_count(problems, len(wrong), weights)


def without_example(problem: str) -> str:
    """A sentence of `misfits` without the tensor that it gives as an example: one cause may show in a model and its head."""
    return problem.partition(EXAMPLE)[0]


def with_count(problems: list[str], count: int, weights: Weights) -> list[str]:
    """Return the problems, followed by a sentence on how many of all `count` are left out."""
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
        stored = weights.header[names[name]].shape
        if name in vocabulary and stored[1:] == shape[1:]:
            return (
                f"{weights.path}: the vocabulary was cut: {names[name]} has {stored[0]} rows where the base has {shape[0]}, "
                "and no tokenizer shows that the missing rows are never used: give the base its own tokenizer, or bring the "
                f"rows back with `resize_token_embeddings({shape[0]})`."
            )
        return (
            f"{weights.path}: tensor {names[name]} has shape {list(stored)} where {list(shape)} is "
            "expected: give a checkpoint of the architecture of the base."
        )
    near = nearest(name, renamed)
    hint = f"; the nearest name there is {renamed[near]}" if near is not None else ""
    return f"{weights.path} has no tensor {name}{hint}: give a checkpoint of the architecture of the base."


def nearest(name: str, names: Collection[str]) -> str | None:
    """Return the most similar of these names, or None. Of very many, compares those that share most parts with `name`."""
    parts = set(name.split("."))
    if len(names) > MOST_COMPARED:
        names = heapq.nlargest(MOST_COMPARED, names, key=lambda known: len(parts.intersection(known.split("."))))
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
    quantised = next((name for name in weights if name.endswith(QUANTISED)), None)
    if quantised is None:
        return None
    return (
        f"{weights.path} holds quantised weights (tensor {quantised}), which cannot be merged: give the checkpoint that they "
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
    blocks = {int(part) for name in renamed if (part := _after(name, path)) is not None}
    if not blocks or len(blocks) == count:
        return None
    return (
        f"{weights.path} has {len(blocks)} blocks ({path}…) where {count} are expected: give a checkpoint of a model of the "
        "same size, with its own config."
    )


def _after(name: str, path: str) -> str | None:
    """The number that follows `path` in a name, wherever `path` begins, or None."""
    at = f".{name}".find(f".{path}")
    part = name[at + len(path) :].split(".")[0] if at >= 0 else ""
    return part if part.isdigit() else None


def repeated_path(names: Collection[str]) -> tuple[str | None, int]:
    """Return (path of the numbered parts with most tensors, number of parts), such as (`encoder.layer.`, 12)."""
    parts: dict[str, set[int]] = {}
    tensors: Counter[str] = Counter()
    for name in names:
        pieces = name.split(".")
        index = next((index for index, piece in enumerate(pieces) if piece.isdigit()), None)
        if index:
            path = ".".join(pieces[:index]) + "."
            parts.setdefault(path, set()).add(int(pieces[index]))
            tensors[path] += 1
    if not tensors:
        return None, 0
    path = max(tensors, key=lambda path: (tensors[path], path))
    return path, len(parts[path])


def _width(
    weights: Weights, expected: Mapping[str, Shape], names: Mapping[str, str], wrong: Collection[str]
) -> str | None:
    """Recognises a model of another width: nearly all tensors are there, and most have another size on the same side."""
    reshaped = [name for name in wrong if name in names]
    if len(names) < 0.9 * len(expected) or len(reshaped) < 0.5 * len(expected):
        return None
    pairs = Counter(
        (stored, usual)
        for name in reshaped
        for stored, usual in zip(weights.header[names[name]].shape, expected[name], strict=False)
        if stored != usual
    )
    if not pairs:
        return None
    stored, usual = pairs.most_common(1)[0][0]
    return (
        f"{weights.path} is {stored} wide where {usual} is expected{EXAMPLE}{names[reshaped[0]]} is the first such tensor): "
        "give a checkpoint of a model of the same size, with its own config."
    )
