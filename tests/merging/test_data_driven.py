"""The methods that read inputs or anchors: RegMean, Fisher merging and AdaMerging, against oracles and exact small cases."""

import math
import weakref

import pytest
import torch

from fda.errors import UserError
from fda.merging.merge import merge
from fda.merging.methods.adamerging import Span, entropy, entropy_gradient
from fda.merging.methods.fisher import fisher_diagonal, weighted_labels
from fda.merging.registry import METHODS
from fda.tasks.data import load_split
from fda.tasks.heads import load_head
from fda.tasks.inputs import block_inputs
from fda.tasks.task_inputs import AnchorMoments, RealInputs
from fda.zoos.survey import open_zoo
from fda.zoos.zoo import load_zoo
from tests.support.states import SHAPES, STILL, assert_close, distance, floats, random_states

FC, PROJ, BIAS = "0.mlp.c_fc.weight", "0.mlp.c_proj.weight", "0.brain.bias"
FED = ["0.attn.in_proj_weight", FC, PROJ, "0.row.weight", "0.column.weight", "0.half.weight", STILL]
NAMES = ["regmean", "regmean:anchors", "fisher", "adamerging", "adamerging_layer"]
QUICK = {"adamerging": {"steps": 3}, "adamerging_layer": {"steps": 3}}


class Fed:
    """A task on the small random states: what its layers are fed, and a small network that some of its tensors make."""

    device = "cpu"

    def __init__(self, seed, tokens=40, dtype=torch.float32):
        random = torch.Generator().manual_seed(100 + seed)
        self.tokens = {name: torch.randn(tokens, SHAPES[name][0][1], generator=random).to(dtype) for name in FED}
        self.gram = {name: x.T @ x / len(x) for name, x in self.tokens.items()}
        self.x = torch.randn(24, 7, generator=random)

    def moments(self, examples=None):
        return self.gram

    def batches(self, size, *, examples=None, seed=None):
        if seed is None:
            yield from self.x[:examples].split(size)
            return
        random = torch.Generator().manual_seed(seed)
        while True:
            yield from self.x[torch.randperm(len(self.x), generator=random)].split(size)

    def logits(self, weights, inputs):
        hidden = (inputs @ weights[FC].T).tanh()
        return hidden @ weights[PROJ].T + weights[BIAS][:7] + weights["positional_embedding"][0]


class Linear:
    """A task whose model is softmax(W x + b); `unused` is a weight on which nothing depends."""

    device = "cpu"

    def __init__(self, x):
        self.x = x

    def moments(self, examples=None):
        return {}

    def batches(self, size, *, examples=None, seed=None):
        yield from self.x[:examples].split(size)

    def logits(self, weights, inputs):
        return inputs @ weights["W"].T + weights["b"]


def fed(tasks):
    return [Fed(task) for task in range(tasks)]


def copies(state):
    return {name: tensor.clone() for name, tensor in state.items()}


def run(name, base, finetuned, inputs, **hyperparameters):
    return dict(METHODS[name].merge(base, finetuned, inputs, **QUICK.get(name, {}) | hyperparameters))


# every method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_floating_tensor_is_yielded_once_in_order_and_finite(name):
    base, finetuned = random_states(3)
    merged = list(METHODS[name].merge(base, finetuned, fed(3), **QUICK.get(name, {})))
    assert [key for key, _ in merged] == [key for key, (_, dtype) in SHAPES.items() if dtype.is_floating_point]
    for key, tensor in merged:
        assert tensor.dtype == torch.float32 and tensor.isfinite().all() and not tensor.requires_grad, key
        assert tensor.shape == base[key].shape


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_moments_are_not_changed(name):
    base, finetuned = random_states(3)
    inputs = [Fed(task, dtype=torch.float64) for task in range(3)]
    given = [base, *finetuned, *(one.gram for one in inputs)]
    before = [copies(state) for state in given]
    merge(METHODS[name], base, finetuned, inputs=inputs, **QUICK.get(name, {}))
    for state, copy in zip(given, before, strict=True):
        assert all(torch.equal(state[key], copy[key]) for key in copy)


@pytest.mark.parametrize("name", NAMES)
def test_without_task_vectors_nothing_changes(name):
    base, _ = random_states(1)
    merged = merge(METHODS[name], base, [copies(base) for _ in range(3)], inputs=fed(3), **QUICK.get(name, {}))
    for key, tensor in base.items():
        assert torch.equal(merged[key], tensor) and merged[key].dtype == tensor.dtype, key


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_that_no_task_moved_stays(name):
    base, finetuned = random_states(3)
    assert torch.equal(run(name, base, finetuned, fed(3))[STILL], base[STILL])


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_fp32_and_cast_back(name):
    base, finetuned = random_states(3)
    merged = merge(METHODS[name], base, finetuned, inputs=fed(3), **QUICK.get(name, {}))
    upcast = run(name, floats(base), [floats(state) for state in finetuned], fed(3))
    for key, dtype in (("0.half.weight", torch.float16), (BIAS, torch.bfloat16)):
        assert torch.equal(merged[key], upcast[key].to(dtype))
    for key in ("position_ids", "0.mask"):
        assert torch.equal(merged[key], base[key]) and not torch.equal(finetuned[0][key], base[key])


@pytest.mark.parametrize("name", ["regmean", "regmean:anchors", "fisher"])
def test_the_order_of_the_tasks_does_not_matter(name):
    base, finetuned = random_states(3)
    inputs = fed(3)
    merged = run(name, base, finetuned, inputs)
    for order in ((1, 2, 0), (2, 1, 0)):
        again = run(name, base, [finetuned[task] for task in order], [inputs[task] for task in order])
        assert_close(again, merged, base)


@pytest.mark.parametrize("name", ["regmean", "regmean:anchors", "fisher"])
def test_identical_experts_give_the_expert(name):
    base, (expert,) = random_states(1)
    assert_close(run(name, base, [copies(expert) for _ in range(3)], fed(3)), floats(expert), base)


@pytest.mark.parametrize("name", ["regmean", "regmean:anchors", "fisher"])
def test_one_task_gives_the_task(name):
    base, finetuned = random_states(1)
    assert_close(run(name, base, finetuned, fed(1)), floats(finetuned[0]), base)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_that_needs_inputs_says_so(name):
    base, finetuned = random_states(2)
    with pytest.raises(ValueError, match=f"{name} needs (inputs|anchors)"):
        merge(METHODS[name], base, finetuned)


# RegMean -----------------------------------------------------------------------------------------------------------


def least_squares_oracle(weights, tokens, keep):
    """W that minimises γ Σ mean ‖W x − Wi x‖² + (1 − γ) Σ mean ‖(W − Wi) diag(x)‖², by QR on the stacked rows."""
    rows, wanted = [], []
    for weight, x in zip(weights, tokens, strict=True):
        x = x.double() / len(x) ** 0.5
        stacked = torch.cat([keep**0.5 * x, ((1 - keep) * x.square().sum(dim=0)).sqrt().diag()])
        rows.append(stacked)
        wanted.append(stacked @ weight.double().T)
    return torch.linalg.lstsq(torch.cat(rows), torch.cat(wanted), driver="gelsd").solution.T


@pytest.mark.parametrize("tasks", [2, 5])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.95, 1.0])
@pytest.mark.parametrize("name", ["regmean", "regmean:anchors"])
def test_regmean_is_least_squares_on_what_the_layers_are_fed(name, keep, tasks):
    base, finetuned = random_states(tasks)
    inputs = fed(tasks)
    expected = {key: torch.stack([state[key].float() for state in finetuned]).mean(dim=0) for key in floats(base)}
    for key in FED:
        expected[key] = least_squares_oracle(
            [state[key] for state in finetuned], [one.tokens[key] for one in inputs], keep
        )
    assert_close(run(name, base, finetuned, inputs, keep=keep), expected, base)


def test_regmean_without_reduction_solves_the_normal_equations():
    base, finetuned = random_states(3)
    inputs = fed(3)
    merged = run("regmean", base, finetuned, inputs, keep=1.0)
    for key in FED:
        grams = [one.gram[key].double() for one in inputs]
        pull = sum(gram @ state[key].double().T for gram, state in zip(grams, finetuned, strict=True))
        assert distance(merged[key], torch.linalg.solve(sum(grams), pull).T) < 1e-5, key


def test_regmean_of_inputs_of_many_sizes_is_still_accurate():
    random = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-4, 4, 30)
    inputs = [Fed(task) for task in range(2)]
    for one in inputs:
        one.tokens = {"w": torch.randn(500, 30, generator=random) * sizes}
        one.gram = {"w": (one.tokens["w"].double().T @ one.tokens["w"].double() / 500).float()}
    base = {"w": torch.randn(8, 30, generator=random)}
    finetuned = [{"w": base["w"] + torch.randn(8, 30, generator=random)} for _ in range(2)]
    expected = least_squares_oracle([state["w"] for state in finetuned], [one.tokens["w"] for one in inputs], 0.95)
    assert distance(run("regmean", base, finetuned, inputs)["w"], expected) < 1e-5


def test_singular_moments_are_named_and_never_averaged():
    base, finetuned = random_states(2)
    few = [Fed(task, tokens=5) for task in range(2)]  # ten tokens in all: too few for 13 dimensions
    with pytest.raises(UserError, match=r"the inputs of 0\.mlp\.c_proj\.weight are singular .*: lower `keep`"):
        run("regmean", base, finetuned, few, keep=1.0)
    assert distance(
        run("regmean", base, finetuned, few, keep=0.9)[PROJ],
        least_squares_oracle([state[PROJ] for state in finetuned], [one.tokens[PROJ] for one in few], 0.9),
    ) < 1e-5  # fmt: skip
    dead = fed(2)
    for one in dead:
        one.gram[FC][2] = one.gram[FC][:, 2] = 0.0
    for keep in (0.0, 0.5, 1.0):
        with pytest.raises(UserError, match=r"the inputs of 0\.mlp\.c_fc\.weight are singular"):
            run("regmean", base, finetuned, dead, keep=keep)
    dead[0].gram[FC][:] = math.nan
    with pytest.raises(UserError, match=r"the inputs of 0\.mlp\.c_fc\.weight are singular"):
        run("regmean", base, finetuned, dead)


def test_singular_moments_of_a_layer_that_no_task_moved_do_not_matter():
    base, finetuned = random_states(2)
    inputs = fed(2)
    for one in inputs:
        one.gram[STILL] = torch.zeros_like(one.gram[STILL])
    assert torch.equal(run("regmean", base, finetuned, inputs)[STILL], base[STILL])


def test_a_task_without_moments_of_a_layer_has_no_say_there():
    """As where its block is unchanged and has no anchors: the layer answers as the other task's alone."""
    base, finetuned = random_states(2)
    finetuned[1][FC] = base[FC].clone()
    inputs = fed(2)
    del inputs[1].gram[FC]
    torch.testing.assert_close(run("regmean", base, finetuned, inputs)[FC], finetuned[0][FC], rtol=1e-3, atol=1e-3)


def test_layers_that_are_not_merged_are_passed_over():
    """A transformers model runs its pooler even where neither base nor tasks hold one."""
    base, finetuned = random_states(2)
    inputs = fed(2)
    usual = run("regmean", base, finetuned, inputs)
    for one in inputs:
        one.gram["pooler.dense.weight"] = torch.eye(3)
    again = run("regmean", base, finetuned, inputs)
    assert again.keys() == usual.keys() and all(torch.equal(again[name], usual[name]) for name in usual)


def test_regmean_holds_one_tasks_moments_at_a_time():
    base, finetuned = random_states(3)
    alive, most = [], []

    class Fresh(Fed):
        def moments(self, examples=None):
            most.append(sum(one() is not None for one in alive))
            made = {name: gram.clone() for name, gram in self.gram.items()}
            alive.extend(weakref.ref(gram) for gram in made.values())
            return made

    run("regmean", base, finetuned, [Fresh(task) for task in range(3)])
    assert most == [0, 0, 0] and len(alive) == 3 * len(FED)


def test_the_number_of_examples_reaches_the_inputs():
    base, finetuned = random_states(2)
    asked = []

    class Asked(Fed):
        def moments(self, examples=None):
            asked.append(examples)
            return self.gram

    inputs = [Asked(0), Asked(1)]
    run("regmean", base, finetuned, inputs, examples=12)
    run("regmean:anchors", base, finetuned, inputs)
    assert asked == [12, 12, None, None]


# Fisher merging ----------------------------------------------------------------------------------------------------


def linear_state(classes, width, seed):
    random = torch.Generator().manual_seed(seed)
    return {
        "W": torch.randn(classes, width, generator=random),
        "b": torch.randn(classes, generator=random),
        "unused": torch.randn(4, generator=random),
    }


def softmax_fisher(state, x):
    """Closed form: ∇W log p_y = (e_y − p) xᵀ, so E_y (∇W)² = p (1 − p) (x²)ᵀ and E_y (∇b)² = p (1 − p)."""
    p = (x @ state["W"].T + state["b"]).double().softmax(dim=1)
    spread = p * (1 - p)
    weight = spread.T @ x.double().square() / len(x)
    return {"W": weight, "b": spread.mean(dim=0), "unused": torch.zeros(4).double()}


def inputs_of(width, seed, count=10):
    return Linear(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("classes", [2, 5, 16])
def test_the_fisher_of_a_linear_softmax_model_is_the_closed_form(classes):
    state, task = linear_state(classes, 3, 0), inputs_of(3, 1)
    found = fisher_diagonal(state, task, 10, seed=0)
    for name, expected in softmax_fisher(state, task.x).items():
        assert torch.allclose(found[name].double(), expected, rtol=1e-4, atol=1e-7), name
    some = fisher_diagonal(state, task, 4, seed=0)
    assert torch.allclose(some["W"].double(), softmax_fisher(state, task.x[:4])["W"], rtol=1e-4, atol=1e-7)


def test_fisher_merging_by_hand():
    base = linear_state(3, 4, 0)
    finetuned, inputs = [linear_state(3, 4, seed) for seed in (1, 2)], [inputs_of(4, seed) for seed in (5, 6)]
    weights = []
    for state, task in zip(finetuned, inputs, strict=True):
        found = softmax_fisher(state, task.x)
        norm = torch.cat([entry.flatten() for entry in found.values()]).norm()
        weights.append({name: entry / norm + 1e-3 for name, entry in found.items()})
    expected = {
        name: (weights[0][name] * finetuned[0][name] + weights[1][name] * finetuned[1][name])
        / (weights[0][name] + weights[1][name])
        for name in base
    }
    assert_close(run("fisher", base, finetuned, inputs, eps=1e-3), expected, base)


def test_what_no_task_depends_on_is_the_mean():
    base = linear_state(3, 4, 0)
    finetuned, inputs = [linear_state(3, 4, seed) for seed in (1, 2, 3)], [inputs_of(4, seed) for seed in (5, 6, 7)]
    merged = run("fisher", base, finetuned, inputs)
    assert distance(merged["unused"], sum(state["unused"] for state in finetuned) / 3) < 1e-5
    blind = [Linear(torch.zeros(3, 4)) for _ in finetuned]
    for state in finetuned:
        state["b"] = torch.tensor([90.0, 0.0, 0.0])  # certain of its answer: every gradient is zero
    assert distance(run("fisher", base, finetuned, blind)["W"], sum(state["W"] for state in finetuned) / 3) < 1e-5


def test_equal_fishers_give_the_mean():
    first = linear_state(2, 3, 1)
    second = {name: -tensor for name, tensor in first.items()}  # two classes change places: p (1 − p) stays
    task, base = inputs_of(3, 4), linear_state(2, 3, 0)
    merged = run("fisher", base, [first, second], [task, task])
    assert all(float(tensor.abs().max()) < 1e-5 for tensor in merged.values())


def test_drawn_labels_are_unbiased_and_few_labels_are_exact():
    p = torch.rand(30, generator=torch.Generator().manual_seed(0)) + 0.05
    p /= p.sum()
    f = torch.randn(30, generator=torch.Generator().manual_seed(1))
    random = torch.Generator().manual_seed(2)
    exact = weighted_labels(p, 30, random)
    assert sum(weight * float(f[label]) for label, weight in exact) == pytest.approx(float(p @ f), abs=1e-6)
    draws = [weighted_labels(p, 16, random) for _ in range(4000)]
    assert {len(labels) for labels in draws} == {17}
    assert {label for label, _ in draws[0][:16]} == set(p.topk(16).indices.tolist())
    assert sum(weight for _, weight in draws[0]) == pytest.approx(1.0)
    values = torch.tensor([sum(weight * float(f[label]) for label, weight in labels) for labels in draws])
    assert abs(float(values.mean() - p @ f)) < 5 * float(values.std()) / 4000**0.5
    assert {labels[-1][0] for labels in draws} == set(range(30)) - set(p.topk(16).indices.tolist())


def test_with_many_classes_the_seed_decides_and_the_fisher_is_near():
    state, task = linear_state(40, 3, 0), inputs_of(3, 1, count=300)
    first, again, other = (fisher_diagonal(state, task, 300, seed)["b"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert distance(first, softmax_fisher(state, task.x)["b"]) < 0.05


# AdaMerging --------------------------------------------------------------------------------------------------------


def test_the_entropy_of_uniform_logits_is_ln_c():
    assert float(entropy(torch.full((3, 7), 2.5))) == pytest.approx(math.log(7))
    assert float(entropy(torch.tensor([[50.0, 0.0, 0.0]]))) == pytest.approx(0.0, abs=1e-6)
    assert float(entropy(torch.tensor([[0.0, 0.0], [100.0, 0.0]]))) == pytest.approx(math.log(2) / 2)
    assert bool(entropy(torch.tensor([[1000.0, -1000.0]])).isfinite())


def through_the_merge(base, finetuned, inputs, batches, coefficients):
    """dL/dλ by autograd through θ(λ), all tasks in one graph. λ: name → (T,)."""
    theta = {}
    for name, theta0 in floats(base).items():
        theta[name] = theta0 + sum(
            value * (state[name].float() - theta0) for value, state in zip(coefficients[name], finetuned, strict=True)
        )
    loss = 0.0
    for one, batch in zip(inputs, batches, strict=True):
        p = one.logits(theta, batch).softmax(dim=1)
        loss = loss - (p * p.log()).sum(dim=1).mean()
    return loss


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_chain_is_autograd_through_the_merge(tasks):
    base, finetuned = random_states(tasks)
    inputs = fed(tasks)
    batches = [one.x[:5] for one in inputs]
    span = Span.of(base, finetuned, "cpu")
    assert STILL not in span.taus and list(span.base) == list(floats(base))
    values = torch.rand(len(span.taus), tasks, generator=torch.Generator().manual_seed(0))
    leaves = {name: row.clone().requires_grad_() for name, row in zip(span.taus, values, strict=True)}
    still = {STILL: torch.zeros(tasks)}
    through_the_merge(base, finetuned, inputs, batches, leaves | still).backward()
    found = entropy_gradient(span, values, inputs, batches)
    for name, row in zip(span.taus, found, strict=True):
        expected = torch.zeros(tasks) if leaves[name].grad is None else leaves[name].grad
        assert float((row - expected).norm()) <= 1e-5 * float(expected.norm()) + 1e-9, name
    used = {FC, PROJ, BIAS, "positional_embedding"}
    assert {name for name, row in zip(span.taus, found, strict=True) if bool(row.any())} == used

    shared = torch.full((tasks,), 0.3, requires_grad=True)
    through_the_merge(base, finetuned, inputs, batches, dict.fromkeys(floats(base), shared)).backward()
    taskwise = entropy_gradient(span, torch.full((1, tasks), 0.3), inputs, batches).sum(dim=0)
    assert distance(taskwise, shared.grad) < 1e-5


@pytest.mark.parametrize("name", ["adamerging", "adamerging_layer"])
def test_without_steps_it_is_task_arithmetic(name):
    base, finetuned = random_states(3)
    expected = dict(METHODS["ta"].merge(base, finetuned, scale=0.3))
    assert_close(run(name, base, finetuned, fed(3), steps=0), expected, base)


@pytest.mark.parametrize("name", ["adamerging", "adamerging_layer"])
def test_the_first_step_is_adams_along_the_sign_of_the_gradient(name):
    base, finetuned = random_states(2)
    inputs = fed(2)
    span = Span.of(base, finetuned, "cpu")
    batches = [next(one.batches(4, seed=7 + task)) for task, one in enumerate(inputs)]
    gradient = entropy_gradient(span, torch.full((1, 2), 0.3), inputs, batches)
    if name == "adamerging":
        gradient = gradient.sum(dim=0, keepdim=True).expand(len(span.taus), -1)
    values = dict(zip(span.taus, 0.3 - 0.05 * gradient / (gradient.abs() + 1e-8), strict=True))
    expected = {
        key: theta0
        + sum(
            values.get(key, torch.zeros(2))[task] * (state[key].float() - theta0)
            for task, state in enumerate(finetuned)
        )
        for key, theta0 in floats(base).items()
    }
    merged = run(name, base, finetuned, inputs, steps=1, lr=0.05, batch=4, seed=7)
    assert_close(merged, expected, base)


@pytest.mark.parametrize("name", ["adamerging", "adamerging_layer"])
def test_the_entropy_goes_down(name):
    base, finetuned = random_states(3)
    inputs = fed(3)

    def total(merged):
        return sum(float(entropy(one.logits(merged, one.x))) for one in inputs)

    start = total(run(name, base, finetuned, inputs, steps=0))
    end = total(run(name, base, finetuned, inputs, steps=150, lr=1e-2))
    assert end < 0.8 * start


def test_task_vectors_that_no_answer_depends_on_keep_their_coefficient():
    base, finetuned = random_states(2)
    for state in finetuned:
        state |= {key: base[key] for key in (FC, PROJ, BIAS, "positional_embedding")}
    expected = dict(METHODS["ta"].merge(base, finetuned, scale=0.3))
    assert_close(run("adamerging_layer", base, finetuned, fed(2)), expected, base)


@pytest.mark.parametrize("name", ["adamerging", "adamerging_layer"])
def test_the_seed_decides_the_bytes(name):
    base, finetuned = random_states(2)
    first, again, other = (run(name, base, finetuned, fed(2), steps=4, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_adamerging_reads_test_inputs_and_the_others_train_inputs():
    splits = {name: METHODS[name].split for name in ("regmean", "fisher", "adamerging", "adamerging_layer", "distill")}
    assert splits == dict.fromkeys(("regmean", "fisher", "distill"), "train") | dict.fromkeys(
        ("adamerging", "adamerging_layer"), "test"
    )


# real models and images --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(tiny_zoo):
    return open_zoo(load_zoo(tiny_zoo))


def real_inputs(opened, method):
    tasks = opened.zoo.tasks
    return [
        RealInputs(
            opened.model,
            opened.tasks[task.name],
            load_head(task),
            load_split(
                task, task.data.train_split if method.split == "train" else task.data.split, opened.model.transform
            ),
        )
        for task in tasks
    ]


def anchor_moments(opened):
    made = []
    for index, weights in enumerate(opened.tasks.values()):
        random = torch.Generator().manual_seed(index)
        anchors = [torch.randn(8, block.tokens, block.width, generator=random) for block in opened.model.blocks]
        made.append(AnchorMoments(opened.model.blocks, weights, anchors))
    return made


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("regmean", {"examples": 20}),
        ("regmean_plusplus", {"examples": 20}),
        ("regmean:anchors", {}),
        ("fisher", {"examples": 6}),
        ("adamerging", {"steps": 2}),
        ("adamerging_layer", {"steps": 2}),
    ],
)
def test_real_checkpoints_are_merged(name, hyperparameters, opened):
    method, finetuned = METHODS[name], list(opened.tasks.values())
    inputs = anchor_moments(opened) if method.needs == "anchors" else real_inputs(opened, method)
    merged = merge(method, opened.base, finetuned, inputs=inputs, **hyperparameters)
    assert list(merged) == list(opened.base)
    average, ta = (merge(METHODS[other], opened.base, finetuned) for other in ("average", "ta"))
    block = "visual.transformer.resblocks.1."
    for other in (average, ta):
        assert not torch.allclose(merged[block + "mlp.c_fc.weight"], other[block + "mlp.c_fc.weight"], atol=1e-5)
    for key, tensor in opened.base.items():
        assert merged[key].dtype == tensor.dtype and merged[key].isfinite().all(), key
        if "visual.transformer" not in key:  # no task moved it
            assert torch.equal(merged[key], tensor), key


def test_regmean_moves_the_answers_of_real_layers_towards_the_tasks(opened):
    """On what it is fed, the merged first layer is nearer to the tasks' answers than the average is."""
    method, finetuned = METHODS["regmean"], list(opened.tasks.values())
    inputs = real_inputs(opened, method)
    key = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    merged = merge(method, opened.base, finetuned, inputs=inputs, keep=1.0 - 1e-4, examples=40)[key]
    average = merge(METHODS["average"], opened.base, finetuned)[key]

    def error(weight):
        total = 0.0
        for one, weights in zip(inputs, finetuned, strict=True):
            opened.model.load(weights)
            images = torch.cat(list(one.batches(64)))
            block = opened.model.blocks[0].module
            x = block_inputs(opened.model, images)[0]
            entering = block.ln_2(x + block.attention(block.ln_1(x)))
            total += float(((weight - weights[key]) @ entering.flatten(0, 1).T).square().mean())
        return total

    assert error(merged) < 0.9 * error(average)


def test_regmean_plusplus_is_regmean_of_models_whose_earlier_blocks_are_merged(opened):
    """No task moved what comes before the first block, so that block is RegMean's; the second is that of the chimeras."""
    method, finetuned = METHODS["regmean_plusplus"], list(opened.tasks.values())
    inputs = real_inputs(opened, method)
    merged = merge(method, opened.base, finetuned, inputs=inputs, examples=30)
    first, second = (f"visual.transformer.resblocks.{block}." for block in (0, 1))
    chimeras = [
        {name: merged[name] if name.startswith(first) else weights[name] for name in weights} for weights in finetuned
    ]
    for one, weights in zip(inputs, chimeras, strict=True):
        one.finetuned = weights
    behind = merge(METHODS["regmean"], opened.base, chimeras, inputs=inputs, examples=30)
    alone = merge(METHODS["regmean"], opened.base, finetuned, inputs=real_inputs(opened, method), examples=30)
    for name, tensor in merged.items():
        if name.startswith((first, second)):
            expected = alone if name.startswith(first) else behind
            assert torch.allclose(tensor, expected[name], atol=1e-6), name
    changed = second + "mlp.c_fc.weight"
    assert not torch.allclose(merged[changed], alone[changed], atol=1e-4), "the merged first block feeds the second"
