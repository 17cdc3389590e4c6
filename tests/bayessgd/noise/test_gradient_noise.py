import math
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as nnf

from bayessgd.noise import gradient_noise, per_example_gradients


class Shift(nn.Module):
    """A network whose per-example gradients are its inputs: f(x) = θ·x, with the loss ℓ = f."""

    def __init__(self, d):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(d, dtype=torch.float64))

    def forward(self, x):
        return x @ self.theta


def itself(output, target):
    return output


def noise_of(g, **kwargs):
    return gradient_noise(Shift(g.shape[1]), itself, g, torch.zeros(len(g)), **kwargs)


@pytest.mark.parametrize("chunk_size", [None, 1, 4, 100])
@pytest.mark.parametrize(("B", "P"), [(30, 4), (6, 20)])
@pytest.mark.parametrize("correction", [0, 1])
def test_moments_and_spectrum(B, P, chunk_size, correction, gen):
    g = torch.randn(B, P, dtype=torch.float64, generator=gen) + 3
    noise = noise_of(g, chunk_size=chunk_size, correction=correction)
    C = g.T.cov(correction=correction)
    torch.testing.assert_close(noise.mean, g.mean(0))
    torch.testing.assert_close(noise.covariance, C)
    torch.testing.assert_close(noise.variance, C.diagonal())
    torch.testing.assert_close(noise.trace, C.trace())
    spectrum = noise.spectrum()
    assert len(spectrum) == min(B, P)
    # Eigenvalues are known to rounding of the largest.
    expected = torch.linalg.eigvalsh(C).flip(0)[: min(B, P)]
    torch.testing.assert_close(spectrum, expected, rtol=1e-10, atol=1e-12)
    v = torch.randn(P, dtype=torch.float64, generator=gen)
    torch.testing.assert_close(noise.product(v), C @ v)


@pytest.mark.parametrize(("B", "P"), [(6, 4), (4, 6)])
def test_the_spectrum_has_as_many_values_where_c_is_too_large_to_form(B, P, gen, monkeypatch):
    monkeypatch.setattr(sys.modules["bayessgd.noise.gradient_noise"], "LARGEST", 2)
    g = torch.randn(B, P, dtype=torch.float64, generator=gen)
    torch.testing.assert_close(noise_of(g).spectrum(), torch.linalg.eigvalsh(g.T.cov()).flip(0)[: min(B, P)])


def test_network_in_chunks_agrees_with_all_gradients_at_once(gen, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).to(dtype)
    x, y = torch.randn(20, 3, dtype=dtype, generator=gen), torch.randint(2, (20,), generator=gen)
    noise = gradient_noise(model, nnf.cross_entropy, x, y, chunk_size=6)
    rows = per_example_gradients(model, nnf.cross_entropy, x, y)
    g = torch.cat([value.flatten(1) for value in rows.values()], 1)
    tolerance = {"rtol": 1e-4, "atol": 1e-7} if dtype == torch.float32 else {}
    torch.testing.assert_close(noise.covariance, g.T.cov(), **tolerance)
    torch.testing.assert_close(noise.mean, g.mean(0), **tolerance)
    assert noise.trace.dtype == dtype


def test_estimators_are_unbiased():
    """McCandlish et al.: E Tr Ĉ = Tr C and E |G|²̂ = |G|², from 4000 batches of 5."""
    gen = torch.Generator().manual_seed(0)
    true = torch.tensor([0.5, -0.3, 0.2], dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    traces, norms = [], []
    for _ in range(4000):
        g = true + scale * torch.randn(5, 3, dtype=torch.float64, generator=gen)
        centred = g - g.mean(0)
        trace = centred.square().sum() / 4
        traces.append(trace)
        norms.append(g.mean(0).square().sum() - trace / 5)
    noise = noise_of(g)
    torch.testing.assert_close(noise.trace, traces[-1])
    torch.testing.assert_close(noise.squared_norm, norms[-1])
    for values, truth in ((traces, scale.square().sum()), (norms, true.square().sum())):
        sample = torch.stack(values)
        assert abs(sample.mean() - truth) < 4 * sample.std() / math.sqrt(len(sample))


@pytest.mark.parametrize("trials", [100, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_noise_scale_and_its_error(trials):
    """At so many batches of 200 data, the mean stderr is the standard deviation of the estimates."""
    gen = torch.Generator().manual_seed(1)
    true, scale = torch.tensor([2.0, 1.0]).double(), torch.tensor([1.0, 3.0]).double()
    found, errors, traces, trace_errors = [], [], [], []
    for _ in range(trials):
        noise = noise_of(true + scale * torch.randn(200, 2, dtype=torch.float64, generator=gen))
        found.append(noise.noise_scale)
        errors.append(noise.noise_scale_stderr)
        traces.append(noise.trace)
        trace_errors.append(noise.trace_stderr)
    estimates = torch.stack(found)
    truth = scale.square().sum() / true.square().sum()
    # The bias of the ratio is O(1/B) of its value, under the error of the mean here.
    assert abs(estimates.mean() - truth) < 4 * estimates.std() / trials**0.5
    # A standard deviation from 400 draws is known to 1/√800 = 3.5 % (7); the jackknife's bias is O(1/B).
    close = pytest.approx(1, abs=4 / math.sqrt(2 * trials))
    assert float(torch.stack(errors).mean() / estimates.std()) == close
    assert float(torch.stack(trace_errors).mean() / torch.stack(traces).std()) == close


def test_jackknife_is_the_one_written_out(gen):
    g = torch.randn(12, 3, dtype=torch.float64, generator=gen) + 2

    def statistics(rows):
        trace = rows.T.cov().trace()
        return torch.stack([trace, trace / (rows.mean(0).square().sum() - trace / len(rows))])

    left = torch.stack([statistics(torch.cat([g[:i], g[i + 1 :]])) for i in range(12)])
    expected = (11 / 12 * (left - left.mean(0)).square().sum(0)).sqrt()
    noise = noise_of(g, chunk_size=5)
    torch.testing.assert_close(torch.stack([noise.trace_stderr, noise.noise_scale_stderr]), expected)


def test_a_gradient_lost_in_noise_has_no_scale():
    g = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    noise = noise_of(g)
    assert float(noise.squared_norm) < 0
    assert noise.noise_scale == torch.inf
    assert noise.noise_scale_stderr.isnan()


def test_small_noise_on_a_large_mean_survives():
    """Tr C = 1e-8 beside |ḡ|² = 1e8: the difference of raw moments would have lost it."""
    g = 1e4 + 1e-4 * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    # The data themselves are rounded to 1e-12 of 1e-4.
    assert float(noise_of(g, correction=0).trace) == pytest.approx(1e-8, rel=1e-6)


def test_later_training_does_not_move_the_measurement(gen):
    model = nn.Linear(2, 1).double()
    x, y = torch.randn(8, 2, dtype=torch.float64, generator=gen), torch.zeros(8, 1, dtype=torch.float64)
    noise = gradient_noise(model, nnf.mse_loss, x, y, chunk_size=3)
    with torch.no_grad():
        model.weight += 1
    torch.testing.assert_close(noise.covariance.trace(), noise.trace)


def test_refuses_a_covariance_that_is_too_large(gen):
    noise = noise_of(torch.randn(4, 5000, dtype=torch.float64, generator=gen))
    with pytest.raises(
        ValueError, match=r"at most 4096 rows .* got 5000 parameters .* use .variance, .spectrum"
    ):
        _ = noise.covariance
    assert len(noise.spectrum()) == 4
    with pytest.raises(ValueError, match=r"vector must have shape \[5000\], got \[3\]"):
        noise.product(torch.zeros(3))


@pytest.mark.parametrize(
    ("rows", "kwargs", "error", "match"),
    [
        (2, {}, ValueError, "x must hold at least 3 data"),
        (4, {"correction": 2}, ValueError, "correction must be below 2"),
        (4, {"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
        (4, {"params": {"stranger": torch.zeros(1)}}, ValueError, "params must name"),
    ],
)
def test_refusals(rows, kwargs, error, match):
    with pytest.raises(error, match=match):
        noise_of(torch.zeros(rows, 2, dtype=torch.float64), **kwargs)
