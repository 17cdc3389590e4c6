import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import bayessgd
from bayessgd import optimum, sample, samplers, theory
from bayessgd.likelihoods import Gaussian, GaussianPrior, Poisson
from bayessgd.params import flatten


def regression(n=1000, p=2, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    x = (
        torch.randn(n, p, dtype=torch.float64, generator=random)
        @ torch.tensor([[1.0, 0.5], [0.0, 0.8]]).double()
    )
    y = x.sum(1, keepdim=True) + torch.randn(n, 1, dtype=torch.float64, generator=random)
    model = nn.Linear(p, 1, bias=False).to(dtype)
    return optimum(model, x.to(dtype), y.to(dtype), likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda at: None, marks=pytest.mark.slow),
        samplers.exact_sgd,
        samplers.corrected,
        samplers.control_variate,
    ],
    ids=["default", "exact", "corrected", "control variate"],
)
def test_the_draws_have_the_closed_forms_mean_and_covariance(make):
    at = regression()
    before = at.model.weight.clone()
    found = sample(at, make(at), num_samples=8, num_chains=400, progress=False)
    draws, n = flatten(found.draws, at.params), found.origin["min_ess"]
    assert draws.shape == (3200, 2)
    assert found.chains == 400
    assert n > 1000
    white = torch.linalg.solve_triangular(at.root, (draws - flatten(at.params)).mT, upper=False)
    # In standard deviations; four Monte-Carlo errors, and C at the mode instead of over the posterior, p/N = .2 %.
    assert float(white.mean(1).abs().max()) < 4 / n**0.5
    error = 4 * (2 / n) ** 0.5 + 0.005
    assert float((white.cov() - torch.eye(2)).abs().max()) < error
    assert error < 0.18  # a factor of two would be seen
    assert found.origin["left"] == 0
    assert torch.equal(at.model.weight, before)


@pytest.mark.usefixtures("unchecked")
def test_means_of_windows_are_the_sandwich():
    at = regression()
    made = samplers.iterate_averaging(at, batch_size=50)
    found = sample(at, made, num_samples=5, num_chains=400, progress=False)
    draws, n = flatten(found.draws, at.params), found.origin["min_ess"]
    want = theory.iterate_average_covariance(
        at.curvature, at.noise, num_iterates=20, batch_size=50, preconditioner=made.preconditioner
    )
    ratio = draws.var(0) / want.diagonal()
    assert float((ratio - 1).abs().max()) < 4 * (2 / n) ** 0.5 + 0.005


@pytest.mark.usefixtures("unchecked")
def test_it_is_the_same_for_the_same_seed_and_tells_its_price():
    at = regression(200)
    made = replace(samplers.corrected(at, batch_size=20), burn_in=10)
    one, two, other = (
        sample(at, made, num_samples=4, num_chains=200, seed=s, progress=False) for s in (1, 1, 2)
    )
    assert torch.equal(one.draws["weight"], two.draws["weight"])
    assert not torch.equal(one.draws["weight"], other.draws["weight"])
    steps = made.burn_in + 4 * made.thin
    assert one.origin["passes"] == at.passes + steps * 20 * 200 / 200
    assert one.by_chain()["weight"].shape == (200, 4, 1, 2)


def test_the_draws_predict_and_are_saved(tmp_path):
    at = regression(200)
    found = sample(at, num_samples=4, num_chains=200, progress=False)
    assert found.origin["sampler"] == samplers.corrected(at).name
    found.save(tmp_path / "draws.safetensors")
    again = bayessgd.load(tmp_path / "draws.safetensors")
    assert again.origin == found.origin
    assert bayessgd.predict(at.model, again, at.x[:3], num_samples=800).shape == (800, 3, 1)


@pytest.mark.usefixtures("unchecked")
def test_few_draws_are_told_and_more_are_enough():
    at = regression(200)
    with pytest.warns(UserWarning, match="effective draws of the worst parameter.*raise num_samples"):
        sample(at, num_samples=4, num_chains=4, progress=False)
    sample(at, num_samples=4, num_chains=200, progress=False)


@pytest.mark.usefixtures("unchecked")
def test_refusals_of_chains_that_diverge_and_the_remedy():
    """Counts of a wide law: a step of three times what is stable runs away; a smaller share stays."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, dtype=torch.float64, generator=random)
    y = torch.poisson((x.sum(1, keepdim=True)).exp(), generator=random)
    at = optimum(nn.Linear(2, 1).double(), x, y, likelihood=Poisson(), prior=GaussianPrior(1.0))
    made = samplers.corrected(at)
    wild = replace(made, preconditioner=8 * made.preconditioner)
    with pytest.raises(ValueError, match="chains diverged; take a smaller share"):
        sample(at, wild, num_samples=4, num_chains=25, progress=False)
    found = sample(at, samplers.corrected(at, share=0.2), num_samples=4, num_chains=250, progress=False)
    assert found.origin["left"] == 0


def test_refusals():
    at = regression(200)
    with pytest.raises(TypeError, match=r"at must be what bayessgd.optimum returns"):
        sample(at.model)
    with pytest.raises(TypeError, match=r"got Optimum and function"):
        sample(at, samplers.corrected)
    with pytest.raises(ValueError, match="num_chains must be at least 1"):
        sample(at, num_chains=0)


def test_refusals_of_a_step_that_float32_cannot_hold():
    at = regression(200)
    made = samplers.corrected(at)
    # A long step and a tiny one that is not along an axis: float32 rounds the tiny one away.
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    H = turn @ torch.diag(torch.tensor([1.0, 1e-9], dtype=torch.float64)) @ turn.T
    narrow = replace(
        at, model=copy.deepcopy(at.model).float(), params={"weight": at.params["weight"].float()}
    )
    narrow = replace(narrow, x=at.x.float(), y=at.y.float())
    with pytest.raises(ValueError, match=r"must be representable in the parameters' torch.float32.*float64"):
        sample(narrow, replace(made, preconditioner=H, injected=None), progress=False)
