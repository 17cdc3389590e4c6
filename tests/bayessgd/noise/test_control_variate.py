"""The control variate's laws: unbiased at any anchor, its noise quadratic in the distance, in closed form."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from bayessgd.likelihoods import Bernoulli, Gaussian, mean_negative_log_joint
from bayessgd.noise import control_variate, control_variate_noise, gradient_noise
from bayessgd.params import flatten
from bayessgd.priors import GaussianPrior


def problem(kind="logistic", n=12, p=2, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(n, p, dtype=torch.float64, generator=random).to(dtype)
    y = x.sum(1, keepdim=True) + torch.randn(n, 1, dtype=torch.float64, generator=random).to(dtype)
    model = nn.Linear(p, 1, bias=False).to(dtype)
    model.weight.data = torch.linspace(0.2, 0.8, p, dtype=dtype)[None]
    likelihood, y = (Bernoulli(), (y > 0).to(dtype)) if kind == "logistic" else (Gaussian(0.5), y)
    loss = partial(mean_negative_log_joint, likelihood=likelihood, prior=GaussianPrior(2.0), num_data=n)
    return model, loss, x, y, lambda output, target: -likelihood.log_prob(output, target)


def gradients(loss, model, theta, x, y):
    """Of every batch of one datum, [n, p]."""
    return vmap(lambda xi, yi: flatten(grad(lambda t: loss(model, t, xi[None], yi[None]))(theta)))(x, y)


@pytest.mark.parametrize("anchor", [None, 0.7], ids=["where the model stands", "elsewhere"])
@pytest.mark.parametrize("chunk_size", [None, 5])
def test_it_is_unbiased_at_any_anchor_and_has_the_whole_gradient_there(anchor, chunk_size):
    model, loss, x, y, _ = problem()
    known = {"weight": model.weight.detach() if anchor is None else torch.full((1, 2), anchor).double()}
    calm = control_variate(loss, model, x, y, anchor=None if anchor is None else known, chunk_size=chunk_size)
    away = {"weight": known["weight"] + torch.tensor([[0.3, -0.2]])}
    whole = flatten(grad(lambda t: loss(model, t, x, y))(away))
    torch.testing.assert_close(gradients(calm, model, away, x, y).mean(0), whole)
    # At the anchor every batch has the gradient of all the data: no noise at all, and no zero either.
    there = flatten(grad(lambda t: loss(model, t, x, y))(known))
    torch.testing.assert_close(gradients(calm, model, known, x, y), there.expand(12, 2))
    assert float(there.abs().max()) > 1e-3


def test_its_covariance_falls_with_the_square_of_the_distance():
    model, loss, x, y, _ = problem(n=40)
    calm = control_variate(loss, model, x, y)
    direction = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
    traces = []
    for step in (1e-2, 2e-2):
        theta = {"weight": model.weight.detach() + step * direction}
        traces.append(float(torch.cov(gradients(calm, model, theta, x, y).T, correction=0).trace()))
    assert traces[1] / traces[0] == pytest.approx(4, rel=0.02)  # third order: 1 % per percent of distance
    plain = float(torch.cov(gradients(loss, model, theta, x, y).T, correction=0).trace())
    assert traces[1] < 1e-3 * plain


def test_on_a_linear_model_it_is_exactly_the_curvature_of_each_datum():
    """∇ℓᵢ(θ) − ∇ℓᵢ(θ̂) = xᵢxᵢᵀδ/σ²."""
    model, loss, x, y, _ = problem("linear", n=30, p=3)
    calm = control_variate(loss, model, x, y)
    delta = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    found = gradients(calm, model, {"weight": model.weight.detach() + delta}, x, y)
    each = (x * (x @ delta)[:, None]) / 0.25
    torch.testing.assert_close(found - found.mean(0), each - each.mean(0))


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_its_mean_noise_over_a_gaussian_in_closed_form(chunk_size):
    model, _, x, y, datum = problem("linear", n=30, p=3)
    root = torch.tensor([[0.3, 0, 0], [0.1, 0.2, 0], [-0.1, 0.05, 0.4]], dtype=torch.float64)
    outer = x[:, :, None] * x[:, None, :] / 0.25
    cov = root @ root.T
    closed = (outer @ cov @ outer).mean(0) - outer.mean(0) @ cov @ outer.mean(0)
    found = control_variate_noise(model, datum, x, y, root=root, chunk_size=chunk_size)
    torch.testing.assert_close(found, closed)


@pytest.mark.parametrize("trials", [100, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_its_mean_noise_is_that_of_its_gradients_over_draws(trials):
    """By Monte Carlo over θ ~ N(θ̂, RRᵀ), of a narrow law under which the logistic gradients are nearly linear."""
    model, loss, x, y, datum = problem(n=40)
    root = 0.02 * torch.tensor([[1.0, 0.0], [0.5, 0.8]], dtype=torch.float64)
    random, calm = torch.Generator().manual_seed(0), control_variate(loss, model, x, y)
    found = []
    for _ in range(trials):
        delta = root @ torch.randn(2, dtype=torch.float64, generator=random)
        theta = {"weight": model.weight.detach() + delta}
        found.append(torch.cov(gradients(calm, model, theta, x, y).T, correction=0))
    draws = torch.stack(found)
    error = draws.std(0) / trials**0.5
    assert ((draws.mean(0) - control_variate_noise(model, datum, x, y, root=root)).abs() < 4 * error).all()


def test_far_from_the_anchor_it_is_worse_than_plain_batches():
    model, loss, x, y, _ = problem("linear", n=30, p=3)
    calm = control_variate(loss, model, x, y)
    far = {"weight": model.weight.detach() + 5}
    calmed, plain = (torch.cov(gradients(f, model, far, x, y).T).trace() for f in (calm, loss))
    assert calmed > 0.5 * plain
    near = {"weight": model.weight.detach() + 0.01}
    calmed, plain = (torch.cov(gradients(f, model, near, x, y).T).trace() for f in (calm, loss))
    assert calmed < 0.01 * plain


def test_chains_map_it_and_the_model_stays():
    from bayessgd import Chains

    model, loss, x, y, _ = problem()
    before = model.weight.clone()
    calm = control_variate(loss, model, x, y)
    chains = Chains(model, 3, jitter=0.1)
    chains.map(calm, x[:4], y[:4], shared=True).sum().backward()
    [stacked] = list(chains.parameters())
    for i in range(3):
        theta = {"weight": stacked.detach()[i]}
        alone = grad(lambda t: calm(model, t, x[:4], y[:4]))(theta)["weight"]
        torch.testing.assert_close(stacked.grad[i], alone)
    assert torch.equal(model.weight, before)


def test_it_agrees_with_the_plain_noise_where_the_anchor_gives_nothing():
    """C̃ with a zero covariance is 0, and Cov ĝ at the anchor is 0, where the plain C is not."""
    model, _, x, y, datum = problem()
    zero = torch.zeros(2, 2, dtype=torch.float64)
    assert torch.equal(control_variate_noise(model, datum, x, y, root=zero), zero)
    assert float(gradient_noise(model, datum, x, y).covariance.trace()) > 0.1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"root": torch.eye(3).double()}, ValueError, r"root must have shape \[2, 2\], got \[3, 3\]"),
        ({"anchor": {"w": torch.zeros(1, 2)}}, ValueError, "params must name trainable parameters, got 'w'"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
    ],
)
def test_refusals(change, error, message):
    model, loss, x, y, datum = problem()
    arguments = {"root": torch.eye(2).double()} | change
    with pytest.raises(error, match=message):
        control_variate_noise(model, datum, x, y, **arguments)
    if "root" not in change:
        with pytest.raises(error, match=message):
            control_variate(loss, model, x, y, **change)


def test_refusal_of_an_anchor_without_a_gradient():
    model, loss, x, y, _ = problem("linear", dtype=torch.float32)
    with pytest.raises(ValueError, match="anchor must have a finite gradient"):
        control_variate(loss, model, x, y, anchor={"weight": torch.full((1, 2), torch.inf)})
