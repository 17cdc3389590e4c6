import math

import pytest
import torch
from torch import nn

from bayessgd.calibration import calibrate
from bayessgd.likelihoods import Bernoulli, Categorical, Gaussian
from bayessgd.posteriors import LowRankGaussian
from bayessgd.predict import predict
from bayessgd.priors import FlatPrior, GaussianPrior
from tests.bayessgd.calibration.problems import D, Regression


@pytest.fixture
def regression():
    return Regression()


def covariance(law):
    return law.to_distribution().covariance_matrix


def test_the_whole_posterior_of_a_regression_whose_directions_are_all_in_the_span(regression):
    # Deviations of any shape and length: only their span matters.
    rows = torch.randn(9, D, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [1e-3, 1.0, 30.0, 0.1]
    )
    found = calibrate(regression.net, regression.spanned(rows), regression.x, regression.y, **regression.laws)
    exact = torch.linalg.inv(60 * regression.A)
    torch.testing.assert_close(covariance(found.posterior), exact, rtol=1e-5, atol=1e-6 * float(exact.max()))
    assert (found.directions, found.dropped, found.stderr) == (D, 0, 0.0)
    assert abs(found.ratio - 1) < 4 * found.ratio_stderr


def moved(regression, step):
    """All directions in the span, and a mean that is a step off the optimum, [D]."""
    law = regression.spanned(torch.eye(D))
    mean = {"weight": regression.mean + step}
    return LowRankGaussian(mean, law.variance, law.deviations)


def test_a_mean_off_the_minimum_is_told_in_posterior_deviations(regression):
    """shift² = dᵀNAd/K, d the step; each draw's odd part is N(0, dᵀNAd), its square has a variance of 2."""
    step = torch.tensor([0.3, -0.1, 0.2, 0.1], dtype=torch.float64)
    step *= 2 * (D / (step @ (60 * regression.A) @ step)).sqrt()  # two deviations
    given = regression.net, moved(regression, step), regression.x, regression.y
    found = calibrate(*given, **regression.laws, num_samples=400, generator=torch.Generator().manual_seed(0))
    pairs = 300 // D  # see quadratic.ENOUGH
    assert found.shift**2 == pytest.approx(4, rel=4 * math.sqrt(2 / pairs))
    assert abs(found.ratio - 1) < 4 * found.ratio_stderr
    torch.testing.assert_close(found.posterior.mean["weight"], (regression.mean + step))
    at_minimum = calibrate(regression.net, moved(regression, 0.0), *given[2:], **regression.laws)
    assert at_minimum.shift == pytest.approx(0, abs=1e-6)


def test_a_mean_far_off_is_warned_of_and_the_remedy_is_right(regression):
    given = regression.x, regression.y
    with pytest.warns(
        UserWarning, match="posterior deviations from the minimum of U .* train on with the loss"
    ):
        calibrate(regression.net, moved(regression, 3.0), *given, **regression.laws)
    # Trained on with that loss, here by Newton's step.
    slope = 60 * regression.A @ torch.full((D,), 3.0, dtype=torch.float64)
    newton = torch.full((D,), 3.0, dtype=torch.float64) - torch.linalg.solve(60 * regression.A, slope)
    assert calibrate(regression.net, moved(regression, newton), *given, **regression.laws).shift < 1e-6


def test_a_part_of_the_data_has_a_minimum_of_its_own():
    """Of n data among N it is off by √(N/n − 1) deviations: 3 for a tenth, which is no reason to warn."""
    found = []
    for seed in range(8):
        random = torch.Generator().manual_seed(seed)
        whole = Regression(n=2000)
        law = moved(whole, 0.0)
        laws = {**whole.laws, "curvature_data": 200, "generator": random}
        found.append(calibrate(whole.net, law, whole.x, whole.y, **laws).shift)
    square = torch.tensor(found).square().mean()
    # The sum over 8 parts of D squares each of variance 2, and the draws' own 2/75.
    assert float(square) == pytest.approx(9, rel=4 * math.sqrt(2 / (8 * D) + 2 / 600))


def test_within_a_smaller_span_the_posterior_given_the_rest(regression):
    # On the affine subspace m + span(V) the posterior's covariance is V(VᵀNAV)⁻¹Vᵀ: conditional, not marginal.
    rows = torch.randn(2, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = calibrate(
        regression.net, regression.spanned(rows, 1e-14), regression.x, regression.y, **regression.laws
    )
    exact = rows.T @ torch.linalg.inv(rows @ (60 * regression.A) @ rows.T) @ rows
    torch.testing.assert_close(covariance(found.posterior), exact, rtol=1e-5, atol=1e-6 * float(exact.max()))


def test_outside_the_span_the_iterates_own_diagonal(regression):
    rows = torch.zeros(3, D)
    rows[:, 0] = torch.tensor([1.0, -1.0, 2.0])
    law = LowRankGaussian(
        regression.optimum,
        {"weight": torch.full((1, D), 0.3, dtype=torch.float64)},
        {"weight": rows[:, None].double()},
        scale=0.5,
    )
    found = calibrate(regression.net, law, regression.x, regression.y, **regression.laws)
    variance = found.posterior.marginal_variance["weight"][0]
    assert float(variance[0]) == pytest.approx(1 / float(60 * regression.A[0, 0]), rel=1e-6)
    torch.testing.assert_close(variance[1:], torch.full((D - 1,), 0.15, dtype=torch.float64))
    assert found.scale == pytest.approx(float(variance[0]) / (0.5 * (0.3 + 6 / 2)), rel=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_part_of_the_data_counts_for_all_with_an_error(regression):
    big = Regression(n=3000)
    rows = torch.eye(D)
    laws = {**big.laws, "generator": torch.Generator().manual_seed(0)}
    whole = calibrate(big.net, big.spanned(rows), big.x, big.y, **laws, curvature_data=3000)
    found = [
        calibrate(big.net, big.spanned(rows), big.x, big.y, **laws, curvature_data=500) for _ in range(20)
    ]
    off = torch.tensor([math.log(f.scale / whole.scale) for f in found])
    told = torch.tensor([f.stderr / f.scale for f in found]).square().mean().sqrt()
    assert abs(float(off.mean())) < 4 * float(told) / math.sqrt(20)
    assert float(off.square().mean().sqrt()) == pytest.approx(
        float(told), rel=0.6
    )  # 20 runs: 16 %, its own error more


def test_weights_that_never_moved_change_nothing():
    # The three witnesses in one: idle weights beside one that moves; the truth is 1/N over a variance of 1/1000.
    random = torch.Generator().manual_seed(0)
    x = torch.randn(500, 1, generator=random).sign()
    y = 0.3 * x + torch.randn(500, 1, generator=random)
    for idle in (0, 9, 400):
        net = nn.Linear(1 + idle, 1, bias=False)
        mean, variance = torch.zeros(1, 1 + idle), torch.zeros(1, 1 + idle)
        mean[0, 0], variance[0, 0] = (x * y).mean(), 1e-3
        law = LowRankGaussian({"weight": mean}, {"weight": variance})
        inputs = torch.cat([x, torch.zeros(500, idle)], 1)
        found = calibrate(net, law, inputs, y, likelihood=Gaussian(1.0), prior=FlatPrior())
        assert found.scale == pytest.approx(2, rel=1e-5)
        assert float(found.posterior.marginal_variance["weight"][0, 0]) == pytest.approx(1 / 500, rel=1e-5)


def test_refused_without_deviations_and_the_remedy_arrives(gen):
    net = nn.Linear(300, 1, bias=False)
    x, y = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)), torch.zeros(50, 1)
    laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    mean = {"weight": torch.zeros(1, 300)}
    law = LowRankGaussian(mean, {"weight": torch.ones(1, 300)})
    with pytest.raises(ValueError, match=r"got a diagonal Gaussian of 300 moving weights; collect with SWAG"):
        calibrate(net, law, x, y, **laws)
    rows = torch.randn(40, 1, 300, generator=torch.Generator().manual_seed(1))
    found = calibrate(net, LowRankGaussian(mean, law.variance, rows_of(rows)), x, y, generator=gen, **laws)
    assert found.directions == 40
    assert abs(found.ratio - 1) < 4 * found.ratio_stderr


def rows_of(rows):
    return {"weight": rows}


class Wall(nn.Module):
    """w₁ + c·w₂³: quadratic in one direction, of sixth order in the other, where the curvature at 0 is the prior's."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, x):
        return self.w[0] * x + 10 * self.w[1] ** 3 * x


def test_a_direction_in_which_the_quadratic_fails_is_dropped_and_told():
    x, y = torch.ones(100, 1, dtype=torch.float64), torch.zeros(100, 1, dtype=torch.float64)
    law = LowRankGaussian(
        {"w": torch.zeros(2, dtype=torch.float64)},
        {"w": torch.full((2,), 1e-4, dtype=torch.float64)},
        {"w": torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)},
    )
    laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    found = calibrate(Wall(), law, x, y, **laws, generator=torch.Generator().manual_seed(0))
    assert (found.directions, found.dropped) == (1, 1)
    assert found.ratio < 3
    variance = found.posterior.marginal_variance["w"]
    assert float(variance[0]) == pytest.approx(1 / 101, rel=1e-6)
    assert float(variance[1]) == pytest.approx(1e-4, rel=1e-6)  # its own, not the prior's 1


def test_nowhere_a_quadratic_is_told(gen):
    x, y = torch.zeros(100, 1, dtype=torch.float64), torch.zeros(100, 1, dtype=torch.float64)

    class Box(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, x):
            return x + 1e3 * self.w.pow(3).sum()

    law = LowRankGaussian({"w": torch.zeros(2).double()}, {"w": torch.full((2,), 1e-4).double()})
    with pytest.warns(UserWarning, match="along any of the 2 directions"):
        found = calibrate(Box(), law, x, y, likelihood=Gaussian(0.1), prior=GaussianPrior(1.0), generator=gen)
    torch.testing.assert_close(found.posterior.marginal_variance["w"], torch.full((2,), 1e-4).double())


def test_a_mean_that_is_no_minimum_is_told():
    # U falls on both sides of the mean, though the curvature of Gauss and Newton cannot see it.
    class Ridge(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return self.w.square() + self.w + x

    x = torch.zeros(50, 1, dtype=torch.float64)
    law = LowRankGaussian({"w": torch.zeros(1).double()}, {"w": torch.full((1,), 0.1).double()})
    with pytest.warns(UserWarning, match="the mean is no minimum there"):
        calibrate(Ridge(), law, x, x + 1, likelihood=Gaussian(1.0), prior=FlatPrior())


def logistic(n, scale, seed):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=random, dtype=torch.float64)
    y = (torch.rand(n, 1, generator=random) < (scale * x.sum(1, keepdim=True)).sigmoid()).double()
    return x, y


def test_held_out_data_accept_a_width_that_helps():
    # The mean is overconfident by a factor of three: a width cures that, and the gain is what predict then has.
    (x, y), (more, targets) = logistic(200, 1.0, 0), logistic(2000, 1.0, 1)
    net = nn.Linear(3, 1, bias=False).double()
    law = LowRankGaussian(
        {"weight": torch.full((1, 3), 3.0, dtype=torch.float64)},
        {"weight": torch.full((1, 3), 1e-4).double()},
    )
    random = torch.Generator().manual_seed(0)
    laws = {"likelihood": Bernoulli(), "prior": GaussianPrior(1.0)}
    found = calibrate(net, law, x, y, **laws, held_out=(more, targets), num_samples=100, generator=random)
    assert found.factor >= 10
    assert found.gain > found.gain_stderr > 0
    draws = predict(net, found.posterior, more, num_samples=400, generator=random)
    mean = predict(net, law, more, num_samples=1)[0] * 0 + more @ law.mean["weight"].T
    score = nn.functional.binary_cross_entropy
    gain = score(mean.sigmoid(), targets) - score(draws.sigmoid().mean(0), targets)
    assert float(gain) == pytest.approx(found.gain, rel=0.2)
    assert found.held_out is not None
    assert found.held_out.scores[0.0] == pytest.approx(-float(score(mean.sigmoid(), targets)), rel=1e-6)


def test_held_out_data_that_accept_no_width_leave_the_mean_and_say_so():
    # Targets that the mean predicts exactly: any width is a loss.
    x, y = logistic(200, 1.0, 0)
    net = nn.Linear(3, 1, bias=False).double()
    law = LowRankGaussian(
        {"weight": torch.ones(1, 3, dtype=torch.float64)}, {"weight": torch.full((1, 3), 1e-4).double()}
    )
    more = torch.randn(500, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    laws = {"likelihood": Bernoulli(), "prior": GaussianPrior(1.0)}
    soft = more.sum(1, keepdim=True).sigmoid()
    with pytest.warns(UserWarning, match="held-out data accept no width"):
        found = calibrate(net, law, x, y, **laws, held_out=(more, soft))
    assert (found.factor, found.scale) == (0.0, 0.0)
    assert found.gain < found.gain_stderr
    assert all(not bool(v.any()) for v in found.posterior.marginal_variance.values())


@pytest.mark.filterwarnings("ignore:the mean is .* deviations from the minimum")  # it is where the start was
def test_batchnorm_is_refreshed_wherever_draws_are_evaluated():
    # Behind BatchNorm the first layer's scale is without effect: a function of θ and of statistics that follow θ.
    random = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=random)
    y = torch.randint(2, (64,), generator=random)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    laws = {"likelihood": Categorical(), "prior": GaussianPrior(1e4), "refresh_batchnorm": [x]}
    mean = {name: p.detach() for name, p in net.named_parameters()}
    along = {name: torch.zeros(2, *p.shape) for name, p in mean.items()}
    along["0.weight"] = torch.stack([mean["0.weight"], torch.zeros(4, 3)])
    law = LowRankGaussian(mean, {name: torch.zeros_like(p) for name, p in mean.items()}, along)
    found = calibrate(net, law, x, y, **laws)
    # Along its own scale the likelihood has no curvature, so that the variance is the prior's (up to BatchNorm's ε).
    assert found.directions == 1
    total = sum(float(v.sum()) for v in found.posterior.marginal_variance.values())
    assert total == pytest.approx(1e-4, rel=0.02)


@pytest.mark.filterwarnings("ignore:the mean is .* deviations from the minimum")  # it is where the start was
def test_autocast_changes_nothing(gen):
    # By differences, where half precision would leave hardly a digit of the curvature.
    x, y = torch.randn(64, 3, generator=gen), torch.randint(2, (64,), generator=gen)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    mean = {name: p.detach() for name, p in net.named_parameters()}
    rows = {name: torch.randn(3, *p.shape, generator=gen) for name, p in mean.items()}
    law = LowRankGaussian(mean, {name: torch.zeros_like(p) for name, p in mean.items()}, rows)
    laws = {"likelihood": Categorical(), "prior": GaussianPrior(1e4), "refresh_batchnorm": [x]}
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(calibrate(net, law, x, y, **laws, generator=torch.Generator().manual_seed(0)))
    assert found[0].scale == found[1].scale
    assert found[0].ratio == found[1].ratio


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"directions": "some"}, ValueError, "directions must be 'span' or 'all', got 'some'"),
        ({"curvature_data": 0}, ValueError, "curvature_data must be at least 1"),
        ({"held_out": 3}, TypeError, "held_out must be a pair of inputs and targets, got int"),
        (
            {"held_out": (torch.ones(1, D).double(), torch.ones(1, 1).double())},
            ValueError,
            "held_out must have at least 2 data",
        ),
        ({"posterior": 3}, TypeError, "posterior must be a LowRankGaussian"),
        ({"num_samples": 1}, ValueError, "num_samples must be at least 2"),
        ({"num_data": 59}, ValueError, "num_data must be at least 60, got 59"),
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
