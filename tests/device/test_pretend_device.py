"""The pretend device finds planted mistakes of each kind, and computes what the CPU computes."""

import gc
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from tests.support.pretend import DEVICE, MEMORY, WAITS, MixUp, install

install()

CPU = torch.arange(12.0).view(3, 4)
ROW, PLACE = torch.ones(4), torch.tensor([0, 2])


@pytest.fixture
def x() -> Tensor:
    return CPU.to(DEVICE)


@pytest.mark.parametrize(
    "planted",
    [
        lambda x: x + ROW,
        lambda x: ROW * x,
        lambda x: x @ ROW,
        lambda x: torch.cat([x, CPU]),
        lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),  # only element-wise operations take scalars of the CPU
        lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.long)),
        lambda x: CPU[x.argmax(dim=0)],
        lambda x: x.index_put_((PLACE,), torch.ones(2, 4)),
        lambda x: torch.nn.functional.linear(x, ROW[None]),
        lambda x: torch.nn.functional.cross_entropy(x, torch.zeros(3, dtype=torch.long)),
        lambda x: torch.optim.AdamW([x.requires_grad_()]).param_groups[0]["params"][0].add_(CPU),
        lambda x: torch.func.grad(lambda y: (y * ROW).sum())(x),
        lambda x: torch.vmap(lambda y: y + ROW)(x),
        lambda x: torch.randn(3, device=DEVICE),
        lambda x: x.normal_(),
    ],
)
def test_operations_that_mix_devices_or_draw_on_the_device_are_refused(x, planted: Callable):
    with torch.no_grad(), pytest.raises(MixUp):
        planted(x)


def test_a_mix_up_in_a_backward_pass_is_raised_at_its_end(x):
    class Planted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.ones(3, 4)

    with pytest.raises(MixUp):
        torch.autograd.grad(Planted.apply(x.requires_grad_()).sum(), x)


@pytest.mark.parametrize(
    "allowed",
    [
        lambda x: x * torch.tensor(2.0) + 1,
        lambda x: torch.where(x > 3, x, 0.0),
        lambda x: x.masked_fill(x > 3, 0.0),
        lambda x: torch.zeros(4, device=DEVICE) + torch.arange(4, device=DEVICE),
        lambda x: (x - x.mean(0)).square().sum().sqrt().clamp_min(1e-6),
        lambda x: x[x.argmax(dim=0)],
    ],
)
def test_what_cuda_allows_passes_without_a_wait(x, allowed: Callable):
    with WAITS.counted() as seen:
        assert allowed(x).device.type == "pretend"
    assert not seen


@pytest.mark.parametrize(
    "planted",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0, 0]),
        lambda x: bool((x > 3).any()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: torch.zeros(3, 4).copy_(x),
        lambda x: torch.equal(x, x),
        lambda x: x.nonzero(),
        lambda x: x[x > 3],
        lambda x: x.unique(),
        lambda x: x[PLACE],
        lambda x: torch.tensor([1.0], device=DEVICE),
        lambda x: CPU.to(x),
        lambda x: torch.where(x > 3, x, torch.tensor(0.0)),
        lambda x: torch.linalg.eigh(x @ x.T),
        lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(3, device=DEVICE)),
    ],
)
def test_every_wait_of_the_host_is_counted(x, planted: Callable):
    with WAITS.counted() as seen:
        planted(x)
    assert seen.total() >= 1


def test_a_second_derivative_has_the_bits_of_the_cpu(x):
    def found(weight: Tensor, x: Tensor) -> Tensor:
        weight = weight.detach().requires_grad_()
        (first,) = torch.autograd.grad((x @ weight).tanh().sum(), weight, create_graph=True)
        return torch.autograd.grad(first.square().sum(), weight)[0]

    weight = torch.linspace(-1, 1, 8).view(4, 2)
    assert torch.equal(found(weight.to(DEVICE), x).cpu(), found(weight, CPU))


def test_bytes_are_those_of_the_storages_alive():
    gc.collect()
    before = MEMORY.live
    whole = torch.zeros(1000, device=DEVICE)
    part = whole[10:20]  # shares the storage
    assert MEMORY.live - before == 4000
    del whole
    assert MEMORY.live - before == 4000
    saved = (part.requires_grad_() * 2).square().sum()  # autograd keeps the product
    assert MEMORY.live - before > 4000
    copied = deepcopy(torch.zeros(1000, device=DEVICE))
    del saved, part, copied
    gc.collect()
    assert MEMORY.live == before


def test_memory_runs_out_where_it_is_told_to():
    with MEMORY.failing(at=2, larger_than=1000), pytest.raises(torch.OutOfMemoryError):
        small, first = torch.zeros(10, device=DEVICE), torch.zeros(1000, device=DEVICE)
        del small, first
        torch.zeros(1000, device=DEVICE)
    with MEMORY.failing(limit=MEMORY.live + 5000), pytest.raises(torch.OutOfMemoryError):
        _kept = [torch.zeros(1000, device=DEVICE) for _ in range(2)]
    assert MEMORY.failures == 1
