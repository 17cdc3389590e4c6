"""Networks whose forward pass writes into its input: right numbers, and the user's data as they were."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import bayessgd
from bayessgd import Chains, Ensemble, noise
from bayessgd.likelihoods import Gaussian
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import GaussianPrior

LAWS: dict[str, Any] = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}


class Doubling(nn.Linear):
    """Doubles its input in place, as a normalisation with `inplace=True` does."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.mul_(2))


def gaussian(net: nn.Module) -> LowRankGaussian:
    named = {name: p.detach() for name, p in net.named_parameters()}
    return LowRankGaussian(named, {name: torch.full_like(p, 0.01) for name, p in named.items()})


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def nuts(net, x, y):
    found = bayessgd.reference.nuts(
        net, x, y, **LAWS, num_samples=8, num_warmup=8, num_chains=1, progress=False, trace=False
    )
    return found.draws["weight"]


def snapshots(net, x, y):
    sizes = {"lr": 0.01, "batch_size": 10, "passes": 5, "num_draws": 4}
    return bayessgd.snapshots(net, x, y, **LAWS, **sizes, progress=False).draws["weight"]


def losses(net, x, y):
    chains = Chains(net, 3, seed=0)
    return chains.loss(mse_loss, x, y, shared=True).detach()


NUMBERS = {
    "predict": lambda net, x, y: bayessgd.predict(
        net, Ensemble(gaussian(net).sample(3, generator=seeded())), x
    ),
    "predict, linearised": lambda net, x, y: bayessgd.predict(
        net, gaussian(net), x, linearised=True, generator=seeded()
    ),
    "calibrate": lambda net, x, y: torch.tensor(
        bayessgd.calibrate(net, gaussian(net), x, y, **LAWS, generator=seeded()).scale
    ),
    "optimum": lambda net, x, y: bayessgd.optimum(net, x, y, **LAWS).params["weight"],
    "nuts": nuts,
    "snapshots": snapshots,
    "hessian": lambda net, x, y: noise.hessian(net, mse_loss, x, y).matrix(),
    "gradients": lambda net, x, y: noise.per_example_gradients(net, mse_loss, x, y)["weight"],
    "noise": lambda net, x, y: noise.gradient_noise(net, mse_loss, x, y).covariance,
    "chains": losses,
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.filterwarnings("ignore:not at equilibrium", "ignore:NUTS ended with")
def test_a_forward_pass_that_writes_into_its_input_changes_no_data(name, gen):
    x, y = torch.randn(40, 2, generator=gen), torch.randn(40, 1, generator=gen)
    plain = nn.Linear(2, 1)
    net = Doubling(2, 1)
    net.load_state_dict(plain.state_dict())
    before = x.clone()
    expected = NUMBERS[name](plain, 2 * x, y)
    found = NUMBERS[name](net, x, y)
    assert torch.equal(x, before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_chains_of_a_loop_do_not_write_into_each_others_data(gen):
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.cell(x.mul_(2))[0][:, -1])

    x, y = torch.randn(9, 4, 2, generator=gen), torch.randn(9, 1, generator=gen)
    chains, before = Chains(Recurrent(), 3, seed=0), x.clone()
    with pytest.warns(UserWarning, match="one by one"):
        found = chains.loss(mse_loss, x, y, shared=True)
    assert torch.equal(x, before)
    expected = torch.stack([mse_loss(chains.chain(i)(x.clone()), y) for i in range(3)])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.filterwarnings("ignore:not at equilibrium", "ignore:NUTS ended with")
def test_what_ran_before_does_not_hide_that_a_network_writes(first, gen):
    x, y = torch.randn(40, 2, generator=gen), torch.randn(40, 1, generator=gen)
    net, before = Doubling(2, 1), x.clone()
    NUMBERS[first](net, x, y)
    for each in ("optimum", "gradients", "predict, linearised", "calibrate"):
        NUMBERS[each](net, x, y)
        assert torch.equal(x, before), each
