"""The linear layer in which anchors can be watched: gradients, the tail, the start, and how fast it answers."""

import subprocess
import sys

import numpy as np
import pytest

from fda.analysis.playground import (
    Setting,
    angle_loss,
    induced_gradient,
    initial_anchors,
    make_problem,
    optimise,
    snapshot_steps,
)
from fda.errors import UserError
from fda.home import REPO

LARGEST = {"d": 64, "rank": 12, "anchors": 64, "steps": 200}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


def parts(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Δ, anchors X, and the projector P on the row space of Δ, found from Δ alone."""
    problem = make_problem(setting)
    rows = np.linalg.svd(problem.task_vector)[2][: setting.rank]
    return problem.task_vector, initial_anchors(problem, setting), rows.T @ rows


# the mathematics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["weight", "gauss"])
def test_the_analytic_gradient_is_the_finite_difference(start):
    delta, x, _ = parts(Setting(d=9, rank=3, anchors=5, start=start, sigma=0.7))
    loss, gradient = angle_loss(delta, x)
    assert loss == pytest.approx(1 - cosine(delta @ x @ x.T, delta))
    scale = np.abs(x).max()
    for place in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[place] = 1e-6 * scale
        slope = (angle_loss(delta, x + nudge)[0] - angle_loss(delta, x - nudge)[0]) / (2e-6 * scale)
        assert gradient[place] == pytest.approx(slope, abs=1e-7 / scale)


def test_the_induced_gradient_is_that_of_the_squared_distance():
    problem = make_problem(Setting(d=6, rank=2))
    w0, wi = problem.base, problem.base + problem.task_vector
    x = np.random.default_rng(1).standard_normal((6, 3))

    def distance(w: np.ndarray) -> float:
        return 0.5 * np.square((w - wi) @ x).sum()

    gradient = induced_gradient(problem.task_vector, x)
    for place in np.ndindex(w0.shape):
        nudge = np.zeros_like(w0)
        nudge[place] = 1e-5
        assert gradient[place] == pytest.approx((distance(w0 - nudge) - distance(w0 + nudge)) / 2e-5, abs=1e-8)


def test_the_tail_adds_nothing_along_the_task_vector_and_only_gradient_beside_it():
    delta, x, projector = parts(Setting(d=20, rank=4, anchors=6))
    head, tail = projector @ x, x - projector @ x
    whole = induced_gradient(delta, x)
    assert np.vdot(whole, delta) == pytest.approx(np.vdot(induced_gradient(delta, head), delta), rel=1e-12)
    assert whole == pytest.approx(induced_gradient(delta, head) + delta @ head @ tail.T, abs=1e-12)
    assert np.linalg.norm(whole) > np.linalg.norm(induced_gradient(delta, head))
    more, less = (angle_loss(delta, head + scale * tail)[0] for scale in (2, 0.5))
    assert more > angle_loss(delta, x)[0] > less > angle_loss(delta, head)[0], "more tail, larger angle"


def test_nothing_depends_on_the_scale_of_the_anchors():
    delta, x, _ = parts(Setting(d=10, rank=2))
    (loss, gradient), (same, smaller) = angle_loss(delta, x), angle_loss(delta, 50 * x)
    assert same == pytest.approx(loss) and smaller * 50 == pytest.approx(gradient)
    assert np.vdot(gradient, x) == pytest.approx(0, abs=1e-12), "so the gradient has no part along X"


def test_the_compact_task_vector_has_the_angle_of_the_whole():
    problem = make_problem(Setting(d=12, rank=3))
    x = np.random.default_rng(0).standard_normal((12, 4))
    (whole, gradient), (compact, other) = angle_loss(problem.task_vector, x), angle_loss(problem.compact, x)
    assert compact == pytest.approx(whole) and other == pytest.approx(gradient)


# problem and start -------------------------------------------------------------------------------------------------------


def test_the_task_vector_has_its_rank_and_its_length():
    problem = make_problem(Setting(d=24, rank=5))
    values = np.linalg.svd(problem.task_vector, compute_uv=False)
    assert values[:5] == pytest.approx(problem.values) and values[5:].max() < 1e-12
    assert np.linalg.norm(values) == pytest.approx(0.3 * np.linalg.norm(problem.base))
    assert np.sqrt(np.square(problem.base).mean()) == pytest.approx(0.03)


def test_weight_anchors_are_rows_of_the_finetuned_weights_and_then_means_of_two():
    setting = Setting(d=10, rank=2, anchors=14, start="weight")
    problem = make_problem(setting)
    rows = problem.base + problem.task_vector
    anchors = initial_anchors(problem, setting).T
    first = [next(i for i, row in enumerate(rows) if np.allclose(row, anchor)) for anchor in anchors[:10]]
    assert sorted(first) == list(range(10)), "every row once"
    means = [(a + b) / 2 for a in rows for b in rows]
    assert all(any(np.allclose(anchor, mean) for mean in means) for anchor in anchors[10:])


def test_gauss_anchors_have_the_scale_and_the_tail_of_chance():
    setting = Setting(d=64, rank=8, anchors=64, sigma=0.2, steps=1)
    problem = make_problem(setting)
    assert initial_anchors(problem, setting).std() == pytest.approx(0.2, rel=0.05)
    assert optimise(setting).tail_share[0] == pytest.approx(1 - 8 / 64, abs=0.02)


def test_weights_that_lean_more_start_with_less_tail():
    shares = [optimise(Setting(start="weight", anchors=32, lean=lean, steps=1)).tail_share[0] for lean in (0, 0.5, 1)]
    assert shares[0] > shares[1] > shares[2] and shares[0] > 0.7 and shares[2] < 0.2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rank": 40}, "rank is 40"),
        ({"rank": 0}, "rank is 0"),
        ({"anchors": 0}, "anchors is 0"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"start": "zero"}, "start is 'zero'"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(change, says):
    with pytest.raises(UserError, match=says):
        Setting(**change)


# the course --------------------------------------------------------------------------------------------------------------


def test_a_course_is_what_its_anchors_say():
    setting = Setting(d=16, rank=3, anchors=5, steps=30)
    course = optimise(setting)
    delta, start, projector = parts(setting)
    x = course.anchors
    assert course.loss[0] == pytest.approx(1 - cosine(delta @ start @ start.T, delta))
    assert course.loss[-1] == pytest.approx(1 - cosine(delta @ x @ x.T, delta))
    assert course.degrees[-1] == pytest.approx(np.degrees(np.arccos(cosine(delta @ x @ x.T, delta))))
    assert course.head[-1] == pytest.approx(np.square(projector @ x).sum())
    assert course.tail[-1] == pytest.approx(np.square(x - projector @ x).sum())
    values = np.linalg.svd(x, compute_uv=False)
    assert course.spectra[-1] == pytest.approx(values / values[0])
    assert course.loss.shape == course.head.shape == course.tail.shape == (31,)
    assert course.at[0] == 0 and course.at[-1] == 30


def test_gradients_are_shown_in_the_directions_of_the_task_vector():
    setting = Setting(d=16, rank=3, anchors=5, steps=30)
    course, problem = optimise(setting), make_problem(setting)
    gradient = induced_gradient(problem.task_vector, course.anchors)
    turned = problem.left.T @ gradient @ problem.directions
    assert course.gradients[-1] == pytest.approx(turned / np.linalg.norm(gradient))
    assert course.target == pytest.approx(
        problem.left.T @ problem.task_vector @ problem.directions / np.linalg.norm(problem.task_vector)
    )
    for place, step in enumerate(course.at):
        assert np.vdot(course.gradients[place], course.target) == pytest.approx(1 - course.loss[step])


def test_the_optimiser_is_adamw():
    """Against torch's own AdamW on the same loss."""
    torch = pytest.importorskip("torch")
    setting = Setting(d=10, rank=2, anchors=4, steps=25, learning_rate=0.03, sigma=0.5)
    problem = make_problem(setting)
    delta = torch.from_numpy(problem.task_vector)
    x = torch.from_numpy(initial_anchors(problem, setting)).requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=0.03, weight_decay=0.01)
    for _ in range(25):
        m = delta @ x @ x.T
        loss = 1 - (m * delta).sum() / (m.norm() * delta.norm())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert optimise(setting).anchors == pytest.approx(x.detach().numpy(), abs=1e-7)


def test_too_few_anchors_leave_the_angle_that_the_rank_leaves():
    """n anchors make a gradient of rank n at most: the best keeps Δ's n largest singular values."""
    for anchors in (1, 2, 3):
        setting = Setting(anchors=anchors, start="weight")
        energy = make_problem(setting).values ** 2
        floor = 1 - np.sqrt(energy[:anchors].sum() / energy.sum())
        assert optimise(setting).loss[-1] == pytest.approx(floor, abs=1e-3)
    assert optimise(Setting(anchors=4, start="weight")).loss[-1] < 1e-3


@pytest.mark.parametrize("size", [{}, {"d": 16, "rank": 2, "anchors": 4}, {"d": 48, "rank": 6, "anchors": 16}])
def test_the_principle_of_initialisation(size):
    """Large σ: the tail stays and the angle loss stalls. Weight rows or a small σ: both leave."""
    large = optimise(Setting(start="gauss", sigma=10.0, **size))
    small = optimise(Setting(start="gauss", sigma=0.01, **size))
    weight = optimise(Setting(start="weight", **size))
    assert large.loss[-1] > 0.4 * large.loss[0] and large.tail_share[-1] > 0.85 * large.tail_share[0]
    for good in (small, weight):
        assert good.loss[-1] < 0.01 and good.loss[-1] < large.loss[-1] / 10
        assert good.tail_share[-1] < large.tail_share[-1] / 2
    assert weight.tail_share[0] < small.tail_share[0] and weight.loss[0] < small.loss[0]


def test_the_same_setting_gives_the_same_course_and_another_seed_another():
    one, again, other = optimise(Setting(steps=5)), optimise(Setting(steps=5)), optimise(Setting(steps=5, seed=1))
    assert np.array_equal(one.anchors, again.anchors) and not np.allclose(one.anchors, other.anchors)


@pytest.mark.parametrize("steps", [1, 2, 7, 200])
def test_snapshots_are_few_ascending_and_have_both_ends(steps):
    at = snapshot_steps(steps)
    assert at[0] == 0 and at[-1] == steps and len(at) <= 10 and (np.diff(at) > 0).all()


def test_it_needs_no_torch():
    code = "import sys, fda.analysis.playground; assert not {'torch', 'streamlit', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True, timeout=60)
