"""Take inputs away from a Linear one group after another, and let the rest make up for each as well as it can.

With G the products of the inputs, (inputs, inputs), taking the inputs S away from a weight W changes the squared error of the
answers by at least

    rho_S = sum_i W_iS ((G^-1)_SS)^-1 W_iS'

and that least error is reached by the weights W - W_S ((G^-1)_SS)^-1 (G^-1)_S. The group with the smallest rho goes, G^-1
becomes that of the inputs that are left, and so on. The Hessian of the papers is 2 G; the factor plays no part.

The bias is fitted as well: G is taken about the inputs' mean, and the bias takes up the mean of what is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch

DAMPING = 1e-4
MORE_DAMPING = 10.0
FLUSH = 64  # columns that go before the matrices are updated: a product of matrices instead of 64 of vectors


class Inputs:
    """What a Linear was given, as sums that do not grow with the number of rows."""

    def __init__(self, width: int) -> None:
        self.products = torch.zeros((width, width), dtype=torch.float64)
        self.sums = torch.zeros(width, dtype=torch.float64)
        self.rows = 0.0

    def add(self, values: torch.Tensor, weight: float = 1.0) -> None:
        """Take in rows, (rows, width), each of which counts `weight` times."""
        self.products += weight * (values.T @ values).double()
        self.sums += weight * values.sum(0).double()
        self.rows += weight * len(values)

    @property
    def mean(self) -> torch.Tensor:
        """The mean row, (width,)."""
        return self.sums / max(self.rows, 1.0)

    def centred(self) -> torch.Tensor:
        """The products about the mean, (width, width)."""
        return self.products - torch.outer(self.sums, self.mean)


@dataclass(frozen=True)
class Snapshot:
    """A Linear with some of its groups of inputs left.

    Args:
        keep: The groups that are left, rising.
        weight: (out, inputs of these groups).
        bias: (out,).
        error: The squared error of the answers over the answers' own spread about their mean, 0 to 1.
    """

    keep: tuple[int, ...]
    weight: torch.Tensor
    bias: torch.Tensor
    error: float


def snapshots(
    weight: torch.Tensor,
    bias: torch.Tensor,
    inputs: Inputs,
    *,
    counts: Collection[int],
    size: int = 1,
    damping: float = DAMPING,
) -> dict[int, Snapshot]:
    """Prune a Linear's inputs, and keep what it looks like with each of some numbers of groups.

    Source: Kurtic, Frantar and Alistarh 2023, ZipLM, arXiv 2302.04089, section 3.1, algorithm 1.
    Differs: the bias is fitted too; an input that never moves is what its mean says, so it goes first and costs nothing;
    damping is always on and grows only where the matrix is singular.

    Args:
        weight: (out, inputs).
        bias: (out,).
        inputs: What it was given.
        counts: How many groups to keep; 0 and all are allowed.
        size: Inputs in a group, which stand side by side.
        damping: Added to the diagonal, as a fraction of its mean; the errors count what it costs.

    Returns:
        For each count what is left.
    """
    original, mean = weight.detach().double(), inputs.mean
    products = inputs.centred()
    answered = float(((original @ products) * original).sum())
    by_count = {}
    for keep, left, error in _rising_losses(original, products, min(counts), set(counts), size, damping):
        columns = _columns(keep, size)
        whole = torch.zeros_like(original)
        whole[:, columns] = left
        moved = bias.detach().double() + (original - whole) @ mean
        share = min(1.0, max(0.0, error / answered)) if answered > 0 else 0.0
        by_count[len(keep)] = Snapshot(
            tuple(keep.tolist()), left.to(weight.dtype), moved.to(bias.dtype), share if len(keep) else 1.0
        )
    return by_count


def _rising_losses(
    weight: torch.Tensor, products: torch.Tensor, least: int, stops: set[int], size: int, damping: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """The groups that are left, their weights and the error so far, at each of the stops."""
    alive = torch.arange(weight.shape[1] // size)
    error = 0.0
    if len(alive) in stops:
        yield alive, weight, error
    if least == len(alive):
        return
    dead = products.diagonal() <= 1e-12 * products.diagonal().max().clamp(min=1e-300)
    weight, inverse = weight.masked_fill(dead, 0.0), _inverse(products, dead, damping)
    while len(alive) > max(least, 1):
        stop = max((fewer for fewer in stops if fewer < len(alive)), default=least)
        count = len(alive) - max(stop, 1)
        if size == 1:
            weight, inverse, left, loss = _without_columns(weight, inverse, min(count, FLUSH))
        else:
            weight, inverse, left, loss = _without_a_group(weight, inverse, size)
        alive, error = alive[left], error + loss
        if len(alive) in stops:
            yield alive, weight, error
    if least == 0:
        yield alive[:0], weight[:, :0], error


def _inverse(products: torch.Tensor, dead: torch.Tensor, damping: float) -> torch.Tensor:
    """The inverse of the damped products; an input that never moves counts as one that has nothing to do with the others."""
    products = products.clone()
    products[dead], products[:, dead] = 0.0, 0.0
    diagonal = products.diagonal()
    diagonal[dead] = 1.0
    typical = float(diagonal[~dead].mean()) if bool((~dead).any()) else 1.0
    return torch.cholesky_inverse(damped_root(products, damping, typical))


def damped_root(products: torch.Tensor, damping: float, typical: float) -> torch.Tensor:
    """The lower triangular root of products with so much of a typical one added to the diagonal, and more where rounding has
    left them no root: that of few rows, or of inputs that are sums of others."""
    while True:
        damped = products + damping * typical * torch.eye(len(products), dtype=products.dtype)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return factor
        damping = max(damping, 1e-8) * MORE_DAMPING


def _without_columns(
    weight: torch.Tensor, inverse: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Let `count` single inputs go, the cheapest first, each judged after the ones before it have gone.

    Updates wait until the end, W - P U' and G^-1 - U U', since what a step needs of them is a column, a diagonal and norms.
    That makes 3072 columns affordable on a CPU: most of the work is two products of matrices for each FLUSH columns.
    """
    width = weight.shape[1]
    own, moved = inverse.new_zeros((width, count)), weight.new_zeros((len(weight), count))  # U and P
    diagonal, norms = inverse.diagonal().clone(), weight.square().sum(0)
    gone = torch.zeros(width, dtype=torch.bool)
    error = 0.0
    for step in range(count):
        scores = (norms / diagonal).masked_fill(gone, torch.inf)
        worst = int(scores.argmin())
        error += max(0.0, float(scores[worst]))
        root = diagonal[worst].sqrt()
        column = (inverse[:, worst] - own[:, :step] @ own[worst, :step]) / root
        change = (weight[:, worst] - moved[:, :step] @ own[worst, :step]) / root
        along = change @ weight - own[:, :step] @ (change @ moved[:, :step])
        norms = (norms - 2 * column * along + column.square() * change.square().sum()).clamp(min=0.0)
        diagonal = (diagonal - column.square()).clamp(min=torch.finfo(diagonal.dtype).tiny)
        own[:, step], moved[:, step] = column, change
        gone[worst] = True
    left = (~gone).nonzero()[:, 0]
    weight = (weight - moved @ own.T)[:, left]
    inverse = inverse[left][:, left] - own[left] @ own[left].T
    return weight, inverse, left, error


def _without_a_group(
    weight: torch.Tensor, inverse: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Let the cheapest group of `size` inputs go."""
    groups = weight.shape[1] // size
    blocks = torch.stack([inverse[_slice(group, size), _slice(group, size)] for group in range(groups)])
    parts = weight.T.reshape(groups, size, -1)  # (groups, size, out)
    solved = torch.linalg.solve(blocks, parts)
    scores = (parts * solved).sum((1, 2))
    worst = int(scores.argmin())
    rows = inverse[_slice(worst, size)]
    left = torch.tensor([group for group in range(groups) if group != worst])
    columns = _columns(left, size)
    weight = (weight - solved[worst].T @ rows)[:, columns]
    inverse = (inverse - rows.T @ torch.linalg.solve(blocks[worst], rows))[columns][:, columns]
    return weight, inverse, left, max(0.0, float(scores[worst]))


def _slice(group: int, size: int) -> slice:
    return slice(group * size, (group + 1) * size)


def _columns(groups: torch.Tensor, size: int) -> torch.Tensor:
    """The inputs of some groups, (groups * size,)."""
    return (groups[:, None] * size + torch.arange(size)).flatten()
