"""Construction against a plain port of the algorithm, and what its events promise."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cosine_similarity

from fda.anchors.construct import (
    Constructed,
    Snapshot,
    Step,
    construct,
    construct_together,
    learning_rate,
    make_optimizer,
    spaced_steps,
)
from fda.anchors.init import initial_anchors, rows_as_anchors, unit_seed, weight_rows
from fda.anchors.loss import live_tensors
from fda.errors import UserError
from fda.settings import FAMILIES, PAPER_CONSTRUCT, ConstructSettings, presets
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo

SMALL = PAPER_CONSTRUCT.model_copy(update={"anchors": 6, "steps": 20})


@pytest.fixture(scope="module")
def unit(tiny_zoo):
    opened = open_zoo(load_zoo(tiny_zoo))
    block = opened.model.blocks[1]
    return block, block.of(opened.base), block.of(opened.tasks["red"])


def plain_port(block, base, finetuned, start, steps):
    """The paper's loop as one would write it down: AdamW on X, double backward, every tensor weighted 1."""
    names = list(base)
    theta0 = [base[name].clone().requires_grad_() for name in names]
    taus = [finetuned[name] - base[name] for name in names]
    x = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=1e-2)
    losses, best, best_loss = [], None, float("inf")
    for _ in range(steps):
        with sdpa_kernel(SDPBackend.MATH):
            ours = block.module_call(dict(zip(names, theta0, strict=True)), x)
            theirs = block.module_call(finetuned, x)
            score = cosine_similarity(ours.flatten(1), theirs.flatten(1)).mean()
            gradients = torch.autograd.grad(score, theta0, create_graph=True)
        terms = [1 - cosine_similarity(g.flatten(), t.flatten(), dim=0) for g, t in zip(gradients, taus, strict=True)]
        loss = sum(terms)
        losses.append(loss.item() / len(names))
        if loss.item() < best_loss:
            best, best_loss = x.detach().clone(), loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, best


class Plain:
    """A block called the ordinary way: a copy of its module with the weights loaded where no gradient is needed."""

    def __init__(self, block):
        self.block = block

    def module_call(self, parameters, x):
        return torch.func.functional_call(self.block.module, parameters, (x,))


def test_paper_preset_follows_the_plain_port_step_by_step(unit):
    block, base, finetuned = unit
    start = initial_anchors(block, finetuned, SMALL, seed=5)
    losses, best = plain_port(Plain(block), base, finetuned, start, 20)
    events = list(construct(block, base, finetuned, SMALL, seed=5))
    ours = [event.angle_loss for event in events if isinstance(event, Step)]
    assert len(ours) == 20
    assert ours == pytest.approx(losses, rel=1e-4)
    assert events[-1].anchors == pytest.approx(best.numpy(), rel=1e-3, abs=1e-5)


def test_the_best_anchors_are_kept_and_their_loss_is_theirs(unit):
    block, base, finetuned = unit
    settings = SMALL.model_copy(update={"learning_rate": 0.3})  # so large that the loss goes up and down
    events = list(construct(block, base, finetuned, settings, seed=1, snapshot_steps=range(20)))
    losses = [event.angle_loss for event in events if isinstance(event, Step)]
    result = events[-1]
    assert result.angle_loss == pytest.approx(min(losses), rel=1e-6)
    assert result.step == losses.index(min(losses))
    snapshot = next(event for event in events if isinstance(event, Snapshot) and event.step == result.step)
    assert torch.equal(snapshot.anchors, result.anchors)


def test_the_loss_goes_down_with_both_optimisers_and_both_starts(unit):
    block, base, finetuned = unit
    for optimizer, rate in (("adamw", 1e-2), ("muon", 2e-2)):
        for init in ("weight", "gauss"):
            settings = SMALL.model_copy(
                update={"optimizer": optimizer, "learning_rate": rate, "init": init, "sigma": 0.1, "steps": 60}
            )
            events = list(construct(block, base, finetuned, settings, seed=1))
            first, last = events[0], events[-1]
            assert isinstance(first, Step) and isinstance(last, Constructed)
            assert last.angle_loss < first.angle_loss - 0.05, (optimizer, init)


@pytest.mark.parametrize("family", FAMILIES)
def test_fast_is_less_work_than_paper_and_muon_has_the_momentum_it_names(family):
    known = presets(family)
    assert known["fast"].anchors * known["fast"].steps < known["paper"].anchors * known["paper"].steps / 3
    optimizer = make_optimizer([torch.zeros(4, 4, requires_grad=True)], known["fast"])
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.Muon) and group["momentum"] == known["fast"].momentum
    assert group["lr"] == known["fast"].learning_rate


def test_one_seed_one_result(unit):
    block, base, finetuned = unit
    one, same, other = (list(construct(block, base, finetuned, SMALL, seed=s))[-1].anchors for s in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_dead_tensors_are_masked(unit):
    block, base, finetuned = unit
    assert live_tensors(block, base, finetuned) == block.names
    frozen = finetuned | {"mlp.c_fc.bias": base["mlp.c_fc.bias"]}
    assert set(block.names) - set(live_tensors(block, base, frozen)) == {"mlp.c_fc.bias"}
    assert live_tensors(block, base, base) == ()
    with pytest.raises(ValueError, match="block 1 is unchanged: it has no anchors"):
        list(construct(block, base, base, SMALL, seed=0))


def test_a_key_bias_has_no_gradient_and_is_masked(unit):
    """With only the key third of the fused bias moved, the gradient lies wholly elsewhere, and its cosine is 0."""
    block, base, finetuned = unit
    width = block.width
    gradient_zero = {}
    from fda.anchors.loss import induced_gradient

    x = torch.randn(4, block.tokens, width, generator=torch.Generator().manual_seed(0))
    gradient = induced_gradient(block, base, finetuned, x)["attn.in_proj_bias"]
    gradient_zero["key"] = gradient[width : 2 * width].abs().max().item()
    assert gradient_zero["key"] < 1e-6 * gradient.abs().max().item()


def test_the_weight_start_draws_rows_without_replacement_where_there_are_enough(unit):
    block, _, finetuned = unit
    rows = weight_rows(block, finetuned)
    assert rows.shape == (3 * 16 + 16 + 64, 16)  # in_proj, out_proj and c_fc have rows of width 16; c_proj has not
    start = rows_as_anchors(rows, 10, 5, torch.Generator().manual_seed(0))
    drawn = rows[torch.randperm(128, generator=torch.Generator().manual_seed(0))[:50]]
    assert torch.equal(start.reshape(50, 16), drawn)
    assert len({tuple(row.tolist()) for row in drawn}) == 50


def test_of_too_few_rows_every_anchor_has_its_share_and_ends_with_means_of_pairs():
    """Five rows for three anchors of three tokens: token by token, as in the official code."""
    rows = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    first, second = torch.randint(5, (2, 4), generator=torch.Generator().manual_seed(7)).tolist()
    a, b, c, d = ((rows[i, 0] + rows[j, 0]).item() / 2 for i, j in zip(first, second, strict=True))
    start = rows_as_anchors(rows, 3, 3, torch.Generator().manual_seed(7))
    assert start[..., 0].tolist() == [[1, 8, b], [2, 16, c], [4, a, d]]


def test_rows_of_weights_are_what_their_layers_are_fed_also_where_those_keep_them_as_in_by_out():
    """GPT-2's: columns of `c_attn` and `c_fc`; of the square `c_proj` of attention, where no shape would tell."""
    from transformers import GPT2Config, GPT2Model

    from fda.architectures.transformer_blocks import transformer_blocks

    model = GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=11, n_positions=7))
    (block,) = transformer_blocks(model)
    weights = block.of({block.prefix + name: tensor for name, tensor in block.module.named_parameters()})
    expected = [weights[f"{name}.weight"].T for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc")]
    assert torch.equal(weight_rows(block, weights), torch.cat(expected))


def test_the_weight_start_is_scaled_and_the_gauss_start_is_not(unit):
    block, _, finetuned = unit
    for init, factor in (("weight", 8), ("gauss", 1)):
        one, eight = (
            initial_anchors(block, finetuned, SMALL.model_copy(update={"init": init, "weight_scale": scale}), seed=0)
            for scale in (1.0, 8.0)
        )
        assert torch.equal(eight, factor * one)


def test_gauss_start_has_the_asked_scale(unit):
    block, _, finetuned = unit
    settings = ConstructSettings(init="gauss", sigma=0.01, anchors=500)
    x = initial_anchors(block, finetuned, settings, seed=0)
    assert x.shape == (500, block.tokens, block.width)
    assert x.std().item() == pytest.approx(0.01, rel=0.02)


def test_unit_seeds_differ_by_seed_task_and_block():
    seeds = {unit_seed(s, t, b) for s in (0, 1) for t in ("a", "b") for b in (0, 1)}
    assert len(seeds) == 8


def test_numbers_that_are_not_numbers_are_told(unit):
    block, base, finetuned = unit
    broken = finetuned | {"ln_1.weight": torch.full_like(finetuned["ln_1.weight"], float("nan"))}
    with pytest.raises(UserError, match=r"resblocks.1.ln_1.weight of the finetuned model .* not finite"):
        list(construct(block, base, broken, SMALL, seed=0))
    with pytest.raises(UserError, match="no longer a number at step 0"):
        list(construct(block, base, finetuned, SMALL, seed=0, initial=torch.full((2, 5, 16), float("inf"))))


def test_schedules():
    cosine = ConstructSettings(schedule="cosine", learning_rate=1.0, steps=100)
    assert learning_rate(cosine, 0, 100) == 1.0
    assert learning_rate(cosine, 50, 100) == pytest.approx(0.5)
    trapezoid = cosine.model_copy(update={"schedule": "trapezoid"})
    assert [learning_rate(trapezoid, step, 100) for step in (0, 50, 75, 99)] == pytest.approx([1.0, 1.0, 0.5, 0.02])
    assert learning_rate(PAPER_CONSTRUCT, 1199, 1200) == 1e-2
    steps = spaced_steps(1200)
    assert steps[0] == 0 and steps[-1] == 1200 and len(steps) == 20
    assert steps[1] - steps[0] < steps[-1] - steps[-2]


@pytest.mark.parametrize(
    ("schedule", "steps_taken"), [("constant", 50), ("trapezoid", 100), ("cosine", 400)], ids=lambda one: str(one)
)
def test_a_unit_whose_loss_no_longer_falls_goes_to_its_end(unit, schedule, steps_taken):
    """A learning rate of nothing: the second stretch brings nothing. Half a cosine has its course settled beforehand."""
    block, base, finetuned = unit
    still = SMALL.model_copy(
        update={"steps": 400, "schedule": schedule, "learning_rate": 1e-12, "weight_decay": 0.0, "tolerance": 0.01}
    )
    events = list(construct(block, base, finetuned, still, seed=0, snapshot_steps=(0, 25, 200, 400)))
    rates = [event.learning_rate for event in events if isinstance(event, Step)]
    assert len(rates) == steps_taken
    assert [event.step for event in events if isinstance(event, Snapshot)] == (
        [0, 25, 200, 400] if schedule == "cosine" else [0, 25, 400]
    )
    assert isinstance(events[-1], Constructed)
    if schedule == "trapezoid":
        assert rates[49] == rates[0] > rates[51] > rates[-1] > 0


def test_a_unit_whose_loss_falls_takes_all_its_steps(unit):
    block, base, finetuned = unit
    settings = SMALL.model_copy(update={"steps": 100, "tolerance": 0.0})
    patient, plain = (
        list(construct(block, base, finetuned, one, seed=0))
        for one in (settings.model_copy(update={"tolerance": 1e-6}), settings)
    )
    assert torch.equal(patient[-1].anchors, plain[-1].anchors) and len(patient) == len(plain) == 101


def test_units_together_are_what_each_is_alone_whenever_they_end(tiny_zoo, unit):
    """One of them no longer falls and goes to its end before the others: what follows does not touch it."""
    block, base, red = unit
    bright = block.of(open_zoo(load_zoo(tiny_zoo)).tasks["bright"])
    settings = SMALL.model_copy(update={"steps": 150, "schedule": "trapezoid", "tolerance": 0.15})
    thetas, seeds = [red, bright, red], [1, 2, 3]
    alone = [
        list(construct(block, base, own, settings, seed=seed, snapshot_steps=(0, 20, 150)))
        for own, seed in zip(thetas, seeds, strict=True)
    ]
    together: list[list] = [[], [], []]
    for place, event in construct_together(
        block, base, thetas, settings, live=live_tensors(block, base, red), seeds=seeds, snapshot_steps=(0, 20, 150)
    ):
        together[place].append(event)
    lengths = [len(events) for events in alone]
    assert len(set(lengths)) > 1, "they end at different steps"
    for one, other in zip(alone, together, strict=True):
        told = [[event for event in events if isinstance(event, Step)] for events in (one, other)]
        assert [(e.step, e.angle_loss, e.cosines, e.learning_rate) for e in told[0]] == [
            (e.step, e.angle_loss, e.cosines, e.learning_rate) for e in told[1]
        ]
        for kind in (Snapshot, Constructed):
            mine, theirs = ([event for event in events if isinstance(event, kind)] for events in (one, other))
            assert [event.step for event in mine] == [event.step for event in theirs]
            assert all(torch.equal(a.anchors, b.anchors) for a, b in zip(mine, theirs, strict=True))
