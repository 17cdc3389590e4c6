"""A warning names the line of the caller's that led to it, however deep in the library it was found."""

import pytest
import torch
from torch import nn

from bayessgd import SWAG, Ensemble, Subspace, optimum, reference, sample, snapshots, subspace_nuts
from bayessgd.likelihoods import Gaussian, GaussianPrior
from bayessgd.theory import LinearRegression

X = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double()
Y = X.sum(1, keepdim=True)
LAWS = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
FEW = {"num_samples": 8, "num_chains": 2, "progress": False}
SPACE = Subspace({"weight": torch.zeros(1, 2).double()}, torch.eye(2).double(), torch.ones(2).double())


def line():
    return nn.Linear(2, 1, bias=False).double()


def normalised():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def weights_of(net):
    return {name: p.detach()[None] for name, p in net.named_parameters()}


def trained_elsewhere():
    net = nn.Linear(2, 1)
    return SWAG(net), torch.optim.SGD([*net.parameters(), *nn.Linear(2, 1).parameters()], 0.1)


def attach():
    collector, optimizer = trained_elsewhere()
    collector.attach(optimizer)


CALLS = {
    "nuts": lambda: reference.nuts(line(), X, Y, **LAWS, **FEW),
    "subspace": lambda: subspace_nuts(line(), SPACE, X, Y, **LAWS, **FEW),
    "snapshots": lambda: snapshots(
        line(), X, Y, **LAWS, lr=0.5, batch_size=2, passes=5, num_draws=10, progress=False
    ),
    "sample": lambda: sample(optimum(line(), X, Y, **LAWS), **FEW),
    "module": lambda: Ensemble(weights_of(normalised())).module(normalised()),
    "attach": attach,
    "forecast": lambda: LinearRegression(X, Y[:, 0]).forecast(preconditioner=0.5, batch_size=1),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_line_is_the_callers(name):
    with pytest.warns(UserWarning, match=".") as told:
        CALLS[name]()
    ours = [
        warning for warning in told if warning.category is UserWarning
    ]  # torch's own deprecations are others
    assert {warning.filename for warning in ours} == {__file__}
    first = CALLS[name].__code__.co_firstlineno
    assert all(first <= warning.lineno <= first + 4 for warning in ours)
