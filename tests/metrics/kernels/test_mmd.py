import itertools
import math

import pytest
import torch

from metrics.distances import distances
from metrics.kernels.energy import energy_distance
from metrics.kernels.kernel import Gaussian, NegativeDistance, Polynomial, RationalQuadratic, median_kernel
from metrics.kernels.mmd import (
    mmd2,
    mmd2_from_grams,
    mmd2_variance,
    mmd2_variance_from_grams,
)
from metrics.kernels.sums import KernelSums

KERNELS = [None, Gaussian(0.8), RationalQuadratic(), NegativeDistance(), Polynomial()]


def clouds(gen, n=9, m=6, d=2, dtype=torch.float64, shift=0.5):
    x = torch.randn(n, d, dtype=dtype, generator=gen)
    return x, torch.randn(m, d, dtype=dtype, generator=gen) * 0.7 + shift


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=str)
@pytest.mark.parametrize(("n", "m"), [(9, 6), (2, 2)])
def test_equals_the_sums_written_out(gen, kernel, n, m):
    x, y = clouds(gen, n, m)
    within_x = [kernel(x[i : i + 1], x[j : j + 1]).item() for i, j in itertools.product(range(n), repeat=2)]
    within_y = [kernel(y[i : i + 1], y[j : j + 1]).item() for i, j in itertools.product(range(m), repeat=2)]
    between = [kernel(a[None], b[None]).item() for a in x for b in y]
    v = sum(within_x) / n**2 + sum(within_y) / m**2 - 2 * sum(between) / (n * m)
    self_x, self_y = sum(within_x[:: n + 1]), sum(within_y[:: m + 1])
    u = (sum(within_x) - self_x) / (n * (n - 1)) + (sum(within_y) - self_y) / (m * (m - 1))
    u -= 2 * sum(between) / (n * m)
    assert mmd2(x, y, kernel=kernel).item() == pytest.approx(u, rel=1e-10)
    assert mmd2(x, y, kernel=kernel, unbiased=False).item() == pytest.approx(v, rel=1e-10)


def test_closed_form_of_gaussians_under_a_gaussian_kernel(gen):
    """E k(X, Y) = (b²/(b²+s²+t²))^{d/2} exp(−‖μ−ν‖²/2(b²+s²+t²)) for N(μ, s²I), N(ν, t²I)."""
    d, b, t, shift, n = 3, 1.2, 0.7, 0.5, 1200

    def expected(variance, gap):
        scale = b**2 + variance
        return (b**2 / scale) ** (d / 2) * math.exp(-gap / (2 * scale))

    want = expected(2.0, 0) + expected(2 * t**2, 0) - 2 * expected(1 + t**2, d * shift**2)
    x, y = clouds(gen, n, n, d, shift=shift)
    se = mmd2_variance(x, y, kernel=Gaussian(b)).sqrt().item()
    assert abs(mmd2(x, y, kernel=Gaussian(b)).item() - want) < 4 * se
    assert 4 * se < want / 3  # so that a factor of two cannot hide


def test_of_the_negative_distance_is_the_squared_energy_distance(gen):
    x, y = clouds(gen)
    got = mmd2(x, y, kernel=NegativeDistance(), unbiased=False)
    torch.testing.assert_close(got, energy_distance(x, y, squared=True))


@pytest.mark.parametrize("unbiased", [True, False])
def test_is_that_of_the_gram_matrices(gen, unbiased):
    x, y = clouds(gen)
    shared = distances(x, x), distances(x, y), distances(y, y)
    for kernel in (None, Gaussian(0.8)):
        grams = [(kernel or median_kernel(*shared)).from_distances(r) for r in shared]
        want = mmd2_from_grams(*grams, unbiased=unbiased)
        torch.testing.assert_close(want, mmd2(x, y, kernel=kernel, unbiased=unbiased))


def test_is_symmetric_and_free_of_units_by_default(gen, dtype):
    x, y = clouds(gen, dtype=dtype)
    value = mmd2(x, y).item()
    eps = torch.finfo(dtype).eps
    assert value == pytest.approx(mmd2(y, x).item(), rel=4 * eps)
    for scale in (
        2.0**-20,
        2.0**20,
    ):  # exact in floating point, so nothing but the kernel's own arithmetic changes
        assert value == pytest.approx(mmd2(scale * x, scale * y).item(), rel=4 * eps + 1e-13)


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    x, y = clouds(gen, 200, 150, 5, dtype=torch.float32, shift=0.05)
    for kernel in KERNELS:
        got, want = mmd2(x, y, kernel=kernel), mmd2(x.double(), y.double(), kernel=kernel)
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(want.item(), rel=torch.finfo(torch.float32).eps)


def test_identical_clouds(gen, dtype):
    x = torch.randn(8, 2, dtype=dtype, generator=gen)
    assert mmd2(x, x.clone(), unbiased=False).item() == pytest.approx(0, abs=1e-14)
    # The U-statistic leaves out k(x, x) within but not between: −2(k(0) − mean of the other pairs)/n.
    k = Gaussian(1.0)(x, x).double()
    want = -2 * (1 - (k.sum() - 8) / 56) / 8
    assert mmd2(x, x.clone(), kernel=Gaussian(1.0)).item() == pytest.approx(want.item(), rel=1e-6)
    point = torch.ones(3, 2, dtype=dtype)
    assert mmd2(point, point).item() == 0


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=str)
def test_gradient(gen, kernel):
    x, y = (c.requires_grad_() for c in clouds(gen, 5, 4))
    assert torch.autograd.gradcheck(lambda a, b: mmd2(a, b, kernel=kernel), (x, y))


def test_default_kernel_has_a_gradient_and_holds_its_bandwidth(gen):
    x, y = clouds(gen, 5, 4)
    x.requires_grad_()
    shared = distances(x, x), distances(x, y), distances(y, y)
    from metrics.kernels.kernel import median_kernel

    (free,) = torch.autograd.grad(mmd2(x, y), x)
    (fixed,) = torch.autograd.grad(mmd2(x, y, kernel=median_kernel(*shared)), x)
    torch.testing.assert_close(free, fixed)


def brute_variance(kxx, kxy, kyy):
    """The unbiased estimate of Var[U], term by term over distinct indices."""
    n, m = kxy.shape

    def within(k, size):
        quads = list(itertools.permutations(range(size), 4))
        square = sum(k[a, b] ** 2 for a, b, _, _ in quads) / len(quads)
        path = sum(k[a, b] * k[a, c] for a, b, c, _ in quads) / len(quads)
        apart = sum(k[a, b] * k[c, d] for a, b, c, d in quads) / len(quads)
        return square, path, apart

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    pairs_x, pairs_y = list(itertools.permutations(range(n), 2)), list(itertools.permutations(range(m), 2))
    sx, px, ax = within(kxx, n)
    sy, py, ay = within(kyy, m)
    s = mean(kxy[i, j] ** 2 for i in range(n) for j in range(m))
    rows = mean(kxy[i, j] * kxy[i, k] for i in range(n) for j, k in pairs_y)
    columns = mean(kxy[i, j] * kxy[k, j] for i, k in pairs_x for j in range(m))
    a = mean(kxy[i, j] * kxy[k, l] for i, k in pairs_x for j, l in pairs_y)
    triples_x, triples_y = itertools.permutations(range(n), 3), itertools.permutations(range(m), 3)
    mixed_x = mean(kxx[i, k] * kxy[i, j] - kxx[i, k] * kxy[l, j] for i, k, l in triples_x for j in range(m))
    mixed_y = mean(kyy[j, k] * kxy[i, j] - kyy[j, k] * kxy[i, l] for j, k, l in triples_y for i in range(n))
    first_x = px - ax + rows - a - 2 * mixed_x
    first_y = py - ay + columns - a - 2 * mixed_y
    second = 2 * (sx - 2 * px + ax) / (n * (n - 1)) + 2 * (sy - 2 * py + ay) / (m * (m - 1))
    return 4 * first_x / n + 4 * first_y / m + second + 4 * (s - rows - columns + a) / (n * m)


@pytest.mark.parametrize("kernel", [Gaussian(0.8), Polynomial()], ids=str)
def test_variance_equals_its_sums_over_distinct_indices(gen, kernel):
    x, y = clouds(gen, 6, 5)
    grams = kernel(x, x), kernel(x, y), kernel(y, y)
    want = brute_variance(*grams)
    torch.testing.assert_close(mmd2_variance_from_grams(*grams), want, rtol=1e-9, atol=1e-15)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("n", "m", "shift"),
    [
        (8, 5, 0.0),
        (4, 12, 1.5),
        pytest.param(8, 5, 1.5, marks=pytest.mark.slow),
        pytest.param(4, 12, 0.0, marks=pytest.mark.slow),
    ],
)
def test_variance_is_that_of_replications(gen, n, m, shift):
    """The estimates' mean against the sample variance of U over fresh clouds, both with their errors."""
    replications = 800
    values, estimates = [], []
    for _ in range(replications):
        x, y = clouds(gen, n, m, 1, shift=shift)
        k = Gaussian(0.8)
        grams = k(x, x), k(x, y), k(y, y)
        values.append(mmd2_from_grams(*grams))
        estimates.append(mmd2_variance_from_grams(*grams))
    values, estimates = torch.stack(values), torch.stack(estimates)
    squares = (values - values.mean()).square()
    se = ((squares.var() + estimates.var()) / replications).sqrt()
    assert abs(squares.mean() - estimates.mean()) < 4 * se
    # The test can see a factor of two: the error is below a fifth of the variance.
    assert se < 0.2 * estimates.mean()


def test_variance_does_not_depend_on_the_kernels_constant(gen):
    x, y = clouds(gen, 30, 20)
    k = Gaussian(0.8)
    grams = [k(x, x), k(x, y), k(y, y)]
    shifted = [gram + 1e3 for gram in grams]
    # The entries keep 1e-13 of the unit after a shift by 1e3.
    torch.testing.assert_close(
        mmd2_variance_from_grams(*grams), mmd2_variance_from_grams(*shifted), rtol=1e-9, atol=1e-12
    )
    want = mmd2_variance(x, y, kernel=k)
    torch.testing.assert_close(mmd2_variance_from_grams(*grams), want)


BAD = [
    (torch.zeros(3), torch.zeros(2, 1), ValueError, r"x must have shape \[n, d\]"),
    (torch.zeros(4, 2), torch.zeros(4, 3), ValueError, "same number of columns"),
    (torch.zeros(1, 2), torch.zeros(2, 2), ValueError, "x must hold at least"),
    (torch.zeros(4, 2), torch.full((4, 2), torch.inf), ValueError, "y must be finite"),
    (torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.float64), TypeError, "same dtype|at least"),
]


@pytest.mark.parametrize(("x", "y", "error", "message"), BAD)
def test_refusals(x, y, error, message):
    with pytest.raises(error, match=message):
        mmd2(x, y)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [*BAD[:4], (torch.zeros(3, 2), torch.zeros(4, 2), ValueError, "x must hold at least 4 samples")],
)
def test_refusals_of_the_variance(x, y, error, message):
    with pytest.raises(error, match=message):
        mmd2_variance(x, y)


def test_the_standard_error_cuts_off_each_order_below_zero(gen):
    """Apart it is the root of the variance; at P = Q, where the first order is as often negative, it is never less,
    nor near 0."""
    kernel = Gaussian(1.0)
    x, y = clouds(gen, 60, 50, shift=2.0)
    grams = kernel(x, x), kernel(x, y), kernel(y, y)
    torch.testing.assert_close(
        KernelSums.of_grams(*grams).stderr().square(), mmd2_variance_from_grams(*grams)
    )
    negative = 0
    for _ in range(40):
        x, y = torch.randn(2, 20, 2, dtype=torch.float64, generator=gen).unbind()
        grams = kernel(x, x), kernel(x, y), kernel(y, y)
        variance, error = mmd2_variance_from_grams(*grams), KernelSums.of_grams(*grams).stderr()
        negative += bool(variance < error.square() * (1 - 1e-9))
        assert error.square() >= variance * (1 - 1e-9)
        assert error > 0.003  # it is about 0.03 here
    assert negative > 5
