"""Small random state dicts with the shapes that break merging code, and the plain flattened view that oracles use."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fda.merging.registry import METHODS

State = dict[str, Tensor]
Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]

SHAPES: Shapes = {
    "visual.conv1.weight": ((4, 3, 2, 2), torch.float32),
    "class_embedding": ((5,), torch.float32),
    "positional_embedding": ((5, 7), torch.float32),
    "position_ids": ((1, 5), torch.int64),
    "0.attn.in_proj_weight": ((21, 7), torch.float32),
    "0.attn.in_proj_bias": ((21,), torch.float32),
    "0.mlp.c_fc.weight": ((13, 7), torch.float32),
    "0.mlp.c_proj.weight": ((7, 13), torch.float32),
    "0.row.weight": ((1, 9), torch.float32),
    "0.column.weight": ((9, 1), torch.float32),
    "0.half.weight": ((8, 6), torch.float16),
    "0.brain.bias": ((11,), torch.bfloat16),
    "0.mask": ((3,), torch.bool),
    "0.still.weight": ((6, 5), torch.float32),
    "text_projection": ((6, 6), torch.float32),
    "logit_scale": ((), torch.float32),
}
STILL = "0.still.weight"  # its task vectors are zero
PARTLY_STILL = "0.mlp.c_fc.weight"  # that of the first task is zero, if there is more than one

DATA_FREE = [m.name for m in METHODS.values() if m.merge is not None and m.needs == "nothing" and not m.swept]
QUICK = {"optmerge": {"steps": 20}}  # time grows with Adam's steps, and little else depends on them
RANDOM = ["dare", "dare_ties", "della"]


def random_states(tasks: int, seed: int = 0, *, partly_still: bool = True) -> tuple[State, list[State]]:
    """A base and its finetuned models; integer buffers of the finetuned models differ from the base's."""
    random = torch.Generator().manual_seed(seed)
    base = {name: _random(shape, dtype, random) for name, (shape, dtype) in SHAPES.items()}
    finetuned = []
    for task in range(tasks):
        state = {}
        for name, theta0 in base.items():
            still = name == STILL or (partly_still and name == PARTLY_STILL and task == 0 and tasks > 1)
            if theta0.is_floating_point() and not still:
                state[name] = (theta0 + 0.5 * torch.randn(theta0.shape, generator=random)).to(theta0.dtype)
            else:
                state[name] = theta0.clone() if theta0.is_floating_point() else ~theta0
        finetuned.append(state)
    return base, finetuned


def gridded_states(tasks: int, seed: int = 0) -> tuple[State, list[State]]:
    """Weights and task vectors on a coarse grid: magnitudes tie and sums cancel all the time, and fp32 sums are exact."""
    random = torch.Generator().manual_seed(seed)

    def on_grid(shape: Sequence[int]) -> Tensor:
        return torch.randint(-4, 5, tuple(shape), generator=random) / 8

    base = {name: on_grid(shape) for name, (shape, dtype) in SHAPES.items() if dtype.is_floating_point}
    return base, [{name: tensor + on_grid(tensor.shape) for name, tensor in base.items()} for _ in range(tasks)]


def _random(shape: tuple[int, ...], dtype: torch.dtype, random: torch.Generator) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape, generator=random).to(dtype)
    return torch.randint(0, 2, shape, generator=random).to(dtype)


def run(name: str, base: State, finetuned: Sequence[State], **hyperparameters: float) -> State:
    """What a method yields, in fp32, before `merge` casts it."""
    return dict(METHODS[name].merge(base, finetuned, **QUICK.get(name, {}) | hyperparameters))


def floats(state: State) -> State:
    return {name: tensor.float() for name, tensor in state.items() if tensor.is_floating_point()}


def flat(state: State) -> Tensor:
    """All floating-point entries in one fp32 vector, tensors sorted by name."""
    return torch.cat([tensor.reshape(-1) for _, tensor in sorted(floats(state).items())])


def unflat(vector: Tensor, like: State) -> State:
    parts = vector.split([tensor.numel() for _, tensor in sorted(floats(like).items())])
    return {
        name: part.reshape(like[name].shape)
        for (name, _), part in zip(sorted(floats(like).items()), parts, strict=True)
    }


def task_vectors(base: State, finetuned: Sequence[State]) -> Tensor:
    """(T, d), in fp32."""
    return torch.stack([flat(state) - flat(base) for state in finetuned])


def distance(result: Tensor, expected: Tensor) -> float:
    """‖result − expected‖ / ‖expected‖."""
    result, expected = result.double(), expected.double()
    return float((result - expected).norm() / expected.norm().clamp(min=1e-30))


def assert_close(result: State, expected: State, base: State, *, tolerance: float = 1e-5) -> None:
    """Every tensor of both, and the updates (result − base) agree within a relative tolerance."""
    assert list(result) == [name for name in base if base[name].is_floating_point()]
    for name, tensor in result.items():
        theta0 = base[name].double()
        assert tensor.isfinite().all(), name
        assert tensor.shape == theta0.shape, name
        update, wanted = tensor.double() - theta0, expected[name].double() - theta0
        size = max(float(wanted.norm()), 1e-2 * float(theta0.norm()))  # fp32 keeps no more of θ0 + update
        assert float((update - wanted).norm()) <= tolerance * size, f"{name}: {(update - wanted).norm() / size:.2e}"
