import math

import pytest
import torch
from torch import nn

from bayessgd import theory
from bayessgd.calibration import calibrate
from bayessgd.calibration.equipartition import equipartition, moving_directions
from bayessgd.calibration.potential import potential
from bayessgd.likelihoods import Bernoulli, Gaussian, log_joint
from bayessgd.params import flatten, unflatten
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import FlatPrior, GaussianPrior
from tests.bayessgd.calibration.problems import D, Regression


@pytest.fixture
def regression():
    return Regression()


def test_the_scale_is_that_of_the_hessian(regression):
    # On a quadratic the excess of a pair is s/2·δᵀNAδ, so s* has a relative error of that mean's.
    variance = torch.tensor([0.1, 0.01, 0.3, 0.02], dtype=torch.float64)
    found = calibrate(
        regression.net,
        regression.gaussian(variance),
        regression.x,
        regression.y,
        **regression.laws,
        directions="all",
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
        directions="all",
        num_samples=2000,
        generator=torch.Generator().manual_seed(3),
    )
    assert abs(found.scale - 1 / 9) < 4 * found.stderr
    # Each excess is half a χ² with D degrees of freedom: relative deviation √(2/D).
    assert found.stderr == pytest.approx(found.scale * math.sqrt(2 / D / 2000), rel=0.1)


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
    found = calibrate(net, law, x, y, **laws, directions="all", num_samples=1000, generator=random)
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
        calibrate(Away(), law, x, y, **regression.laws, directions="all")


def test_a_search_that_does_not_end_warns():
    # |w|³ is far from a quadratic, so one step from s = 1 is not enough.
    class Cube(nn.Linear):
        def forward(self, x):
            return super().forward(x).abs().pow(1.5)

    law = LowRankGaussian({"weight": torch.zeros(1, 1)}, {"weight": torch.full((1, 1), 5.0)})
    net, x = Cube(1, 1, bias=False), torch.ones(50, 1)
    with pytest.warns(UserWarning, match="ended after 1 passes"):
        calibrate(
            net,
            law,
            x,
            0 * x,
            likelihood=Gaussian(1.0),
            prior=GaussianPrior(1.0),
            directions="all",
            max_iterations=1,
        )


def test_only_directions_that_move_are_counted():
    # True: s* = 1/(N·A·v) = 1/(500·1e-3) over the one weight that moves, however many stand still beside it.
    random = torch.Generator().manual_seed(0)
    x = torch.randn(500, 1, generator=random).sign()
    y = x + torch.randn(500, 1, generator=random)
    for idle in (0, 300):
        net = nn.Linear(1 + idle, 1, bias=False)
        inputs = torch.cat([x, torch.zeros(500, idle)], 1)
        mean, variance = torch.zeros(1, 1 + idle), torch.zeros(1, 1 + idle)
        mean[0, 0], variance[0, 0] = (x * y).mean(), 1e-3
        found = calibrate(
            net,
            LowRankGaussian({"weight": mean}, {"weight": variance}),
            inputs,
            y,
            likelihood=Gaussian(1.0),
            prior=FlatPrior(),
            directions="all",
            num_samples=4000,
            generator=random,
        )
        assert found.directions == 1
        assert abs(found.scale - 2) < 4 * found.stderr


def test_the_rank_counts_deviations_among_weights_that_do_not_move_by_themselves():
    law = LowRankGaussian(
        {"w": torch.zeros(5)},
        {"w": torch.tensor([1.0, 0, 0, 0, 0])},
        {"w": torch.tensor([[1.0, 1, 1, 0, 0], [2.0, 2, 2, 0, 0], [3.0, 0, 1, 0, 0]])},
    )
    assert moving_directions(law) == 3  # the first by itself, two of the three deviations in the others


def test_few_effective_directions_are_told():
    # An excess of one direction out of sixty: γ = 2·mean²/var of ½χ²₁ is 1.
    z = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.warns(UserWarning, match="comes from some 1 directions and not from all 60"):
        found = equipartition(lambda s: s * z.square() / 2, 60, max_iterations=9)
    assert found.effective == pytest.approx(1, rel=0.3)


def test_a_posteriors_own_shape_has_all_directions_effective():
    z = torch.randn(4000, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = equipartition(lambda s: s * z.square().sum(1) / 2, 60, max_iterations=9)
    assert found.effective == pytest.approx(60, rel=0.15)  # var of a variance of 4000: 2.2 %, of mean² less
    assert found.scale == pytest.approx(1, abs=4 * found.stderr)
