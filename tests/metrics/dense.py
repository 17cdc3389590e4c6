"""Measures of two clouds written out plainly from all distances within and between them: what the fast forms must give.

Matrices are xx [n, n], xy [n, m] and yy [m, m]; a point's distance to itself, on the diagonal, is 0.
"""

import math

import torch
from torch import Tensor

from metrics.kernels.sums import KernelSums


def energy_distance(xx: Tensor, xy: Tensor, yy: Tensor, *, squared: bool = False) -> Tensor:
    """√(2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖), the V-statistic."""
    square = (2 * xy.double().mean() - xx.double().mean() - yy.double().mean()).clamp(min=0)
    return square if squared else square.sqrt()


def energy_stderr(xx: Tensor, xy: Tensor, yy: Tensor, *, squared: bool = False) -> Tensor:
    """That of D² is that of the U-statistic whose means within are shrunk by (n − 1)/n; that of D by its slope 1/2D."""
    n, m = xy.shape
    shrunk = (-(n - 1) / n * xx.double(), -xy.double(), -(m - 1) / m * yy.double())
    of_square, distance = KernelSums.of_grams(*shrunk).stderr(), energy_distance(xx, xy, yy)
    return of_square if squared or distance == 0 else of_square / (2 * distance)


def knn_kl(xx: Tensor, xy: Tensor, *, d: int, k: int = 5) -> Tensor:
    """(d/n) Σ_i ln(ν_i/ρ_i) + ln(m/(n − 1))."""
    rho, nu = xx.double().sort(1).values[:, k], xy.double().sort(1).values[:, k - 1]
    return d * (nu / rho).log().mean() + math.log(xy.shape[1] / (len(xx) - 1))


def nearest_others(pooled: Tensor) -> Tensor:
    """1 at each point's nearest other point, 1/t at each of t equally near ones, and 0 elsewhere."""
    others = pooled.clone().fill_diagonal_(torch.inf)
    nearest = (others == others.min(1, keepdim=True).values).double()
    return nearest / nearest.sum(1, keepdim=True)


def nn_accuracy(xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    """The mean of both clouds' shares of points whose nearest other is of their own cloud."""
    n = len(xx)
    nearest = nearest_others(torch.cat([torch.cat([xx, xy], 1), torch.cat([xy.T, yy], 1)]))
    return (nearest[:n, :n].sum() / n + nearest[n:, n:].sum() / len(yy)) / 2


def precision_recall_density_coverage(xx: Tensor, xy: Tensor, yy: Tensor, *, k: int = 5) -> list[float]:
    """Of x the fake and y the real points, as everywhere in `evaluate`."""
    of_real, of_fake = yy.sort(1).values[:, k], xx.sort(1).values[:, k]
    in_real, in_fake = xy <= of_real, xy <= of_fake[:, None]
    shares = in_real.any(1), in_fake.any(0), in_real.double().sum(1) / k, in_real.any(0)
    return [float(share.double().mean()) for share in shares]
