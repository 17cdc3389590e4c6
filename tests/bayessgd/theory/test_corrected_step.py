import warnings

import pytest
import torch

from bayessgd.optim import PreconditionedSGD
from bayessgd.theory import LearnedScaleRegression, LinearRegression, corrected_step

CHAINS, DRAWS = 1000, 10


def ill_conditioned(gen, *, leverage=0.9, n=20, d=3, condition=1e8):
    """A first row of this leverage, and a condition number of XᵀX."""
    raw = torch.randn(n, d, dtype=torch.float64, generator=gen)
    q = raw[0] @ torch.linalg.solve(raw[1:].T @ raw[1:], raw[0])
    raw[0] *= (leverage / (1 - leverage) / q).sqrt()
    frame = torch.linalg.qr(raw).Q  # leverage is that of the column space
    turn = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=gen)).Q
    x = n**0.5 * frame * condition ** (-torch.linspace(0, 0.5, d, dtype=torch.float64)) @ turn
    return x, torch.randn(n, dtype=torch.float64, generator=gen)


def gradient(p, theta, x, y):
    known = isinstance(p, LinearRegression)
    residual = y - (x @ (theta if known else theta[:, 1:])[..., None])[..., 0]
    if known:
        return -(residual[..., None] * x).mean(1)
    w = torch.exp(-2 * theta[:, :1])
    return torch.cat(
        [(1 - w * residual**2).mean(1, keepdim=True), -((w * residual)[..., None] * x).mean(1)], 1
    )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [LinearRegression, LearnedScaleRegression])
def test_bound_at_the_edge(kind, gen):
    """20 data, leverage .9, condition 1e8, batches of two: means within .1 and standard deviations within 7 %."""
    x, y = ill_conditioned(gen)
    p = kind(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = corrected_step(p, batch_size=2)
    assert found.forecast.holds
    assert float(p.leverage[0]) == pytest.approx(0.9, abs=1e-6)
    mean = p.optimum if kind is LinearRegression else p.mean
    spread = p.covariance.diagonal().sqrt()
    theta = mean.expand(CHAINS, -1).clone().requires_grad_()
    sampler = PreconditionedSGD(
        [theta],
        preconditioner=found.preconditioner,
        noise_covariance=found.injected,
        stacked=True,
        generator=gen,
    )
    thin, kept = round(1 / found.rate), []
    for step in range((5 + DRAWS) * thin):
        pick = torch.randint(len(x), (CHAINS, 2), generator=gen)
        theta.grad = gradient(p, theta.detach(), x[pick], y[pick])
        sampler.step()
        if step >= 5 * thin and step % thin == 0:
            kept.append((theta.detach() - mean) / spread)
    z = torch.stack(kept, 1)
    shifts, ratios = z.mean((0, 1)), z.flatten(0, 1).std(0)
    errors = z.mean(1).std(0) / CHAINS**0.5
    wide = z.square().mean(1).std(0) / CHAINS**0.5 / 2
    assert bool((shifts.abs() < 0.1 + 3 * errors).all())
    assert bool(((ratios - 1).abs() < 0.07 + 3 * wide).all())
    if kind is LinearRegression:  # exact: no bias at all
        assert bool((shifts.abs() < 4 * errors).all())
        assert bool(((ratios - 1).abs() < 4 * wide).all())


@pytest.mark.parametrize("n", [20, 60])
def test_the_step_is_as_long_as_the_tolerance_allows(n, gen):
    x, y = ill_conditioned(gen, n=n, d=6)
    p = LearnedScaleRegression(x, y)
    tight, loose = (corrected_step(p, batch_size=2, tolerance=t) for t in (0.01, 0.05))
    assert tight.share < loose.share <= 0.25
    for found, allowed in ((tight, 0.01), (loose, 0.05)):
        assert found.forecast.tolerance == allowed
        assert found.forecast.holds
        assert found.forecast.radius <= 0.2
    assert tight.rate < loose.rate


def test_longer_steps_that_it_tries_are_no_warnings(gen):
    found = corrected_step(LinearRegression(*ill_conditioned(gen)), batch_size=1, largest_share=1.0)
    assert found.share < 1
    assert found.forecast.holds


def test_wide_regressions_are_refused_before_they_fill_the_memory(gen):
    x = torch.randn(80, 64, dtype=torch.float64, generator=gen)
    p = LearnedScaleRegression(x, x.sum(1) + torch.randn(80, dtype=torch.float64, generator=gen))
    with pytest.raises(ValueError, match=r"at most 64 columns, log σ counted as one, .* got 65"):
        corrected_step(p, batch_size=10)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"tolerance": 0.0}, ValueError, "tolerance"),
        ({"largest_share": 1.5}, ValueError, "largest_share must be at most 1"),
        ({"problem": 3}, TypeError, "problem must be a LinearRegression"),
    ],
)
def test_refusals(change, error, match, gen):
    p = LinearRegression(*ill_conditioned(gen))
    arguments = {"problem": p, "batch_size": 2} | change
    with pytest.raises(error, match=match):
        corrected_step(arguments.pop("problem"), **arguments)
