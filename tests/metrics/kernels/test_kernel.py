import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.metrics import pairwise

import metrics
from metrics.distances import distances
from metrics.kernels.kernel import (
    Gaussian,
    Laplace,
    NegativeDistance,
    Polynomial,
    RationalQuadratic,
    median_heuristic,
    median_kernel,
)

RADIAL = [Gaussian(0.7), Gaussian((0.5, 2.0)), Laplace(0.7), RationalQuadratic(), NegativeDistance()]
KERNELS = [*RADIAL, Polynomial(), Polynomial(degree=2, gamma=0.5, offset=0.0)]


@pytest.fixture
def clouds(gen):
    return torch.randn(2, 9, 3, dtype=torch.float64, generator=gen).unbind()


def test_equal_scikit_learns(clouds):
    x, y = clouds
    a, b = x.numpy(), y.numpy()
    close = {"rtol": 1e-12, "atol": 0}
    rbf = pairwise.rbf_kernel
    np.testing.assert_allclose(Gaussian(0.7)(x, y), rbf(a, b, gamma=1 / (2 * 0.7**2)), **close)
    both = rbf(a, b, gamma=1 / (2 * 0.5**2)) + rbf(a, b, gamma=1 / (2 * 2.0**2))
    np.testing.assert_allclose(Gaussian((0.5, 2.0))(x, y), both, **close)
    np.testing.assert_allclose(Polynomial()(x, y), pairwise.polynomial_kernel(a, b), rtol=1e-10, atol=1e-14)
    from sklearn.gaussian_process.kernels import RationalQuadratic as Reference

    want = sum(Reference(length_scale=1.5, alpha=alpha)(a, b) for alpha in (0.5, 2.0))
    np.testing.assert_allclose(RationalQuadratic((0.5, 2.0), 1.5)(x, y), want, **close)
    np.testing.assert_allclose(
        Laplace(0.7)(x, y), np.exp(-pairwise.euclidean_distances(a, b) / 0.7), rtol=1e-10
    )


@pytest.mark.parametrize("kernel", RADIAL, ids=str)
def test_radial_ones_agree_with_their_distances(kernel, clouds):
    assert torch.equal(kernel(*clouds), kernel.from_distances(distances(*clouds)))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_gradient_also_between_copies(kernel, clouds):
    x = clouds[0][:4].clone().requires_grad_()
    y = clouds[1][:3].clone().requires_grad_()
    assert torch.autograd.gradcheck(kernel, (x, y))
    kernel(x, x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_median_is_that_of_the_pooled_pairs(clouds):
    x, y = clouds
    pairs = np.sort(pdist(torch.cat([x, y]).numpy()))
    lower = pairs[(len(pairs) - 1) // 2]
    assert median_heuristic(x, y) == pytest.approx(lower, rel=1e-12)
    pairs = np.sort(pdist(x.numpy()))
    assert median_heuristic(x) == pytest.approx(pairs[(len(pairs) - 1) // 2], rel=1e-12)
    kernel = median_kernel(distances(x, x), distances(x, y), distances(y, y))
    assert kernel.bandwidth[2] == median_heuristic(x, y)


def test_median_of_mostly_equal_points_is_a_positive_distance():
    x = torch.zeros(10, 1)
    assert median_heuristic(x) == 1.0
    x[0] = 3.0
    assert median_heuristic(x) == 3.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Gaussian(0.0), ValueError, "bandwidth must be finite and above 0, got 0.0"),
        (lambda: Gaussian((1.0, -1.0)), ValueError, "bandwidth must be finite and above 0"),
        (lambda: Gaussian(()), ValueError, "bandwidth must not be empty"),
        (lambda: Gaussian("1"), TypeError, "bandwidth must be a number"),
        (lambda: Laplace(float("nan")), ValueError, "bandwidth must be finite"),
        (lambda: RationalQuadratic(alpha=-1.0), ValueError, "alpha must be finite and above 0"),
        (lambda: RationalQuadratic(lengthscale=0), ValueError, "lengthscale must be finite and above 0"),
        (lambda: Polynomial(degree=0), ValueError, "degree must be at least 1"),
        (lambda: Polynomial(gamma=0.0), ValueError, "gamma must be finite and above 0"),
        (lambda: median_heuristic(torch.zeros(1, 2)), ValueError, "x must hold at least 2 samples"),
        (
            lambda: median_heuristic(torch.zeros(3, 2), torch.zeros(3, 1)),
            ValueError,
            "same number of columns",
        ),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "measure",
    [
        metrics.mmd2,
        metrics.mmd2_variance,
        lambda x, y, kernel: metrics.mmd_witness(x, x, y, kernel=kernel),
        lambda x, y, kernel: metrics.vendi_score(x, kernel=kernel),
    ],
)
def test_a_kernel_by_name_is_refused(measure):
    x = torch.zeros(5, 1)
    with pytest.raises(TypeError, match=r"got 'rbf'; pass .* metrics.kernels.Gaussian\(1.0\)"):
        measure(x, x, kernel="rbf")


@pytest.mark.parametrize(
    "kernel", [Gaussian((4.0, 2.0, 1.0, 0.5)), Gaussian((4.0, 1.0)), Laplace((1.0, 0.01))]
)
def test_without_a_graph_is_what_it_is_with_one(gen, dtype, kernel):
    """In place or not; 0 from where exp is no normal number on, and near there what exp is."""
    r = torch.cat([torch.rand(50, dtype=dtype, generator=gen) * 8, torch.linspace(0, 40, 2000, dtype=dtype)])[
        None
    ]
    kept = r.clone()
    with torch.no_grad():
        found = kernel.from_distances(r)
    assert torch.equal(r, kept)
    assert torch.equal(found, kernel.from_distances(r.clone().requires_grad_()).detach())
    widths = torch.tensor(kernel.bandwidth, dtype=torch.float64)[:, None]
    exponents = -r.double() / widths if isinstance(kernel, Laplace) else -0.5 * (r.double() / widths) ** 2
    plain = exponents.exp().sum(0)
    eps = torch.finfo(dtype).eps
    # The exponent is off by its rounding, and a fourth power by four times that of its base.
    torch.testing.assert_close(found[0].double(), plain, rtol=400 * eps, atol=4 * torch.finfo(dtype).tiny)


def test_a_gaussian_has_a_gradient_of_0_where_it_is_lost():
    r = torch.tensor([[1e-3, 60.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(Gaussian(1.0).from_distances(r).sum(), r)
    assert slope[0, 0] < 0
    assert slope[0, 1] == 0
