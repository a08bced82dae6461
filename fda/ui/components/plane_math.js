// The linear layer φ(W, x) = W x in two dimensions, as in fda/analysis/playground.py: an anchor is a point [x, y], and Δ is two
// rows. Pure functions, without the page; tests/ui/test_plane_math.py compares them with NumPy.

const TINY = 1e-300; // as in fda/anchors/loss.py: without a gradient the cosine is 0

// X Xᵀ.
function secondMoment(points) {
  let [xx, xy, yy] = [0, 0, 0];
  for (const [x, y] of points) {
    xx += x * x;
    xy += x * y;
    yy += y * y;
  }
  return [[xx, xy], [xy, yy]];
}

const multiply = ([a, b], m) => [a, b].map((row) => [0, 1].map((j) => row[0] * m[0][j] + row[1] * m[1][j]));
const transpose = ([[a, b], [c, d]]) => [[a, c], [b, d]];
const dot = ([[a, b], [c, d]], [[e, f], [g, h]]) => a * e + b * f + c * g + d * h;
const norm = (m) => Math.sqrt(dot(m, m));

// Δ X Xᵀ.
const inducedGradient = (delta, points) => multiply(delta, secondMoment(points));

// The matrix over its Frobenius norm; zeros stay zeros.
function direction(m) {
  const length = Math.max(norm(m), TINY);
  return m.map((row) => row.map((value) => value / length));
}

// 1 − cos(Δ X Xᵀ, Δ), and the angle itself in degrees.
function angleLoss(delta, points) {
  const cosine = dot(direction(inducedGradient(delta, points)), direction(delta));
  return { loss: 1 - cosine, degrees: (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI };
}

// The gradient of the angle loss with respect to each point. With S = X Xᵀ and A = ΔᵀΔ the cosine is
// ⟨A, S⟩ / (‖ΔS‖ ‖Δ‖), so that one symmetric matrix, twice the loss's derivative by S, maps each point to its gradient.
function lossGradient(delta, points) {
  const s = secondMoment(points);
  const a = multiply(transpose(delta), delta);
  const [as, length] = [multiply(a, s), norm(multiply(delta, s))];
  if (length < TINY) return points.map(() => [0, 0]);
  const [turn, scale] = [dot(a, s) / (length * length), 1 / (length * norm(delta))];
  const entry = (i, j) => scale * (turn * (as[i][j] + as[j][i]) - 2 * a[i][j]);
  const [[p, q], [, r]] = [[entry(0, 0), entry(0, 1)], [0, entry(1, 1)]];
  return points.map(([x, y]) => [p * x + q * y, q * x + r * y]);
}

// One step of gradient descent. The step is relative to ‖X‖², as the gradient is to 1/‖X‖: no scale of the points matters.
function descend(delta, points, rate) {
  const s = secondMoment(points);
  const size = rate * (s[0][0] + s[1][1]);
  return lossGradient(delta, points).map(([x, y], j) => [points[j][0] - size * x, points[j][1] - size * y]);
}

// The ellipse of X Xᵀ: half axes √(2λ/n), so that points evenly spread on a circle lie on it; the angle of the longer in
// degrees, against the clock.
function ellipse(points) {
  const [[xx, xy], [, yy]] = secondMoment(points);
  const [middle, half] = [(xx + yy) / 2, Math.hypot((xx - yy) / 2, xy)];
  const axis = (value) => Math.sqrt(Math.max(0, (2 * value) / points.length));
  return { long: axis(middle + half), short: axis(middle - half), turn: (Math.atan2(2 * xy, xx - yy) * 90) / Math.PI };
}
