import pytest
import torch

from metrics.kernels import tiles
from metrics.kernels.kernel import Gaussian, Polynomial
from metrics.kernels.mmd import mmd2, mmd2_from_grams
from metrics.kernels.tiles import mean_between, mean_within


@pytest.fixture(params=[1, 4, 7, 1024])
def _tile(request, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", request.param)


def clouds(gen, dtype, n=11, m=9, d=3):
    return torch.randn(n, d, dtype=dtype, generator=gen), torch.randn(m, d, dtype=dtype, generator=gen) + 0.5


@pytest.mark.usefixtures("_tile")
@pytest.mark.parametrize("kernel", [Gaussian((0.5, 2.0)), Polynomial()], ids=["radial", "not"])
def test_equal_the_means_of_the_whole_gram_matrix(gen, dtype, kernel):
    x, y = clouds(gen, dtype)
    a, b = x.double(), y.double()
    kxx, kxy, kyy = kernel(a, a), kernel(a, b), kernel(b, b)
    apart = kxx[~torch.eye(len(x), dtype=torch.bool)]
    torch.testing.assert_close(mean_between(x, y, kernel), kxy.mean(), rtol=1e-14, atol=0)
    torch.testing.assert_close(mean_within(x, kernel, unbiased=True), apart.mean(), rtol=1e-14, atol=0)
    torch.testing.assert_close(mean_within(x, kernel, unbiased=False), kxx.mean(), rtol=1e-14, atol=0)
    for unbiased in (True, False):
        want = mmd2_from_grams(kxx, kxy, kyy, unbiased=unbiased).to(dtype)
        # Means of order 1 that cancel.
        atol = 1e-13 if dtype == torch.float64 else 1e-7
        torch.testing.assert_close(mmd2(x, y, kernel=kernel, unbiased=unbiased), want, rtol=0, atol=atol)


@pytest.mark.usefixtures("_tile")
def test_gradients_in_the_points_and_in_a_kernels_parameters(gen):
    x, y = (c.requires_grad_() for c in clouds(gen, torch.float64, 6, 5, 2))
    log_width = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def statistic(a, b, log_width):
        def kernel(u, v):
            return (-((u[:, None] - v).square().sum(2)) * log_width.exp()).exp()

        return mmd2(a, b, kernel=kernel)

    assert torch.autograd.gradcheck(statistic, (x, y, log_width))


def test_a_kernel_in_float32_is_summed_in_float64(gen):
    x, y = clouds(gen, torch.float32, 60, 60)

    def kernel(a, b):
        return (1e6 + a @ b.T).float()

    want = kernel(x.double(), y.double()).double().mean()
    torch.testing.assert_close(mean_between(x, y, kernel), want, rtol=1e-14, atol=0)
