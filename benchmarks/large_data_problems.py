"""Skin and Protein with their posteriors' exact moments, by quadrature.

Protein, a linear regression with its noise inferred, is Gaussian in β given σ: with M = XᵀX/σ² + I the marginal is

    log p(log σ | y) = −N log σ − (yᵀy/σ² − bᵀM⁻¹b)/2 − ½ log|M| − ½ (log σ)² + const,      b = Xᵀy/σ²,

an integral over one number. Skin, a logistic regression with four weights, is integrated over z in θ = θ* + Rz,
RRᵀ = (NA)⁻¹, by a Gauss–Hermite product rule, whose error falls geometrically in the number of nodes where the
posterior is as near to Laplace's approximation as 245 057 data bring it.
"""

import gzip
import itertools
from pathlib import Path

import numpy as np
import torch
from agreement import Moments
from sampling import Optimum, Problem
from torch import Tensor, nn

from bayessgd.likelihoods import Bernoulli, GaussianLogScale, LearnedScale
from bayessgd.params import flatten, unflatten
from bayessgd.priors import GaussianPrior

__all__ = ["exact", "linear_moments", "problems", "product_moments"]


def problems(folder: Path) -> list[Problem]:
    """Read both, features standardised, an intercept before them; prior N(0, 1) for every parameter."""
    with gzip.open(folder / "skin" / "Skin_NonSkin.txt.gz") as file:
        skin = np.loadtxt(file)
    with gzip.open(folder / "protein" / "CASP.csv.gz") as file:
        protein = np.loadtxt(file, delimiter=",", skiprows=1)
    is_skin, size = (skin[:, 3] == 1).astype(float), protein[:, 0]
    size = (size - size.mean()) / size.std()
    x, target = design(skin[:, :3]), torch.as_tensor(is_skin)[:, None]
    first = Problem("skin", line(x), x, target, Bernoulli(), GaussianPrior(1.0))
    x, target = design(protein[:, 1:]), torch.as_tensor(size)[:, None]
    return [
        first,
        Problem("protein", LearnedScale(line(x)), x, target, GaussianLogScale(), GaussianPrior(1.0)),
    ]


def design(x: np.ndarray) -> Tensor:
    return torch.as_tensor(np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)]))


def line(x: Tensor) -> nn.Linear:
    model = nn.Linear(x.shape[1], 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return model


def exact(at: Optimum) -> Moments:
    """Return the posterior's means and standard deviations by the quadrature that serves the problem."""
    if isinstance(at.problem.likelihood, GaussianLogScale):
        log_scale = at.problem.like["log_scale"][0]
        found = linear_moments(at.problem.x, at.problem.y[:, 0], about=log_scale)
        # In the module's order log σ comes first.
        return Moments.exact(found.mean.roll(1), found.std.roll(1))
    return product_moments(at)


def linear_moments(x: Tensor, y: Tensor, *, about: Tensor, nodes: int = 41) -> Moments:
    """Of (β, log σ) for y ~ N(xβ, σ²) and N(0, 1) for β and log σ, by quadrature over log σ around `about`."""
    n, p = x.shape
    gram, cross, square, eye = x.mT @ x, x.mT @ y, y @ y, torch.eye(p, dtype=x.dtype)
    # The law of log σ is close to a normal of variance 1/2N; ± 10 of its deviations, by the trapezoidal rule.
    grid = about + torch.linspace(-10, 10, nodes, dtype=x.dtype) / (2 * n) ** 0.5
    precisions = (-2 * grid).exp()
    covs = torch.linalg.inv(gram * precisions[:, None, None] + eye)
    means = (covs @ cross) * precisions[:, None]
    fit = precisions * square - precisions * (means @ cross)
    log_p = -n * grid - 0.5 * fit + 0.5 * torch.logdet(covs) - 0.5 * grid.square()
    w = torch.softmax(log_p, 0)[:, None]
    theta = torch.cat([means, grid[:, None]], 1)
    mean = (w * theta).sum(0)
    variance = (w * (theta - mean).square()).sum(0)
    variance[:p] += (w * covs.diagonal(dim1=1, dim2=2)).sum(0)
    return Moments.exact(mean, variance.sqrt())


def product_moments(at: Optimum, *, nodes: int = 7) -> Moments:
    """Of θ of few dimensions, by a product rule around the optimum; nodes^p evaluations of all data."""
    problem, like = at.problem, at.problem.like
    points, weights = (torch.as_tensor(t) for t in np.polynomial.hermite_e.hermegauss(nodes))
    size = len(at.A)
    z = torch.stack([torch.stack(combination) for combination in itertools.product(points, repeat=size)])
    w = torch.stack(
        [torch.stack(combination).prod() for combination in itertools.product(weights, repeat=size)]
    )
    theta = flatten(like) + z @ at.root.mT
    with torch.no_grad():
        losses = torch.stack(
            [at.found.loss(problem.model, unflatten(t, like), problem.x, problem.y) for t in theta]
        )
    # The rule integrates against exp(−z²/2): what is left is the ratio of the posterior to that.
    log_ratio = -len(problem) * (losses - losses.min()) + 0.5 * z.square().sum(1)
    w = (w * (log_ratio - log_ratio.max()).exp())[:, None]
    w = w / w.sum()
    mean = (w * theta).sum(0)
    return Moments.exact(mean, (w * (theta - mean).square()).sum(0).sqrt())
