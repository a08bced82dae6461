"""Open a zoo's checkpoints, check that they fit together, and compare their task vectors.

The checks read headers only; norms and cosines read one tensor of each checkpoint at a time.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

from fda.architectures.model import Model
from fda.checkpoints.readers.misfits import MOST_PROBLEMS, nearest, with_count
from fda.checkpoints.readers.names import RenamedWeights
from fda.checkpoints.readers.open import open_weights
from fda.checkpoints.treatments import treatments
from fda.checkpoints.weights import Weights
from fda.errors import Misfit
from fda.zoos.configs import compared, config_place
from fda.zoos.finite import require_finite
from fda.zoos.hub import located, tell_on_stderr
from fda.zoos.kinds import open_model
from fda.zoos.zoo import Zoo

FLOATS = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class OpenZoo:
    """A zoo whose checkpoints fit together.

    `base` and `tasks`: the merged tensors, those of the base model, under the architecture's names, without heads and other
    towers. `own_base`: the whole checkpoint of the base, under its own names.
    """

    zoo: Zoo
    model: Model
    base: Weights
    tasks: dict[str, Weights]
    own_base: Weights


def open_zoo(zoo: Zoo, tasks: tuple[str, ...] | None = None) -> OpenZoo:
    """Open the base and the named tasks' checkpoints. UserError with the first problem found."""
    names = zoo.task_names if tasks is None else tasks
    zoo = located(zoo, tasks=names, report=tell_on_stderr)
    own_base = open_weights(zoo.base.model)
    model = open_model(zoo, own_base)
    base = fit_base(model, own_base)
    for note in model.notes:
        tell_once(note)
    base_folder, finetuned = config_place(zoo.base.model), {}
    for name in names:
        path = zoo.task(name).model
        comparison = compared(model, base_folder, config_place(path), name)
        weights = open_weights(path, base=own_base, rename=model.rename)
        finetuned[name] = fit_task(model, base, name, weights, comparison.problems)
        for note in comparison.notes:
            tell_once(note)
    return OpenZoo(zoo, model, base, finetuned, own_base)


@cache
def tell_once(note: str) -> None:
    """Print a note on stderr, and so in a run's log, once in this process."""
    tell_on_stderr(f"note: {note}")


def fit_base(model: Model, own_base: Weights) -> Weights:
    """Return the base's merged tensors by the architecture's names. Misfit if it is not of that architecture."""
    base = model.fit(own_base)
    built = model.module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in built.items() if name in base or not model.may_lack(name)}
    if wrong := header_problems(shapes, base, "the architecture"):
        raise Misfit(wrong)
    floats = {name for name, tensor in built.items() if tensor.is_floating_point()}
    if number := number_problem(floats, base):
        raise Misfit([number])
    return base


def fit_task(model: Model, base: Weights, task: str, weights: Weights, differing: Sequence[str] = ()) -> Weights:
    """Return a task's tensors that the fitted `base` has; `weights`: its whole checkpoint. Reads headers only.

    `differing`: problems of its config (`fda.zoos.configs`). Misfit with these, then with the first tensors that do not fit, or
    that belong to the blocks and would be left out.
    """
    try:
        checkpoint = model.fit(weights, base=base)
    except Misfit as error:
        raise Misfit([*differing, *error.problems]) from None
    shapes = {name: info.shape for name, info in base.header.items()}
    wrong = header_problems(shapes, checkpoint, f"the base, so task {task!r} cannot be merged with it")
    if extra := _left_out_of_blocks(model, base, checkpoint):
        wrong.append(
            f"{weights.path}: {len(extra)} tensors of its blocks have no place in the base's, the first {extra[0]}: give a "
            "checkpoint finetuned from this base."
        )
    if wrong or differing:
        raise Misfit([*differing, *wrong])
    kinds = {name: (checkpoint.header[name].dtype, info.dtype) for name, info in base.header.items()}
    differ = [name for name, (dtype, expected) in kinds.items() if (dtype in FLOATS) != (expected in FLOATS)]
    if differ:
        wrong = [
            f"{checkpoint.path}: tensor {name} is {kinds[name][0]} where the base has {kinds[name][1]}: give plain weights."
            for name in differ[:MOST_PROBLEMS]
        ]
        raise Misfit(with_count(wrong, len(differ), checkpoint))
    return checkpoint


def _left_out_of_blocks(model: Model, base: Weights, checkpoint: Weights) -> list[str]:
    """Names of a checkpoint's tensors below the blocks' path that are not shown: further blocks, further biases.

    Without tensors that the base's checkpoint has too, integers, and buffers that the library no longer keeps.
    """
    if not isinstance(checkpoint, RenamedWeights):
        return []
    prefix = model.blocks[0].prefix
    path = prefix[: prefix.rindex("0.")]
    known = base.beside if isinstance(base, RenamedWeights) else {}
    old = [r"rotary_emb\.inv_freq", *(getattr(model.module, "_keys_to_ignore_on_load_unexpected", None) or ())]
    ignored = re.compile("|".join(f"({pattern})" for pattern in old))
    header = checkpoint.weights.header
    return [
        name
        for new, name in sorted(checkpoint.beside.items())
        if new.startswith(path) and new not in known and header[name].dtype in FLOATS and not ignored.search(new)
    ]


def header_problem(expected: dict[str, tuple[int, ...]], checkpoint: Weights, whose: str) -> str | None:
    """Return the first of `header_problems`, or None."""
    return next(iter(header_problems(expected, checkpoint, whose)), None)


def header_problems(expected: dict[str, tuple[int, ...]], checkpoint: Weights, whose: str) -> list[str]:
    """Return a sentence on each of the first tensors of `checkpoint` that do not have the expected names and shapes."""
    header = checkpoint.header
    wrong = [name for name, shape in expected.items() if name not in header or header[name].shape != shape]
    extra = [name for name in header if name not in expected]
    problems = []
    for name in wrong[:MOST_PROBLEMS]:
        if name in header:
            problems.append(
                f"{checkpoint.path}: tensor {name} has shape {list(header[name].shape)} but {list(expected[name])} in "
                f"{whose}: give a checkpoint finetuned from this base."
            )
        else:
            near = nearest(name, header)
            hint = f"; the nearest name there is {near}" if near is not None else ""
            problems.append(
                f"{checkpoint.path} has no tensor {name} of {whose}{hint}: give a checkpoint of that architecture."
            )
    problems += [
        f"{checkpoint.path} has a tensor {name} that is not in {whose}: give a checkpoint of that architecture."
        for name in extra[: MOST_PROBLEMS - len(problems)]
    ]
    return with_count(problems, len(wrong) + len(extra), checkpoint)


def number_problem(floats: Collection[str], checkpoint: Weights) -> str | None:
    """Return a sentence on the first of the tensors `floats` whose dtype in the header is not floating-point, or None.

    The bits of weights, read as integers, would be meaningless numbers.
    """
    for name, info in checkpoint.header.items():
        if name in floats and not info.dtype.startswith(("F", "BF")):
            return (
                f"{checkpoint.path}: tensor {name} is said to be {info.dtype}, where weights are floating-point numbers: "
                "copy or download it again, or give one that is not quantised."
            )
    return None


def survey(zoo: Zoo, path: str) -> dict[str, Any]:
    """Return what the Checkpoints page and `zoo show` show of a zoo, as plain data. Misfit if a tensor is not finite."""
    opened = open_zoo(zoo)
    checked = require_finite(opened)
    blocks = opened.model.blocks
    header = opened.base.header
    gram = torch.zeros(len(blocks) + 1, len(opened.tasks), len(opened.tasks), dtype=torch.float64)
    for index, names in enumerate([*([b.prefix + n for n in b.names] for b in blocks), _outside(header, blocks)]):
        for name in names:
            theta0 = opened.base[name].double().flatten()
            taus = torch.stack([c[name].double().flatten() - theta0 for c in opened.tasks.values()])
            gram[index] += taus @ taus.T
    norms = gram.diagonal(dim1=1, dim2=2).sqrt()  # (blocks + rest) × tasks
    return {
        "name": zoo.name,
        "description": zoo.description,
        "path": path,
        "base": {
            "model": zoo.base.model,
            "kind": opened.model.kind,
            "fingerprint": opened.base.fingerprint,
            "parameters": sum(info.count for info in header.values()),
            "bytes": opened.base.bytes,
        },
        "width": opened.model.width,
        "tokens": opened.model.tokens,
        "token_source": opened.model.token_source,
        "layout": opened.model.layout,
        "blocks": [
            {
                "index": block.index,
                "prefix": block.prefix,
                "tensors": [{"name": name, **asdict(header[block.prefix + name])} for name in block.names],
            }
            for block in blocks
        ],
        "treatments": [asdict(tensor) for tensor in treatments(header)],
        "tasks": [
            {
                "name": task.name,
                "title": task.title,
                "description": task.description,
                "model": task.model,
                "bytes": opened.tasks[task.name].bytes,
                "fingerprint": opened.tasks[task.name].fingerprint,
                "classes": _classes(task.head),
                "data": task.data and task.data.model_dump(),
                "norms": norms[:-1, index].tolist(),
                "norm_outside_blocks": norms[-1, index].item(),
            }
            for index, task in enumerate(zoo.tasks)
        ],
        "cosines": {
            "tasks": list(zoo.task_names),
            "all": cosine_matrix(gram.sum(0)),
            "blocks": [cosine_matrix(block) for block in gram[:-1]],
        },
        "notes": list(checked.notes),
    }


def cosine_matrix(gram: torch.Tensor) -> list[list[float]]:
    """Return cosines from inner products; a zero vector has cosine 0 with all others and 1 with itself."""
    norm = gram.diagonal().sqrt()
    cosine = gram / torch.outer(norm, norm).clamp_min(torch.finfo(gram.dtype).tiny)
    return cosine.clamp(-1, 1).fill_diagonal_(1.0).tolist()


def _outside(header: dict[str, Any], blocks: tuple) -> list[str]:
    inside = {block.prefix + name for block in blocks for name in block.names}
    return [name for name, info in header.items() if name not in inside and info.dtype in FLOATS]


def _classes(head: Any) -> int | None:
    if isinstance(head, str):
        weight = open_weights(head).header.get("weight")
        return weight.shape[0] if weight else None
    return len(head.zero_shot.classes) if head else None
