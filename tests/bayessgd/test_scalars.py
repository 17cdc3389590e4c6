"""A parameter without dimensions (a gate, a temperature) is one with a single entry: the same numbers everywhere."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import bayessgd
from bayessgd import SWAG, Chains, Trajectory, noise
from bayessgd.likelihoods import Gaussian
from bayessgd.priors import GaussianPrior

LAWS: dict[str, Any] = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}


class Gated(nn.Module):
    """A line times a gate of the given shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(shape))
        self.line = nn.Linear(2, 1)
        with torch.no_grad():
            self.line.weight.copy_(torch.tensor([[0.5, -0.3]]))
            self.line.bias.fill_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x) * self.gate


def data() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=draw)
    return x, x.sum(1, keepdim=True) + torch.randn(60, 1, generator=draw)


def collected(net: nn.Module, kind: Any) -> Any:
    collector, draw = kind(net), torch.Generator().manual_seed(1)
    start = [p.detach().clone() for p in net.parameters()]
    for _ in range(8):
        for p, at in zip(net.parameters(), start, strict=True):
            p.data = (at.flatten() + 0.1 * torch.randn(p.numel(), generator=draw)).reshape(p.shape)
        collector.update()
    return collector.posterior()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def calibrated(net, directions):
    found = bayessgd.calibrate(
        net, collected(net, SWAG), *data(), **LAWS, directions=directions, generator=seeded()
    )
    return torch.tensor(found.scale)


def snapshots(net):
    sizes = {"lr": 0.01, "batch_size": 10, "passes": 9, "num_draws": 4}
    return bayessgd.snapshots(net, *data(), **LAWS, **sizes, progress=False).draws["gate"].flatten()


def in_subspace(net):
    plane = bayessgd.principal_subspace(collected(net, Trajectory), rank=2)
    found = bayessgd.subspace_nuts(net, plane, *data(), **LAWS, num_samples=8, num_chains=1, progress=False)
    return found.draws["gate"].flatten()


def temperature(net):
    optimum = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    found = bayessgd.effective_temperature(net, collected(net, Trajectory), *data(), **LAWS, optimum=optimum)
    return torch.tensor(found.value)


NUMBERS = {
    "predict": lambda net: bayessgd.predict(net, collected(net, SWAG), data()[0], generator=seeded()),
    "linearised": lambda net: bayessgd.predict(
        net, collected(net, SWAG), data()[0], generator=seeded(), linearised=True
    ),
    "calibrate, span": lambda net: calibrated(net, "span"),
    "calibrate, all": lambda net: calibrated(net, "all"),
    "snapshots": snapshots,
    "subspace": in_subspace,
    "temperature": temperature,
    "noise": lambda net: noise.gradient_noise(net, mse_loss, *data()).covariance,
    "chains": lambda net: Chains(net, 3, jitter=0.1, seed=0).loss(mse_loss, *data(), shared=True).detach(),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_parameter_without_dimensions_is_one_with_one_entry(number):
    without, single = (NUMBERS[number](Gated(shape)) for shape in ((), (1,)))
    torch.testing.assert_close(without, single, rtol=1e-4, atol=1e-5)
