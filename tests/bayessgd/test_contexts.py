"""What samples by gradients gives the same inside what turns gradients, or half of the digits, off."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

import bayessgd
from bayessgd.likelihoods import Gaussian
from bayessgd.priors import GaussianPrior

LAWS = {"likelihood": Gaussian(0.5), "prior": GaussianPrior(1.0)}
CONTEXTS = [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
QUIET = ("ignore:not at equilibrium", "ignore:NUTS ended with", "ignore:corrected SGD has")
pytestmark = [
    pytest.mark.filterwarnings(words) for words in QUIET
]  # so few draws are too few, and it says so


def data():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, generator=draw)
    return x, x.sum(1, keepdim=True) + 0.5 * torch.randn(40, 1, generator=draw)


def snapshots(net, x, y):
    return bayessgd.snapshots(
        net, x, y, **LAWS, lr=0.01, batch_size=20, passes=10, num_draws=5, seed=0, progress=False
    )


def nuts(net, x, y):
    return bayessgd.reference.nuts(
        net, x, y, **LAWS, num_samples=4, num_warmup=4, num_chains=1, seed=0, progress=False
    )


def sample(net, x, y):
    at = bayessgd.optimum(net, x, y, **LAWS)
    short = replace(bayessgd.samplers.corrected(at), burn_in=5, thin=2)
    return bayessgd.sample(at, short, num_samples=4, num_chains=2, seed=0, progress=False)


def problem():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(2, 1).double()
    return net, *(t.double() for t in data())


@cache
def outside(sampled):
    return sampled(*problem()).draws


@pytest.mark.parametrize("context", CONTEXTS, ids=["no_grad", "inference_mode", "autocast"])
@pytest.mark.parametrize("sampled", [snapshots, nuts, sample])
def test_samples_are_those_of_outside(sampled, context):
    net, x, y = problem()
    plain = outside(sampled)
    with context():
        inside = sampled(net, x, y).draws
    for name, draws in plain.items():
        assert torch.equal(draws, inside[name]), name


def averages(net, x, y):
    law = bayessgd.Ensemble({name: torch.stack([p, p + 1]).detach() for name, p in net.named_parameters()})
    return bayessgd.predict(net, law, x)


@pytest.mark.parametrize("context", CONTEXTS, ids=["no_grad", "inference_mode", "autocast"])
def test_predictions_are_those_of_outside(context):
    net, (x, y) = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), data()
    before = averages(net, x, y)
    with context():
        inside = averages(net, x, y)
    assert inside.dtype == torch.float32
    assert not inside.is_inference()
    assert torch.equal(inside, before)
