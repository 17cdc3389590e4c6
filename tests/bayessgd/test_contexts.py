"""What samples by gradients gives the same inside what turns gradients, or half of the digits, off."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import bayessgd
from bayessgd import noise
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


def bank(net):
    return bayessgd.Ensemble({name: torch.stack([p, p + 1]).detach() for name, p in net.named_parameters()})


def at_zero(net):
    return {name: torch.zeros_like(p) for name, p in net.named_parameters()}


NUMBERS = {
    "predict": lambda net, x, y: bayessgd.predict(net, bank(net), x),
    "optimum": lambda net, x, y: bayessgd.optimum(net[0], x, y, **LAWS).params["weight"],
    "gradients": lambda net, x, y: noise.per_example_gradients(net, mse_loss, x, y)["2.weight"],
    "noise": lambda net, x, y: noise.gradient_noise(net, mse_loss, x, y).covariance,
    "hessian": lambda net, x, y: noise.hessian(net, mse_loss, x, y).matrix(),
    "Gauss-Newton": lambda net, x, y: noise.gauss_newton(net, mse_loss, x, y).matrix(),
    "temperature": lambda net, x, y: torch.tensor(
        bayessgd.effective_temperature(net, bank(net), x, y, **LAWS, optimum=at_zero(net)).value
    ),
    "module": lambda net, x, y: bank(net).module(net, refresh_batchnorm=x)[1].running_var,
}


@pytest.mark.parametrize("context", CONTEXTS, ids=["no_grad", "inference_mode", "autocast"])
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.filterwarnings("ignore:model has BatchNorm", "ignore:optimum is found in float32")
def test_numbers_are_those_of_outside(number, context):
    (x, y), of = data(), NUMBERS[number]
    net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1), nn.Linear(1, 1)).eval()
    before = of(net, x, y)
    with context():
        inside = of(net, x, y)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, before)
