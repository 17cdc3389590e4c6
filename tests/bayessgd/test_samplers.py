import re

import pytest
import torch
from torch import nn

from bayessgd import optimum, samplers, theory
from bayessgd.likelihoods import Bernoulli, Gaussian, GaussianPrior


@pytest.fixture(scope="module")
def at():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(300, 3, dtype=torch.float64, generator=random) * torch.tensor([1.0, 0.5, 2.0])
    y = (x.sum(1, keepdim=True) + torch.randn(300, 1, generator=random) > 0).double()
    return optimum(
        nn.Linear(3, 1, bias=False).double(), x, y, likelihood=Bernoulli(), prior=GaussianPrior(1.0)
    )


def width(at, made):
    """The stationary covariance over the posterior's, by the theory's own solver."""
    cov = theory.stationary_covariance(
        at.curvature,
        at.noise,
        preconditioner=made.preconditioner,
        batch_size=made.batch_size,
        injected=made.injected,
    )
    return torch.linalg.solve(at.covariance, cov)


@pytest.mark.parametrize("batch_size", [None, 5, 40])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_stationary_covariance_is_the_posteriors(at, batch_size, share):
    eye = torch.eye(3, dtype=torch.float64)
    for made in (
        samplers.exact_sgd(at, batch_size=batch_size),
        samplers.corrected(at, batch_size=batch_size, share=share),
    ):
        torch.testing.assert_close(width(at, made), eye, rtol=0, atol=1e-9)
        assert made.batch_size == (batch_size or 30)
        # 1/r steps, r the slowest rate: in a step an error is multiplied by 1 − λ.
        slowest = 1 - float((1 - torch.linalg.eigvals(made.preconditioner @ at.curvature).real).abs().max())
        assert made.thin == round(1 / slowest)
        assert made.burn_in == 10 * made.thin


def test_the_injected_noise_is_the_theorys(at):
    made = samplers.corrected(at, batch_size=20, share=0.3)
    want = theory.injected_noise(
        at.curvature, at.noise, preconditioner=made.preconditioner, num_data=300, batch_size=20
    )
    torch.testing.assert_close(made.injected, want)


def test_the_control_variates_noise_leaves_room_and_is_what_the_theory_asks_for():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, dtype=torch.float64, generator=random)
    at = optimum(
        nn.Linear(2, 1, bias=False).double(),
        x,
        x.sum(1, keepdim=True),
        likelihood=Gaussian(1.0),
        prior=GaussianPrior(1.0),
    )
    made = samplers.control_variate(at)
    outer = x[:, :, None] * x[:, None, :]
    noise = (outer @ at.covariance @ outer).mean(0) - outer.mean(0) @ at.covariance @ outer.mean(0)
    H, S = made.preconditioner, made.batch_size
    torch.testing.assert_close(H, at.inverse / 4)
    want = (2 * H - H @ at.curvature @ H) / 200 - H @ noise @ H / S
    torch.testing.assert_close(made.injected, want)
    assert made.anchored
    assert (S, made.thin, made.burn_in, made.passes) == (100, 2, 40, 4)
    with pytest.raises(ValueError, match=r"batch_size must be at least \d+ for share=0.99, got 1") as refused:
        samplers.control_variate(at, batch_size=1, share=0.99)
    least = int(re.search(r"at least (\d+)", str(refused.value))[1])
    samplers.control_variate(at, batch_size=least, share=0.99)
    with pytest.raises(ValueError, match="batch_size must be at least"):
        samplers.control_variate(at, batch_size=least - 1, share=0.99)


def test_the_means_of_windows_cover_a_pass(at):
    made = samplers.iterate_averaging(at, batch_size=10)
    assert made.window == made.thin == 30
    torch.testing.assert_close(made.preconditioner, 0.2 * at.inverse)
    assert made.injected is None


def mode_of(second):
    """Of two inputs, the second so faint that the prior says nearly all of its weight."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, dtype=torch.float64, generator=random) * torch.tensor([1.0, second])
    y = x.sum(1, keepdim=True) + torch.randn(200, 1, dtype=torch.float64, generator=random)
    line = nn.Linear(2, 1, bias=False).double()
    return optimum(line, x, y, likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))


def test_a_direction_without_gradient_noise_has_no_draws_and_is_refused():
    """Its posterior is the prior, of width 1; exact SGD and iterate averaging would return 0."""
    at = mode_of(0.0)
    for make in (samplers.exact_sgd, samplers.iterate_averaging):
        with pytest.raises(ValueError, match=r"gradient noise in every direction.*take samplers.corrected"):
            make(at)
    for share in (0.5, 0.99):
        made = samplers.corrected(at, share=share)
        torch.testing.assert_close(width(at, made), torch.eye(2, dtype=torch.float64))


def test_a_direction_of_little_noise_is_waited_for():
    """λ of H*A is just below 2: the sign of an error changes at each step, and its size hardly does."""
    at = mode_of(0.005)
    made = samplers.exact_sgd(at)
    rates = torch.linalg.eigvals(made.preconditioner @ at.curvature).real
    assert float(rates.max()) > 1.5
    assert bool(((1 - rates).abs() ** made.thin < 0.4).all())


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0])
def test_refusals(at, share):
    for make in (samplers.corrected, samplers.control_variate, samplers.iterate_averaging):
        with pytest.raises(ValueError, match="share must be"):
            make(at, share=share)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        samplers.exact_sgd(at, batch_size=0)


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_is_no_mode():
    for make in (
        samplers.exact_sgd,
        samplers.corrected,
        samplers.control_variate,
        samplers.iterate_averaging,
    ):
        with pytest.raises(TypeError, match=r"at must be what bayessgd.optimum returns, got int"):
            make(3)
