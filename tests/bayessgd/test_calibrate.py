import math
from typing import ClassVar

import pytest
import torch
from torch import nn

from bayessgd import theory
from bayessgd.calibrate import calibrate, effective_temperature, potential
from bayessgd.likelihoods import Bernoulli, Gaussian, log_joint
from bayessgd.params import flatten, unflatten
from bayessgd.posteriors import Ensemble, LowRankGaussian
from bayessgd.priors import GaussianPrior

D = 4


class Regression:
    """A conjugate regression and its posterior N(mean, inv(N·A))."""

    laws: ClassVar = {"likelihood": Gaussian(0.7), "prior": GaussianPrior(3.0)}

    def __init__(self, n: int = 60) -> None:
        random = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, D, generator=random, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.5, 1.0])
        self.y = self.x.sum(1, keepdim=True) + 0.7 * torch.randn(n, 1, generator=random, dtype=torch.float64)
        self.net = nn.Linear(D, 1, bias=False).double()
        self.A = (self.x.T @ self.x / 0.49 + 3 * torch.eye(D, dtype=torch.float64)) / n
        self.mean = torch.linalg.solve(self.A * n, self.x.T @ self.y / 0.49).T
        self.optimum = {"weight": self.mean}

    def gaussian(self, variance: torch.Tensor) -> LowRankGaussian:
        return LowRankGaussian(self.optimum, {"weight": variance[None]})


@pytest.fixture
def regression():
    return Regression()


def test_potential_is_the_negative_log_joint(regression):
    draws = {"weight": torch.randn(5, 1, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)}
    found = potential(regression.net, draws, regression.x, regression.y, **regression.laws, batch_size=13)
    for i in range(5):
        one = {"weight": draws["weight"][i]}
        joint = log_joint(regression.net, one, regression.x, regression.y, **regression.laws, num_data=60)
        torch.testing.assert_close(found[i], -joint)


def test_a_part_of_the_data_counts_for_all(regression):
    draws = {"weight": regression.mean[None] + 1}
    x, y = torch.cat([regression.x] * 3), torch.cat([regression.y] * 3)
    whole = potential(regression.net, draws, x, y, **regression.laws)
    part = potential(regression.net, draws, regression.x, regression.y, **regression.laws, num_data=180)
    torch.testing.assert_close(part, whole)


def test_the_scale_is_that_of_the_hessian(regression):
    # On a quadratic the excess of a pair is s/2·δᵀNAδ, so s* has a relative error of that mean's.
    variance = torch.tensor([0.1, 0.01, 0.3, 0.02], dtype=torch.float64)
    found = calibrate(
        regression.net,
        regression.gaussian(variance),
        regression.x,
        regression.y,
        **regression.laws,
        num_samples=4000,
        generator=torch.Generator().manual_seed(2),
    )
    exact = theory.optimal_scale(variance.diag(), regression.A, num_data=60)
    assert abs(found.scale - float(exact)) < 4 * found.stderr
    assert found.stderr < 0.03 * found.scale
    torch.testing.assert_close(
        found.posterior.marginal_variance["weight"][0], found.scale * variance, rtol=1e-9, atol=0
    )
    assert found.excess == pytest.approx(D / 2 / found.scale, rel=2e-3)


def test_a_multiple_of_the_posterior_is_brought_back(regression):
    cov = torch.linalg.inv(60 * regression.A)
    root = torch.linalg.cholesky(9 * cov)  # the covariance times 9: a factor s, not its root
    k = D + 1
    deviations = torch.cat([root.T, torch.zeros(1, D, dtype=torch.float64)]) * math.sqrt(k - 1)
    law = LowRankGaussian(
        regression.optimum,
        {"weight": torch.full((1, D), 1e-14, dtype=torch.float64)},
        {"weight": deviations[:, None]},
    )
    found = calibrate(
        regression.net,
        law,
        regression.x,
        regression.y,
        **regression.laws,
        num_samples=2000,
        generator=torch.Generator().manual_seed(3),
    )
    assert abs(found.scale - 1 / 9) < 4 * found.stderr
    # Each excess is half a χ² with D degrees of freedom: relative deviation √(2/D).
    assert found.stderr == pytest.approx(found.scale * math.sqrt(2 / D / 2000), rel=0.1)


def test_the_temperature_of_scaled_draws_is_the_scale(regression):
    cov = torch.linalg.inv(60 * regression.A)
    z = torch.randn(4000, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    draws = regression.mean + math.sqrt(2.5) * z @ torch.linalg.cholesky(cov).T
    found = effective_temperature(
        regression.net,
        Ensemble({"weight": draws[:, None]}, chains=4),
        regression.x,
        regression.y,
        **regression.laws,
        optimum=regression.optimum,
    )
    assert abs(found.value - 2.5) < 4 * found.stderr
    assert found.stderr == pytest.approx(2.5 * math.sqrt(2 / D / 4000), rel=0.25)


def test_a_logistic_regression_gets_the_posteriors_width():
    # Not quadratic: the excess at the scale found is D/2, and the shape is that of Laplace's approximation, whose
    # scale at this many data differs from 1 by a few hundredths.
    random = torch.Generator().manual_seed(5)
    x = torch.randn(400, D, generator=random, dtype=torch.float64)
    y = (torch.rand(400, 1, generator=random) < (x @ torch.ones(D, 1).double()).sigmoid()).double()
    net = nn.Linear(D, 1, bias=False).double()
    laws = {"likelihood": Bernoulli(), "prior": GaussianPrior(1.0)}

    def u(flat):
        return -log_joint(net, unflatten(flat, {"weight": net.weight}), x, y, **laws, num_data=400)

    theta = torch.zeros(D, dtype=torch.float64)
    for _ in range(20):
        theta = theta - torch.linalg.solve(torch.func.hessian(u)(theta), torch.func.grad(u)(theta))
    cov = torch.linalg.inv(torch.func.hessian(u)(theta))
    root = torch.linalg.cholesky(cov) * math.sqrt(D)
    law = LowRankGaussian(
        {"weight": theta[None]},
        {"weight": torch.full((1, D), 1e-14, dtype=torch.float64)},
        {"weight": torch.cat([root.T, torch.zeros(1, D, dtype=torch.float64)])[:, None] * 3},
    )
    found = calibrate(net, law, x, y, **laws, num_samples=1000, generator=random)
    draws = found.posterior.sample(4000, generator=random)
    mean_excess = potential(net, draws, x, y, **laws).mean() - u(theta).detach()
    assert flatten(draws, law.mean).shape == (4000, D)
    assert abs(float(mean_excess) - D / 2) < 5 * math.sqrt(D / 2 / 1000)
    assert found.scale == pytest.approx(1 / 9, rel=0.15)


def test_a_mean_off_the_minimum_is_refused(regression):
    # A saddle: U falls on both sides of the mean.
    x, y = regression.x, regression.y

    class Away(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return self.w.square() * y[: len(x)]

    law = LowRankGaussian({"w": torch.zeros(1).double()}, {"w": torch.full((1,), 0.1).double()})
    with pytest.raises(ValueError, match="must have its mean near a minimum"):
        calibrate(Away(), law, x, y, **regression.laws)


def test_a_search_that_does_not_end_warns():
    # |w|³ is far from a quadratic, so one step from s = 1 is not enough.
    class Cube(nn.Linear):
        def forward(self, x):
            return super().forward(x).abs().pow(1.5)

    law = LowRankGaussian({"weight": torch.zeros(1, 1)}, {"weight": torch.full((1, 1), 5.0)})
    net, x = Cube(1, 1, bias=False), torch.ones(50, 1)
    with pytest.warns(UserWarning, match="ended after 1 passes"):
        calibrate(net, law, x, 0 * x, likelihood=Gaussian(1.0), prior=GaussianPrior(1.0), max_iterations=1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"posterior": 3}, TypeError, "posterior must be a LowRankGaussian"),
        ({"num_samples": 1}, ValueError, "num_samples must be at least 2"),
        ({"num_data": 0}, ValueError, "num_data must be at least 1"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be at least 1"),
        ({"x": torch.ones(0, D), "y": torch.ones(0, 1)}, ValueError, "x must have shape .* with n ≥ 1"),
        ({"x": [[1.0] * D]}, TypeError, r"x must be a torch\.Tensor, got list"),
        ({"y": torch.ones(7, 1).double()}, ValueError, "must have the same length, got 60 and 7"),
        ({"y": torch.full((60, 1), math.nan).double()}, ValueError, "y must be finite, got 60 NaN"),
        # Squares beyond the largest float64, so that U is infinite at the mean though the data are finite.
        (
            {"y": torch.full((60, 1), 1e200, dtype=torch.float64)},
            ValueError,
            "posterior's mean must have a finite potential, got U = inf",
        ),
        ({"model": 3}, TypeError, r"model must be a torch\.nn\.Module, got int"),
        ({"likelihood": None}, TypeError, "likelihood must be one of"),
        ({"prior": 1.0}, TypeError, "prior must be one of"),
        (
            {"model": nn.Linear(D + 1, 1, bias=False)},
            ValueError,
            "must have the shape .* it is of another network",
        ),
        ({"model": nn.Sequential(nn.Linear(D, 1))}, ValueError, r"got unknown \['weight'\]"),
    ],
)
def test_refusals(regression, change, error, message):
    arguments = {
        "model": regression.net,
        "posterior": regression.gaussian(torch.ones(D, dtype=torch.float64)),
        "x": regression.x,
        "y": regression.y,
        **regression.laws,
        **change,
    }
    positional = [arguments.pop(name) for name in ("model", "posterior", "x", "y")]
    with pytest.raises(error, match=message):
        calibrate(*positional, **arguments)


def test_refusal_of_a_posterior_that_is_a_point(regression):
    law = regression.gaussian(torch.zeros(D, dtype=torch.float64))
    with pytest.raises(
        ValueError, match="posterior must have a variance above 0 somewhere, got 0 everywhere"
    ):
        calibrate(regression.net, law, regression.x, regression.y, **regression.laws)


def test_refusals_of_iterates(regression):
    laws = {**regression.laws, "optimum": regression.optimum}
    with pytest.raises(TypeError, match="iterates must be an Ensemble"):
        effective_temperature(regression.net, 3, regression.x, regression.y, **laws)
    path, laws["optimum"] = Ensemble({"weight": regression.mean[None]}), {}
    with pytest.raises(ValueError, match="optimum must have the names"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
    laws["optimum"] = {"weight": regression.mean[:, 1:]}
    with pytest.raises(ValueError, match="optimum must have the shape"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
    laws["optimum"] = {"weight": torch.full_like(regression.mean, math.nan)}
    with pytest.raises(ValueError, match="must be finite"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
    laws["optimum"] = {"weight": torch.full_like(regression.mean, 1e200)}
    with pytest.raises(ValueError, match="optimum must have a finite potential, got U = inf"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
