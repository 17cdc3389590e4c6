import pytest
import torch

from metrics.kernels.kernel import Gaussian, Polynomial
from metrics.kernels.mmd import mmd2
from metrics.kernels.witness import mmd_witness


@pytest.mark.parametrize("kernel", [None, Gaussian((0.5, 2.0)), Polynomial()])
def test_its_means_over_the_clouds_differ_by_the_v_statistic(gen, kernel):
    """⟨f, μ_x − μ_y⟩ = MMD²: a factor, a sign or another kernel than `mmd2`'s would show."""
    x, y = torch.randn(30, 3, generator=gen).double(), torch.randn(40, 3, generator=gen).double() * 2 + 1
    gap = mmd_witness(x, x, y, kernel=kernel).mean() - mmd_witness(y, x, y, kernel=kernel).mean()
    assert gap.item() == pytest.approx(mmd2(x, y, kernel=kernel, unbiased=False).item(), rel=1e-10)


def test_equals_the_sums_written_out(gen, dtype):
    x, y, t = (torch.randn(n, 2, generator=gen, dtype=dtype) for n in (5, 7, 3))
    want = [
        sum(float((-(a - p).double().square().sum() / 8).exp()) for a in x) / 5
        - sum(float((-(b - p).double().square().sum() / 8).exp()) for b in y) / 7
        for p in t
    ]
    got = mmd_witness(t, x, y, kernel=Gaussian(2.0))
    assert got.dtype == dtype
    # Absolute: two means of about ½ are subtracted; a result in float32 is rounded once.
    assert got.tolist() == pytest.approx(want, abs=torch.finfo(dtype).eps)


def test_closed_form_of_gaussians(gen):
    """E k(X, t) = b/√(b² + σ²) · exp(−(t − μ)²/2(b² + σ²)) for X ~ N(μ, σ²)."""
    n, b = 40_000, 0.7
    t = torch.linspace(-3, 4, 15, dtype=torch.float64)[:, None]

    def embedding(mean, std):
        total = b**2 + std**2
        return b / total**0.5 * torch.exp(-((t[:, 0] - mean) ** 2) / (2 * total))

    x, y = torch.randn(2, n, 1, dtype=torch.float64, generator=gen)
    got = mmd_witness(t, x, 1 + 0.5 * y, kernel=Gaussian(b))
    # The kernel is at most 1 and its standard deviation at most ½: five errors of the difference of two means.
    assert (got - (embedding(0, 1) - embedding(1, 0.5))).abs().max() < 5 * 0.5 * (2 / n) ** 0.5


def test_changes_its_sign_with_the_clouds_and_is_zero_between_equal_ones(gen, dtype):
    x, y, t = (torch.randn(20, 2, generator=gen, dtype=dtype) for _ in range(3))
    assert torch.equal(mmd_witness(t, x, y), -mmd_witness(t, y, x))
    assert mmd_witness(t, x, x.clone()).abs().max() == 0
    assert torch.isfinite(mmd_witness(t, x[:1].expand(4, 2), x[:1].expand(3, 2))).all()


def test_gradient(gen):
    t, x, y = (torch.randn(4, 2, generator=gen, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *a: mmd_witness(*a, kernel=Gaussian(1.0)), (t, x, y))


POINTS = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("points", "x", "y", "error", "message"),
    [
        (POINTS[:, :1], POINTS, POINTS, ValueError, "points must have 2 columns"),
        (POINTS.double(), POINTS, POINTS, TypeError, "points and x must have the same dtype"),
        (POINTS, POINTS[:1], POINTS, ValueError, "x must hold at least 2 samples"),
        (POINTS, POINTS, POINTS[:, :1], ValueError, "same number of columns"),
        (POINTS[0], POINTS, POINTS, ValueError, r"points must have shape \[n, d\]"),
        (POINTS + torch.nan, POINTS, POINTS, ValueError, "points must be finite"),
    ],
)
def test_refusals(points, x, y, error, message):
    with pytest.raises(error, match=message):
        mmd_witness(points, x, y)
