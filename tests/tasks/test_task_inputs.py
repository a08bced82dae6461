"""Real inputs and anchors as methods read them, on the tiny zoo."""

import pytest
import torch

from fda.architectures.transforms import ImageTransform
from fda.cancel import Cancel, Cancelled
from fda.tasks.data import load_split
from fda.tasks.heads import load_head
from fda.tasks.inputs import block_inputs
from fda.tasks.task_inputs import AnchorMoments, RealInputs
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

LAYERS = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


@pytest.fixture(scope="module")
def opened(tiny_zoo):
    return open_zoo(load_zoo(tiny_zoo))


@pytest.fixture
def split(opened):
    return load_split(opened.zoo.task("red"), "train", opened.model.transform)


@pytest.fixture
def red(opened, split):
    return RealInputs(opened.model, opened.tasks["red"], load_head(opened.zoo.task("red")), split)


def floats(weights):
    return {name: weights[name].float() for name in weights if weights[name].is_floating_point()}


def everything(split):
    return torch.cat([images for images, _ in split.batches(64)])


def test_a_pass_without_a_seed_goes_in_order_over_the_spread_examples(red, split):
    batches = list(red.batches(3, examples=8))
    assert [len(batch) for batch in batches] == [3, 3, 2]
    assert torch.equal(torch.cat(batches), split.images(8))
    assert torch.equal(torch.cat(list(red.batches(7))), everything(split))
    assert torch.equal(torch.cat(list(red.batches(64, examples=1000))), everything(split))


def test_passes_with_a_seed_never_end_and_each_shows_every_image_once(red, split):
    stream = red.batches(16, seed=3)
    first, second = (torch.cat([next(stream) for _ in range(3)]) for _ in range(2))
    as_set = {tuple(image.flatten().tolist()) for image in everything(split)}
    for shuffled in (first, second):
        assert len(shuffled) == 40 and {tuple(image.flatten().tolist()) for image in shuffled} == as_set
    assert not torch.equal(first, second) and not torch.equal(first, everything(split))
    again, other = red.batches(16, seed=3), red.batches(16, seed=4)
    assert torch.equal(next(again), first[:16]) and not torch.equal(next(other), first[:16])


def test_every_image_is_prepared_only_once(opened):
    calls = []

    def prepare(image):
        calls.append(1)
        return opened.model.transform(image)

    split = load_split(opened.zoo.task("red"), "train", ImageTransform(prepare, "counted"))
    task = RealInputs(opened.model, opened.tasks["red"], load_head(opened.zoo.task("red")), split)
    stream = task.batches(16, seed=0)
    for _ in range(12):
        next(stream)
    task.moments()
    list(split.batches())
    assert len(calls) == 40


def test_a_large_split_is_not_kept_in_memory(opened, monkeypatch):
    monkeypatch.setattr("fda.tasks.data.CACHE_BYTES", 40 * 3 * 8 * 8 * 4 - 1)
    split = load_split(opened.zoo.task("red"), "train", opened.model.transform)
    images = split.at([5, 2, 5])
    assert not split._prepared and torch.equal(images[0], images[2]) and torch.equal(images[1], everything(split)[2])


def test_cancel_is_checked_before_every_batch(opened, split):
    checks = []

    def at_the_third() -> bool:
        checks.append(1)
        return len(checks) == 3

    task = RealInputs(
        opened.model, opened.tasks["red"], load_head(opened.zoo.task("red")), split, "cpu", Cancel(at_the_third)
    )
    stream = task.batches(5, seed=0)
    next(stream), next(stream)
    with pytest.raises(Cancelled):
        next(stream)
    checks[:] = [1, 1]
    with pytest.raises(Cancelled):
        task.moments()


def test_moments_are_those_of_the_finetuned_model_whatever_is_loaded(red, opened):
    opened.model.load(opened.base)
    found = red.moments(10)
    assert set(found) == {block.prefix + layer for block in opened.model.blocks for layer in LAYERS}
    opened.model.load(opened.tasks["red"])
    images = torch.cat(list(red.batches(10, examples=10)))
    for block, x in zip(opened.model.blocks, block_inputs(opened.model, images), strict=True):
        entering = block.module.ln_1(x).reshape(-1, opened.model.width).double()
        expected = entering.T @ entering / len(entering)
        assert torch.allclose(found[block.prefix + LAYERS[0]].double(), expected, atol=1e-5)
    opened.model.load(opened.tasks["bright"])
    again = red.moments(10)
    assert all(torch.equal(again[name], value) for name, value in found.items())


def test_moments_of_all_inputs_and_of_some_differ(red):
    name = "visual.transformer.resblocks.0.attn.in_proj_weight"
    assert torch.equal(red.moments(None)[name], red.moments(40)[name])
    assert not torch.allclose(red.moments(5)[name], red.moments(40)[name])


def test_logits_are_those_of_the_weights_that_are_given(red, opened):
    images = next(red.batches(6))
    opened.model.load(opened.tasks["bright"])
    before = {name: tensor.clone() for name, tensor in opened.model.module.state_dict().items()}
    found = red.logits(floats(opened.tasks["red"]), images)
    after = opened.model.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    opened.model.load(opened.tasks["red"])
    assert torch.allclose(found, red.head.logits(opened.model.features(images)), atol=1e-6)


def test_logits_are_differentiable_in_the_weights(red, opened):
    images = next(red.batches(4))
    leaves = {name: tensor.requires_grad_() for name, tensor in floats(opened.tasks["red"]).items()}
    red.logits(leaves, images).log_softmax(dim=1)[:, 0].sum().backward()
    opened.model.load(opened.tasks["red"])
    module = opened.model.module.requires_grad_()
    try:
        red.head.logits(opened.model.features(images)).log_softmax(dim=1)[:, 0].sum().backward()
        named = {name: parameter for name, parameter in module.named_parameters() if parameter.grad is not None}
        assert set(named) == {name for name, leaf in leaves.items() if leaf.grad is not None}
        assert "visual.transformer.resblocks.0.attn.in_proj_weight" in named and "visual.conv1.weight" in named
        for name, parameter in named.items():
            assert torch.allclose(leaves[name].grad, parameter.grad, atol=1e-6), name
    finally:
        module.zero_grad(set_to_none=True)
        module.requires_grad_(False)


def test_logits_of_half_a_model_are_refused(red, opened):
    weights = floats(opened.tasks["red"])
    del weights["visual.conv1.weight"]
    with pytest.raises(ValueError, match=r"weights lack \['visual.conv1.weight'\]"):
        red.logits(weights, next(red.batches(1)))


def test_anchors_that_are_the_real_block_inputs_have_the_real_moments(red, opened):
    opened.model.load(opened.tasks["red"])
    anchors = block_inputs(opened.model, torch.cat(list(red.batches(64))))
    opened.model.load(opened.base)
    found = AnchorMoments(opened.model.blocks, opened.tasks["red"], anchors).moments(3)
    expected = red.moments()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.allclose(value, expected[name], atol=1e-5), name


def test_anchors_of_some_blocks_tell_of_those_blocks(opened):
    anchors = torch.randn(70, 5, 16, generator=torch.Generator().manual_seed(0))
    block = opened.model.blocks[1]
    found = AnchorMoments([block], opened.tasks["bright"], [anchors]).moments()
    assert set(found) == {block.prefix + layer for layer in LAYERS}
    weights = block.of(opened.tasks["bright"])
    normed = torch.nn.functional.layer_norm(anchors, (16,), weights["ln_1.weight"], weights["ln_1.bias"])
    flat = normed.reshape(-1, 16)
    assert torch.allclose(found[block.prefix + LAYERS[0]], flat.T @ flat / len(flat), atol=1e-5)
