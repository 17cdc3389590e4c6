import copy

import pytest
import torch
from torch import nn

import bayessgd
from bayessgd import optimum, theory
from bayessgd.likelihoods import (
    Bernoulli,
    Categorical,
    FlatPrior,
    Gaussian,
    GaussianLogScale,
    GaussianPrior,
    JointLikelihood,
    LearnedScale,
    Poisson,
)
from bayessgd.params import flatten


def data(n=40, p=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, dtype=torch.float64, generator=random)
    return x, x.sum(1, keepdim=True) + torch.randn(n, 1, dtype=torch.float64, generator=random)


def line(p=3):
    model = nn.Linear(p, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    return model


def test_of_a_linear_model_it_is_ridge_regression():
    x, y = data()
    model = line()
    at = optimum(model, x, y, likelihood=Gaussian(0.5), prior=GaussianPrior(2.0))
    known = theory.LinearRegression(x, y[:, 0], noise_precision=4.0, prior_precision=2.0)
    torch.testing.assert_close(at.params["weight"][0], known.optimum)
    torch.testing.assert_close(at.curvature, known.curvature)
    torch.testing.assert_close(at.noise, known.noise(torch.zeros(3, 3, dtype=torch.float64)))
    precision = 4 * x.T @ x + 2 * torch.eye(3)
    torch.testing.assert_close(at.covariance, torch.linalg.inv(precision))
    torch.testing.assert_close(at.root @ at.root.T, at.covariance)
    assert at.passes == 8  # 3 + 1 to the optimum of a quadratic, and as many to find nothing left
    assert torch.equal(model.weight, torch.zeros(1, 3))
    far = at.distances(flatten(at.params) + 3 * at.root[:, 2])
    assert float(far) == pytest.approx(3)


@pytest.mark.parametrize(
    ("likelihood", "target"),
    [
        (Bernoulli(), lambda y: (y > 0).double()),
        (Poisson(), lambda y: (y.abs() * 2).floor()),
        (Gaussian(1.0), lambda y: y),
    ],
)
def test_the_slope_is_zero_there_from_any_ordinary_start(likelihood, target):
    x, y = data(60)
    for start in (0.0, 2.0, -2.0):
        model = line()
        nn.init.constant_(model.weight, start)
        at = optimum(model, x, target(y), likelihood=likelihood, prior=GaussianPrior(1.0))
        slope = torch.func.grad(lambda t, a=at: a.loss(a.model, t, a.x, a.y))(at.params)["weight"]
        # In widths of the posterior.
        assert float((at.root.T @ slope[0] * 60).abs().max()) < 1e-6


def test_a_learned_scale_stands_first_in_the_flat_order_and_the_slices_say_so():
    x, y = data()
    at = optimum(
        LearnedScale(line()),
        x,
        y,
        likelihood=GaussianLogScale(),
        prior=GaussianPrior({"log_scale": 1.0, "model.weight": 1e-9}),
    )
    assert at.slices == {"log_scale": slice(0, 1), "model.weight": slice(1, 4)}
    fit = torch.linalg.lstsq(x, y).solution
    torch.testing.assert_close(at.params["model.weight"], fit.T, rtol=1e-6, atol=1e-6)
    sigma = at.params["log_scale"].exp()
    block = at.curvature[at.slices["model.weight"], at.slices["model.weight"]]
    torch.testing.assert_close(block, x.T @ x / sigma**2 / 40, rtol=1e-6, atol=1e-8)


def test_a_frozen_part_stays_and_names_are_the_bare_networks():
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    net[0].requires_grad_(False)
    x, y = data()
    at = optimum(
        torch.compile(net, backend="eager"), x, y, likelihood=Gaussian(1.0), prior=GaussianPrior(1.0)
    )
    assert list(at.params) == ["2.weight", "2.bias"]
    hidden = torch.cat([net[:2](x), torch.ones(40, 1)], 1).detach().double()
    known = theory.LinearRegression(hidden, y[:, 0], noise_precision=1.0, prior_precision=1.0)
    torch.testing.assert_close(flatten(at.params), known.optimum)


def test_refusals_and_their_remedies():
    x, y = data()
    laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    # Collinear features have no optimum under a flat prior; a prior that is not flat makes one.
    twice = torch.cat([x, x], 1)
    with pytest.raises(ValueError, match=r"a prior that is not flat|centre and scale"):
        optimum(line(6), twice, y, likelihood=Gaussian(1.0), prior=FlatPrior())
    optimum(line(6), twice, y, **laws)
    # Separable labels: the slope goes on for ever.
    with pytest.raises(ValueError, match=r"within max_iterations=30 Newton steps.*not flat"):
        optimum(
            line(), x, (x[:, :1] > 0).double(), likelihood=Bernoulli(), prior=FlatPrior(), max_iterations=30
        )
    optimum(line(), x, (x[:, :1] > 0).double(), likelihood=Bernoulli(), prior=GaussianPrior(1.0))
    # Far from the data the derivatives overflow.
    lost = line()
    nn.init.constant_(lost.weight, 1e4)
    counts = (y.abs() * 2).floor()
    with pytest.raises(ValueError, match=r"finite derivatives .* start nearer to the data"):
        optimum(lost, x, counts, likelihood=Poisson(), prior=GaussianPrior(1.0))
    optimum(line(), x, counts, likelihood=Poisson(), prior=GaussianPrior(1.0))
    with pytest.raises(ValueError, match=r"one term per datum here.*reference\.nuts"):
        optimum(line(), x, y, likelihood=JointLikelihood(Gaussian(1.0)), prior=GaussianPrior(1.0))
    with pytest.raises(ValueError, match=r"at most 4096 parameters, got 5000.*snapshots"):
        optimum(line(5000), torch.zeros(2, 5000).double(), torch.zeros(2, 1).double(), **laws)
    with pytest.raises(ValueError, match="x must be finite"):
        optimum(line(), x / 0, y, **laws)
    with pytest.raises(ValueError, match="max_iterations must be at least 1"):
        optimum(line(), x, y, **laws, max_iterations=0)
    # Several inputs: what the message names takes them.
    inputs = {"input": x}
    for several in (inputs, (x,)):
        with pytest.raises(TypeError, match=r"x must be one tensor here.*reference\.nuts.*snapshots"):
            optimum(line(), several, y, **laws)
    few = {"num_samples": 4, "num_warmup": 4, "num_chains": 1, "seed": 0, "progress": False}
    with pytest.warns(UserWarning, match="NUTS ended"):
        found = bayessgd.reference.nuts(line(), inputs, y, **laws, **few)
    with pytest.warns(UserWarning, match="NUTS ended"):
        same = bayessgd.reference.nuts(line(), x, y, **laws, **few)
    assert torch.equal(found.draws["weight"], same.draws["weight"])


def test_float32_is_told_and_float64_is_the_remedy():
    x, y = data(400)
    x[:, 1] = x[:, 0] + 1e-3 * x[:, 1]  # a condition of some 1e7
    narrow = line().float()
    laws = {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    with pytest.raises((ValueError, UserWarning), match=r"torch.float32.*use float64: model.double\(\)"):
        optimum(narrow, x.float(), y.float(), **laws)
    # Beyond what Newton's steps tell of rounding, they go on without an end: float64 is named all the same.
    worse = torch.cat([1e3 * x[:, :1], 1e3 * x[:, :1] + 0.1 * x[:, 2:], x[:, :1]], 1)
    with pytest.raises((ValueError, UserWarning), match=r"use float64: model.double\(\)"):
        optimum(narrow, worse.float(), y.float(), likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))
    wide = copy.deepcopy(narrow).double()
    at = optimum(wide, x, y, **laws)
    torch.testing.assert_close(at.params["weight"].T, torch.linalg.lstsq(x, y).solution, rtol=1e-6, atol=1e-6)


def test_float32_is_good_enough_where_nothing_is_hidden():
    x, y = data(100)
    model = nn.Linear(3, 2)
    labels = (y[:, 0] > 0).long()
    laws = {"likelihood": Categorical(), "prior": GaussianPrior(1.0)}
    at = optimum(model, x.float(), labels, **laws)
    wide = optimum(copy.deepcopy(model).double(), x, labels, **laws)
    # To a thousandth of the posterior's width, which is what it promises.
    away = flatten(at.params).double() - flatten(wide.params)
    assert float((away / wide.covariance.diagonal().sqrt()).abs().max()) < 2e-3


def test_a_network_without_forward_mode_is_refused():
    net, x = nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)), torch.randn(6, 2)
    with pytest.raises(
        ValueError, match=r"forward-mode differentiation .*use bayessgd.snapshots or reference.nuts"
    ):
        optimum(net, x, x[:, :1], likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))
