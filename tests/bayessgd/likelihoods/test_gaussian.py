import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.func import vmap

from bayessgd.likelihoods import Gaussian, GaussianLogScale, LearnedScale

# One evaluation of a logarithm and a square in either type.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 2, 3)])
def test_agrees_with_scipy_and_sums_over_a_datum(shape, gen, dtype):
    output, target = (torch.randn(shape, dtype=dtype, generator=gen) for _ in range(2))
    found = Gaussian(scale=0.7).log_prob(output, target)
    each = stats.norm(output.double().numpy(), 0.7).logpdf(target.double().numpy())
    assert found.shape == (5,)
    expected = torch.as_tensor(each).reshape(5, -1).sum(1).to(dtype)
    torch.testing.assert_close(found, expected, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_scale_is_a_standard_deviation(gen):
    law = Gaussian(scale=3.0)(torch.zeros(2, 1))
    assert float(law.variance[0]) == 9.0
    assert law.batch_shape == (2,)


def test_predicted_scale(gen, dtype):
    output = torch.randn(5, 4, dtype=dtype, generator=gen)
    target = torch.randn(5, 2, dtype=dtype, generator=gen)
    found = GaussianLogScale().log_prob(output, target)
    mean, scale = output[:, :2].double().numpy(), output[:, 2:].double().exp().numpy()
    expected = torch.as_tensor(stats.norm(mean, scale).logpdf(target.double().numpy())).sum(1).to(dtype)
    torch.testing.assert_close(found, expected, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_learned_scale_learns_the_residuals_deviation(gen):
    """The maximum of the likelihood in σ is the root mean square residual."""
    model = LearnedScale(nn.Linear(1, 1, bias=False).double(), scale=5.0)
    nn.init.zeros_(model.model.weight)
    model.model.requires_grad_(False)
    x = torch.zeros(50, 1, dtype=torch.float64)
    y = 0.3 * torch.randn(50, 1, dtype=torch.float64, generator=gen)
    optimizer = torch.optim.LBFGS(
        [model.log_scale], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -GaussianLogScale().log_prob(model(x), y).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float(model.log_scale.detach().exp()) == pytest.approx(float(y.square().mean().sqrt()), rel=1e-6)


def test_learned_scale_appends_one_scale_per_output():
    model = LearnedScale(nn.Linear(3, 2), num_outputs=2, scale=0.5)
    output = model(torch.zeros(4, 3))
    assert output.shape == (4, 4)
    torch.testing.assert_close(output[:, 2:], torch.full((4, 2), math.log(0.5)))
    assert "log_scale" in dict(model.named_parameters())


def test_works_under_vmap(gen):
    outputs, target = torch.randn(7, 5, 1, generator=gen), torch.randn(5, 1, generator=gen)
    found = vmap(lambda o: Gaussian(1.0).log_prob(o, target))(outputs)
    torch.testing.assert_close(found[3], Gaussian(1.0).log_prob(outputs[3], target))


@pytest.mark.parametrize(
    ("likelihood", "output", "target", "error", "match"),
    [
        (
            Gaussian(1.0),
            torch.zeros(5, 1),
            torch.zeros(5),
            ValueError,
            r"target must have the shape of the output, \[5, 1\], got \[5\]",
        ),
        (Gaussian(1.0), torch.zeros(5), [0.0], TypeError, "target must be a torch.Tensor"),
        (Gaussian(1.0), "output", torch.zeros(5), TypeError, "output must be a torch.Tensor"),
        (Gaussian(1.0), torch.zeros(5).long(), torch.zeros(5), TypeError, "output must be floating point"),
        (Gaussian(1.0), torch.zeros(()), torch.zeros(()), ValueError, r"output must have shape \[n, ...\]"),
        (
            GaussianLogScale(),
            torch.zeros(5, 3),
            torch.zeros(5, 1),
            ValueError,
            r"output must have shape \[n, ..., 2k\]",
        ),
        (GaussianLogScale(), torch.zeros(4), torch.zeros(2), ValueError, "wrap the network in LearnedScale"),
        (GaussianLogScale(), torch.zeros(5, 2), torch.zeros(5, 2), ValueError, "shape of the output's means"),
    ],
)
def test_refusals(likelihood, output, target, error, match):
    with pytest.raises(error, match=match):
        likelihood.log_prob(output, target)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_widths_whose_squares_float32_does_not_hold(scale):
    z = torch.tensor([[0.0], [1.5]])
    right = -0.5 * (z[:, 0].square() + math.log(2 * math.pi)) - math.log(scale)
    output = torch.tensor([[0.0], [0.0]])
    torch.testing.assert_close(Gaussian(scale).log_prob(output, scale * z), right)
    both = torch.tensor([[0.0, math.log(scale)]] * 2, requires_grad=True)
    found = GaussianLogScale().log_prob(both, scale * z)
    torch.testing.assert_close(found, right, rtol=1e-5, atol=0)
    [slope] = torch.autograd.grad(found.sum(), both)
    torch.testing.assert_close(slope[:, 1], z[:, 0].square() - 1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_scales(scale):
    with pytest.raises(ValueError, match="scale must be finite and above 0"):
        Gaussian(scale)
    with pytest.raises(ValueError, match="scale must be finite and above 0"):
        LearnedScale(nn.Linear(1, 1), scale=scale)


def test_refuses_what_is_no_network():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        LearnedScale("net")
    with pytest.raises(ValueError, match="num_outputs must be at least 1"):
        LearnedScale(nn.Linear(1, 1), num_outputs=0)
