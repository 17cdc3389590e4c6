import math

import pytest
import torch
from torch import nn

from bayessgd.likelihoods import Gaussian
from bayessgd.params import flatten
from bayessgd.posteriors import Ensemble
from bayessgd.priors import GaussianPrior
from bayessgd.subspace import Subspace, principal_subspace, subspace_nuts


def path(n=12, dtype=torch.float64, seed=0):
    random = torch.Generator().manual_seed(seed)
    draws = {
        "weight": torch.randn(n, 1, 4, generator=random, dtype=torch.float64),
        "bias": torch.randn(n, 1, generator=random, dtype=torch.float64),
    }
    return Ensemble({name: t.to(dtype) for name, t in draws.items()})


def test_components_are_those_of_the_covariance(dtype):
    iterates = path(dtype=dtype)
    space = principal_subspace(iterates, rank=3)
    flat = flatten(iterates.draws, iterates.mean).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    basis = space.basis.double()
    torch.testing.assert_close(basis.square().sum(1), values.flip(0)[:3], rtol=tolerance, atol=0)
    torch.testing.assert_close(
        basis.T @ basis,
        vectors[:, -3:] @ values[-3:].diag() @ vectors[:, -3:].T,
        rtol=tolerance,
        atol=tolerance,
    )
    torch.testing.assert_close(space.explained.double(), values.flip(0)[:3] / values.sum(), rtol=1e-5, atol=0)
    torch.testing.assert_close(flatten(space.mean), flatten(iterates.mean))


def test_all_components_reach_every_iterate():
    iterates = path(n=5)
    space = principal_subspace(iterates, rank=4)
    deviations = flatten(iterates.draws, iterates.mean) - flatten(space.mean)
    z = deviations @ space.basis.T / space.basis.square().sum(1)
    again = space.parameters(z)
    torch.testing.assert_close(again["weight"], iterates.draws["weight"])
    torch.testing.assert_close(again["bias"], iterates.draws["bias"])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:NUTS ended with")
@pytest.mark.parametrize(
    ("temperature", "scaled", "count"),
    [
        (4.0, False, 150),
        (1.0, True, 150),
        pytest.param(1.0, False, 500, marks=pytest.mark.slow),
        pytest.param(4.0, False, 500, marks=pytest.mark.slow),
    ],
)
def test_the_posterior_on_the_subspace_of_a_line(temperature, scaled, count):
    # y ~ N(xθ, ½²), θ = m + Bᵀz: z is Gaussian with precision B(xᵀx/(¼T) + 2·I)Bᵀ, or + I for a scaled prior.
    random = torch.Generator().manual_seed(1)
    x = torch.randn(30, 4, generator=random, dtype=torch.float64)
    y = x.sum(1, keepdim=True) + 0.5 * torch.randn(30, 1, generator=random, dtype=torch.float64)
    net = nn.Linear(4, 1, bias=False).double()
    mean = torch.ones(4, dtype=torch.float64)
    basis = torch.tensor([[0.3, 0.1, 0.0, 0.0], [0.0, 0.0, 0.2, -0.2]], dtype=torch.float64)
    space = Subspace({"weight": mean[None]}, basis, torch.ones(2).double())
    precision = basis @ (x.T @ x / (0.25 * temperature)) @ basis.T
    pull = basis @ x.T @ (y[:, 0] - x @ mean) / (0.25 * temperature)
    if scaled:
        precision += torch.eye(2, dtype=torch.float64)
    else:
        precision += 2 * basis @ basis.T
        pull -= 2 * basis @ mean
    found = subspace_nuts(
        net,
        space,
        x,
        y,
        likelihood=Gaussian(0.5),
        prior=GaussianPrior(2.0),
        temperature=temperature,
        scaled_prior=scaled,
        num_samples=count,
        progress=False,
    )
    deviations = found.draws["weight"][:, 0] - mean
    z = deviations @ basis.T / basis.square().sum(1)
    torch.testing.assert_close(z @ basis, deviations)  # nothing outside the subspace
    cov, ess = torch.linalg.inv(precision), found.origin["min_ess"]
    assert ((z.mean(0) - cov @ pull).abs() < 5 * (cov.diagonal() / ess).sqrt()).all()
    assert ((z.var(0) / cov.diagonal() - 1).abs() < 5 * math.sqrt(4 / ess)).all()
    assert ess > 120  # a factor of two in the variance would be seen
    assert found.chains == 2
    assert found.origin["subspace"] == 2


def test_the_network_is_left_alone():
    net = nn.Sequential(nn.Linear(1, 2), nn.Dropout(0.5), nn.Linear(2, 1)).train()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    like = dict(before)
    space = Subspace(like, 0.1 * torch.eye(7)[:2], torch.ones(2))
    x = torch.ones(4, 1)
    with pytest.warns(UserWarning, match="NUTS ended"):
        found = subspace_nuts(
            net,
            space,
            x,
            x,
            likelihood=Gaussian(1.0),
            prior=GaussianPrior(1.0),
            num_samples=20,
            num_chains=1,
            progress=False,
        )
    assert list(found.draws) == list(before)
    assert net.training
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


@pytest.mark.parametrize(
    ("iterates", "rank", "error", "message"),
    [
        (3, 1, TypeError, "iterates must be an Ensemble"),
        (path(4), 4, ValueError, "rank must be below 4"),
        (
            Ensemble({"w": torch.tensor([[0.0], [1.0], [2.0]])}),
            2,
            ValueError,
            "at most that of the iterates, 1",
        ),
    ],
)
def test_refusals(iterates, rank, error, message):
    with pytest.raises(error, match=message):
        principal_subspace(iterates, rank=rank)


LINE = Subspace({"weight": torch.zeros(1, 2)}, torch.eye(2), torch.ones(2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"subspace": torch.eye(2)},
            TypeError,
            "subspace must be a Subspace, got Tensor; use principal_subspace",
        ),
        (
            {"model": nn.Linear(3, 1, bias=False)},
            ValueError,
            "subspace must have the shape .* of another network",
        ),
        ({"model": nn.Sequential(nn.Linear(2, 1))}, ValueError, "subspace must be of the model's parameters"),
        ({"x": torch.full((3, 2), math.nan)}, ValueError, "x must be finite"),
        ({"y": torch.ones(2, 1)}, ValueError, "must have the same length, got 3 and 2"),
        ({"likelihood": 1.0}, TypeError, "likelihood must be one of"),
        ({"prior": 1.0}, TypeError, "prior must be one of"),
        ({"temperature": 0.0}, ValueError, "temperature must be finite and above 0"),
    ],
)
def test_refusals_of_sampling(change, error, message):
    arguments = {
        "model": nn.Linear(2, 1, bias=False),
        "subspace": LINE,
        "x": torch.ones(3, 2),
        "y": torch.ones(3, 1),
        "likelihood": Gaussian(1.0),
        "prior": GaussianPrior(1.0),
        **change,
    }
    with pytest.raises(error, match=message):
        subspace_nuts(**arguments, progress=False)


@pytest.mark.parametrize(
    ("mean", "basis", "error", "message"),
    [
        (torch.zeros(2), torch.eye(2), TypeError, "mean must be a dict from parameter name to tensor"),
        ({"weight": torch.zeros(1, 2)}, torch.ones(2), ValueError, r"basis must have shape \[k, p\]"),
        (
            {"weight": torch.zeros(1, 2)},
            torch.eye(3),
            ValueError,
            "a column for each of the mean's 2 parameters",
        ),
    ],
)
def test_refusals_of_directions(mean, basis, error, message):
    with pytest.raises(error, match=message):
        Subspace(mean, basis, torch.ones(1))


def test_iterates_that_stand_still_span_nothing():
    with pytest.raises(ValueError, match="iterates must move, got 3 that are all alike"):
        principal_subspace(Ensemble({"weight": torch.ones(3, 2)}), rank=2)
