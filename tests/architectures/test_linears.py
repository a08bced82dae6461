"""Second moments of what enters linear layers, against the forward pass written out by hand."""

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn

from fda.architectures.linears import linear_moments

TOKENS, WIDTH, HEADS = 5, 12, 3


def moment(x):
    """Mean of x xᵀ over all tokens, in fp64."""
    flat = x.double().reshape(-1, x.shape[-1])
    return sum(torch.outer(token, token) for token in flat) / len(flat)


def block(batch_first=True):
    torch.manual_seed(0)
    made = ResidualAttentionBlock(WIDTH, HEADS, batch_first=batch_first).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # open_clip starts with zero biases and unit norms
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return made


def examples(count=6):
    return torch.randn(count, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def heads_output(attention, x):
    """Self-attention before the output projection, (n, tokens, d), head by head."""
    q, k, v = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    size = WIDTH // HEADS
    outputs = []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / size**0.5
        outputs.append(scores.softmax(dim=-1) @ v[..., own])
    return torch.cat(outputs, dim=-1)


@torch.no_grad()
def by_hand(block, x):
    normed = block.ln_1(x)
    heads = heads_output(block.attn, normed)
    x = x + heads @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    second = block.ln_2(x)
    hidden = block.mlp.gelu(second @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias)
    inputs = {
        "attn.in_proj_weight": normed,
        "attn.out_proj.weight": heads,
        "mlp.c_fc.weight": second,
        "mlp.c_proj.weight": hidden,
    }
    return {name: moment(entering) for name, entering in inputs.items()}


def assert_moments(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == torch.float32 and value.device.type == "cpu"
        assert float((value - expected[name]).norm() / expected[name].norm()) < 1e-5, name


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_residual_block_as_computed_by_hand(batch_first):
    watched, x = block(batch_first), examples()
    found = linear_moments(watched, lambda: watched(x if batch_first else x.transpose(0, 1)))
    assert_moments(found, by_hand(watched, x))
    shapes = {name: tensor.shape for name, tensor in watched.state_dict().items()}
    assert all(value.shape == (shapes[name][1], shapes[name][1]) for name, value in found.items())


def test_how_the_examples_are_cut_into_batches_does_not_matter():
    watched, x = block(), examples(7)
    whole = linear_moments(watched, lambda: watched(x))
    parts = linear_moments(watched, lambda: [watched(part) for part in x.split([1, 4, 2])])
    assert_moments(parts, {name: value.double() for name, value in whole.items()})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_attention_by_itself_also_where_torch_takes_its_fast_path(bias, gradients):
    torch.manual_seed(2)
    attention = nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True).eval().requires_grad_(gradients)
    if not bias:
        attention.in_proj_bias = None
    x = examples()
    found = linear_moments(attention, lambda: attention(query=x, key=x, value=x, need_weights=False))
    with torch.no_grad():
        if not bias:
            attention.in_proj_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        assert_moments(found, {"in_proj_weight": moment(x), "out_proj.weight": moment(heads_output(attention, x))})


def test_a_projection_that_is_fed_three_things_is_left_out():
    attention, x = nn.MultiheadAttention(WIDTH, HEADS).eval(), examples()
    found = linear_moments(attention, lambda: attention(x, x, x.clone()))
    assert list(found) == ["out_proj.weight"]


def test_watching_changes_nothing_and_leaves_nothing_behind():
    watched, x = block(), examples()
    before, projection = watched(x), watched.attn.out_proj
    seen = []
    linear_moments(watched, lambda: seen.append(watched(x)))
    assert torch.allclose(seen[0], before, atol=1e-6)

    def fails():
        watched(x)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        linear_moments(watched, fails)
    with pytest.raises(Exception, match=r"shape|size|embed"):
        linear_moments(watched, lambda: watched(x[..., :4]))
    assert watched.attn.out_proj is projection
    assert not any(part._forward_pre_hooks for part in watched.modules())
    assert torch.equal(watched(x), before)


def test_names_are_the_state_dicts_and_layers_that_do_not_run_are_left_out():
    model = nn.ModuleDict({"used": nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 4)), "idle": nn.Linear(3, 3)})
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]])
    found = linear_moments(model, lambda: model["used"](x))
    assert set(found) == {"used.0.weight", "used.2.weight"} < set(model.state_dict())
    assert found["used.0.weight"].tolist() == [[0.5, 1.0, 1.5], [1.0, 2.5, 2.5], [1.5, 2.5, 5.0]]
    alone = nn.Linear(3, 1)
    assert list(linear_moments(alone, lambda: alone(x))) == ["weight"]
    assert linear_moments(alone, lambda: None) == {}
