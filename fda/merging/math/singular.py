"""Leading singular triples and polar factors, at less than the cost of full singular value decompositions.

Both come from the eigenvectors of the smaller Gram matrix. Its eigenvalues are squares of singular values, which loses digits:
so they are computed in float64 and checked, and where the check fails the full decomposition is taken (`full_top_triples`,
`full_polar`). Which matrices, and what is made of them, is left to the methods.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Triples = tuple["Tensor", "Tensor", "Tensor"]

SMALLEST = (
    1e-5  # σ/σ1 below which a Gram matrix in float64 (relative error 1e-16 of σ1²) says too little of a direction
)
EVEN = 1e-2  # σmin/σ1 from which on a product in float32 errs by less than 1e-5 (1e-7 / EVEN) in every direction
RESIDUAL = 1e-7  # ‖Gv − λv‖ / (σ1·σcount) at most: what the rounding of a float32 decomposition leaves in any case
SMALL_SIDE = 64  # below it a full decomposition costs nothing worth saving
PANELS = 4  # of columns of a Gram matrix, each computed from its diagonal down: as it is symmetric, 5/8 of the products
ROWS = 512  # of a matrix that are in float64 at once


def top_triples(matrix: "Tensor", count: int) -> Triples:
    """U (m × count), s (count), Vᵀ (count × n): the leading singular triples of an m × n float32 matrix.

    count ≤ min(m, n). Of a zero matrix: the first unit vectors, as the full decomposition gives.
    """
    import torch

    small = min(matrix.shape)
    scale = largest(matrix)
    if scale == 0:
        like = {"dtype": matrix.dtype, "device": matrix.device}
        return (
            torch.eye(len(matrix), count, **like),
            torch.zeros(count, **like),
            torch.eye(count, matrix.shape[1], **like),
        )
    if small < SMALL_SIDE or count == 0 or 4 * count > 3 * small:  # of more than three quarters nothing is saved
        return full_top_triples(matrix, count)
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    squares, right = _leading(gram(tall, scale), count)
    if squares[-1] <= SMALLEST**2 * squares[0]:
        return full_top_triples(matrix, count)
    values = squares.sqrt()
    left = _times(tall, scale, right / values)
    right, values = right.float(), values.float() * scale
    return (left, values, right.T) if tall.shape == matrix.shape else (right, values, left.T)


def polar(matrix: "Tensor", out: "Tensor | None" = None) -> "Tensor":
    """The nearest matrix with orthonormal columns (rows, if it is wide): P Qᵀ of the decomposition P Σ Qᵀ of a float32 matrix.

    Written into `out` if that is given, which may be the matrix itself.
    """
    import torch

    if min(matrix.shape) < SMALL_SIDE:
        return _copied(full_polar(matrix), out)
    is_wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.T if is_wide else matrix
    scale = largest(tall)
    if not scale > 0:  # zero or NaN
        return _copied(full_polar(matrix), out)
    squares, vectors = torch.linalg.eigh(gram(tall, scale))  # ascending
    if squares[0] <= SMALLEST**2 * squares[-1]:
        return _copied(full_polar(matrix), out)
    root = (vectors * squares.rsqrt()) @ vectors.T  # (AᵀA)^(−½)
    del vectors
    even = squares[0] >= EVEN**2 * squares[-1]
    factor = _times(tall, scale, root.float() if even else root, out.T if is_wide and out is not None else out)
    return factor.T if is_wide else factor


def _copied(factor: "Tensor", out: "Tensor | None") -> "Tensor":
    return factor if out is None else out.copy_(factor)


def full_top_triples(matrix: "Tensor", count: int) -> Triples:
    """`top_triples` by the full decomposition: exact for every matrix, and slow."""
    import torch

    left, values, right_transposed = torch.linalg.svd(matrix, full_matrices=False)
    return (
        left[:, :count].clone(),
        values[:count],
        right_transposed[:count].clone(),
    )  # clones, so that the whole can be freed


def full_polar(matrix: "Tensor") -> "Tensor":
    """`polar` by the full decomposition; where singular values are zero, some polar factor."""
    import torch

    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def largest(matrix: "Tensor") -> "Tensor":
    """The largest magnitude, without a copy of the matrix; NaN if it holds one."""
    import torch

    low, high = matrix.aminmax()
    return torch.maximum(-low, high)


def gram(tall: "Tensor", scale: "Tensor") -> "Tensor":
    """AᵀA / scale² of an m × n matrix, n × n in float64, made from a few rows at a time."""
    import torch

    n = tall.shape[1]
    product = torch.zeros(n, n, dtype=torch.float64, device=tall.device)
    width = -(-n // PANELS)
    for rows in tall.split(ROWS):
        rows = rows.double().div_(scale)
        for start in range(0, n, width):
            panel = product[start:, start : start + width]
            panel.addmm_(rows[:, start:].T, rows[:, start : start + width])
    product.tril_()
    return product.add_(product.tril(-1).T)


def _times(tall: "Tensor", scale: "Tensor", right: "Tensor", out: "Tensor | None" = None) -> "Tensor":
    """(A / scale) @ right in float32, computed in the precision of `right`; a few rows at a time if that is float64, or if the
    product goes into `out`, which may be A."""
    if right.dtype == tall.dtype and out is None:
        return tall @ (right / scale)
    product = tall.new_empty(len(tall), right.shape[1]) if out is None else out
    for product_rows, rows in zip(product.split(ROWS), tall.split(ROWS), strict=True):
        product_rows.copy_(rows.to(right.dtype, copy=True).div_(scale) @ right)
    return product


def _leading(square: "Tensor", count: int) -> tuple["Tensor", "Tensor"]:
    """(eigenvalues (count), eigenvectors (n × count)) of a symmetric float64 matrix, largest first.

    Eigenvectors in float32 cost half. One step of perturbation theory in float64 squares their error, except between
    eigenvalues so close that it would turn a vector by more than 0.1. Where the residual says that this was not enough,
    eigenvectors are computed in float64.
    """
    import torch

    n = len(square)
    wide = min(n, count + max(16, count // 4))  # a margin, so that close eigenvalues are not divided
    _, vectors = torch.linalg.eigh(square.float())
    vectors = vectors.double().flip(1)
    head, rest = vectors[:, :wide], vectors[:, wide:]
    image = square @ head
    values = (head * image).sum(0)
    if wide < n:
        coupling = rest.T @ image - (rest.T @ head) * values
        below = ((square @ rest) * rest).sum(0)
        change = coupling / (values - below[:, None])
        head = head + rest @ torch.where(change.abs() < 0.1, change, 0.0)
    factor, failed = torch.linalg.cholesky_ex(head.T @ head)
    if not failed:
        head = torch.linalg.solve_triangular(factor, head.T, upper=False).T  # orthonormal columns
        image = square @ head
        inner, turn = torch.linalg.eigh(head.T @ image)
        inner, turn = inner.flip(0)[:count], turn.flip(1)[:, :count]
        head, image = head @ turn, image @ turn
        allowed = RESIDUAL * (inner[0] * inner[-1].clamp(min=0)).sqrt()
        if (image - head * inner).norm(dim=0).max() <= allowed:
            return inner, head
    values, vectors = torch.linalg.eigh(square)
    return values.flip(0)[:count], vectors.flip(1)[:, :count]
