"""The fast paths of a step are held to the plain one: gradient, cosines, and the anchors that come of it."""

import threading

import pytest
import torch

from fda.anchors.construct import Constructed, construct
from fda.anchors.loss import live_tensors
from fda.anchors.step import CompiledSteps, plain_step
from fda.architectures.precision import written_out
from fda.settings import FAST_CONSTRUCT
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

SHAPE = torch.Size((4, 5, 16))


@pytest.fixture(scope="module")
def opened(tiny_zoo):
    return open_zoo(load_zoo(tiny_zoo))


def units(opened, index=0, *tasks):
    """(block, θ0, θi of one unit or of several, live tensors)."""
    block = opened.model.blocks[index].copy()
    base, finetuned = block.of(opened.base), [block.of(opened.tasks[task]) for task in tasks]
    return block, base, finetuned, live_tensors(block, base, finetuned[0])


def matrices(*seeds):
    """(units, n·tokens, d), one unit a seed."""
    return torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(s)).flatten(0, 1) for s in seeds])


def relative(one, other):
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("distance", ["cos", "mse", "l1"])
def test_the_plain_step_is_the_gradient_of_the_angle_loss(opened, distance):
    """Against finite differences in float64."""
    block, base, finetuned, live = units(opened, 0, "red", "bright")
    theta0, *thetas = ({name: tensor.double() for name, tensor in one.items()} for one in (base, *finetuned))
    step = plain_step(block, theta0, thetas, live, SHAPE, distance)
    x, direction = matrices(0, 1).double(), matrices(2, 3).double()
    gradient, cosine = step(x)
    assert cosine.shape == (2, len(live)) and gradient.shape == x.shape
    ahead, behind = (step(x + sign * 1e-5 * direction)[1] for sign in (1, -1))
    slope = ((1 - ahead).sum() - (1 - behind).sum()) / 2e-5
    assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-5)


def test_a_written_out_block_is_the_same_function_of_the_same_tensors(opened):
    block, base, _, _ = units(opened, 0, "red")
    out = written_out(block)
    assert list(dict(out.module.named_parameters())) == list(block.names)
    x = matrices(0).view(SHAPE)
    assert torch.allclose(out(base, x), block(base, x), atol=1e-6)
    low = written_out(block, torch.bfloat16)(base, x)
    assert low.dtype == torch.float32 and 0 < relative(low, block(base, x)) < 0.01


def test_compiled_steps_agree_with_the_plain_one_for_every_unit(opened):
    compiled = CompiledSteps(torch.float32)
    for index, task in ((0, "red"), (1, "bright")):
        args = (*units(opened, index, task), SHAPE, "cos")
        agree(compiled.step(*args), plain_step(*args), matrices(index), 1e-4)
    assert len(compiled._compiled) == 1  # one shape: compiled once


def test_units_of_one_batch_have_the_steps_they_have_alone_also_in_bfloat16(opened):
    args = (*units(opened, 1, "red", "bright"), SHAPE, "cos")
    agree(CompiledSteps(torch.bfloat16).step(*args), plain_step(*args), matrices(0, 1), 0.1)


def agree(step, plain, x, tolerance):
    """Each unit's gradient and cosines by both steps."""
    (gradients, cosines), (plain_gradients, plain_cosines) = step(x), plain(x)
    assert gradients.shape == x.shape and cosines.shape == plain_cosines.shape
    for place in range(len(x)):
        assert relative(gradients[place], plain_gradients[place]) < tolerance
        assert relative(cosines[place], plain_cosines[place]) < tolerance


def test_threads_share_one_compiled_step(opened):
    compiled, found = CompiledSteps(), {}
    # before the threads start, for it switches the process's attention kernel
    of_tasks = {task: units(opened, 0, task) for task in ("red", "bright")}

    def work(task):
        found[task] = compiled.step(*of_tasks[task], SHAPE, "cos")(matrices(0))[0]

    threads = [threading.Thread(target=work, args=(task,)) for task in of_tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for task, gradient in found.items():
        assert relative(gradient, plain_step(*units(opened, 0, task), SHAPE, "cos")(matrices(0))[0]) < 1e-4


def test_construction_by_compiled_steps_ends_where_the_plain_one_does(opened):
    settings = FAST_CONSTRUCT.model_copy(update={"steps": 40, "anchors": 4})
    block, base, (finetuned,), _ = units(opened, 0, "red")
    ends = []
    for make in (plain_step, CompiledSteps().step):
        *_, last = construct(block, base, finetuned, settings, seed=1, make_step=make)
        assert isinstance(last, Constructed)
        ends.append(last.angle_loss)
    assert ends[1] == pytest.approx(ends[0], rel=0.02)


def test_the_block_that_was_compiled_first_stays_its_owners(opened):
    """Another thread compares its block with the first one's function while the owner goes on using that block."""
    compiled = CompiledSteps()
    first = units(opened, 0, "red")
    compiled.step(*first, SHAPE, "cos")
    kept = next(iter(compiled._sample.values()))
    assert kept.module is not first[0].module
