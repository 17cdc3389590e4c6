import pytest
import torch
from ot.gaussian import bures_wasserstein_distance
from torch.distributions import MultivariateNormal, kl_divergence

from metrics.gaussians.frechet import bures_wasserstein, frechet_distance, gaussian_kl
from tests.targets import random_gaussian


def moments(x):
    return x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def eigenvalue_form(x, y):
    """The textbook formula through the eigenvalues of Σ₁Σ₂, accurate for full ranks only."""
    (m, s), (k, t) = moments(x.double()), moments(y.double())
    root = torch.linalg.eigvals(s @ t).real.clamp(min=0).sqrt().sum()
    return ((m - k).square().sum() + s.trace() + t.trace() - 2 * root).item()


def clouds(gen, n=30, m=25, d=4, dtype=torch.float64):
    x = torch.randn(n, d, dtype=dtype, generator=gen)
    mix = torch.randn(d, d, dtype=dtype, generator=gen)
    return x, torch.randn(m, d, dtype=dtype, generator=gen) @ mix + 0.5


def test_compare_gans_published_value():
    """Rank-one covariances: (1.5−5.5)² + (1−9)² + (3.5−0.5)²·100/99 = 89.0909…, printed as 89.091."""
    real, fake = torch.ones(100, 2, dtype=torch.float64), torch.full((100, 2), 9.0, dtype=torch.float64)
    real[:50, 0] = 2
    fake[50:, 0] = 2
    value = frechet_distance(real, fake).item()
    assert value == pytest.approx(89.091, abs=1e-4)
    assert value == pytest.approx(80 + 9 * 100 / 99, rel=1e-13)


@pytest.mark.parametrize("d", [256, pytest.param(2048, marks=pytest.mark.slow)])
def test_pytorch_fids_published_value(d):
    zero, eye = torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64)
    assert bures_wasserstein(zero, eye, zero + 1, eye).item() == d


@pytest.mark.parametrize(("n", "m", "d"), [(30, 25, 4), (12, 40, 12), (50, 7, 6), (200, 100, 64)])
def test_frechet_equals_the_eigenvalue_form(gen, n, m, d):
    x, y = clouds(gen, n, m, d)
    # n = d leaves a zero eigenvalue, whose root the oracle knows to √eps only.
    tolerance = 1e-6 if min(n, m) <= d + 1 else 1e-10
    assert frechet_distance(x, y).item() == pytest.approx(eigenvalue_form(x, y), rel=tolerance)


@pytest.mark.parametrize(("n", "m"), [(5, 7), (2, 2), (3, 60), (60, 3)])
def test_frechet_with_more_columns_than_points(gen, n, m):
    """Rank-deficient covariances: the distance is that within the subspace which both clouds span."""
    d = 40
    x, y = clouds(gen, n, m, d)
    basis = torch.linalg.svd(torch.cat([x, y]), full_matrices=False)[2]
    got = frechet_distance(x, y)
    torch.testing.assert_close(got, frechet_distance(x @ basis.T, y @ basis.T), rtol=1e-10, atol=0)
    torch.testing.assert_close(got, bures_wasserstein(*moments(x), *moments(y)), rtol=1e-6, atol=0)
    constant = torch.cat([x, torch.full((n, 1), 3.0)], 1), torch.cat([y, torch.full((m, 1), 3.0)], 1)
    torch.testing.assert_close(frechet_distance(*constant), got, rtol=1e-10, atol=0)


def test_frechet_bias_between_clouds_of_one_law(gen):
    """(1/N + 1/M)·d(d + 5)/4, to first order; the next order is about d/N of it, 2 % here."""
    d, n, m, replications = 6, 400, 250, 300
    values = torch.stack(
        [
            frechet_distance(
                torch.randn(n, d, dtype=torch.float64, generator=gen),
                torch.randn(m, d, dtype=torch.float64, generator=gen),
            )
            for _ in range(replications)
        ]
    )
    want = (1 / n + 1 / m) * d * (d + 5) / 4
    se = values.std() / replications**0.5
    assert abs(values.mean() - want) < 4 * se + 0.02 * want
    assert se < 0.03 * want


def test_scales_as_the_square_of_the_units(gen, dtype):
    x, y = clouds(gen, dtype=dtype)
    for scale in (2.0**-20, 2.0**20):  # exact in floating point
        want = scale**2 * frechet_distance(x, y)
        torch.testing.assert_close(frechet_distance(scale * x, scale * y), want)


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    """A mean of 1000 beside a spread of 1: in float32 the covariance would keep one digit."""
    x, y = clouds(gen, 500, 400, 8, torch.float32)
    x, y = x + 1000, y + 1000
    got, want = frechet_distance(x, y), frechet_distance(x.double(), y.double())
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(want.item(), rel=torch.finfo(torch.float32).eps)


def test_identical_and_constant_clouds(gen, dtype):
    x, _ = clouds(gen, dtype=dtype)
    # Traces of about 4 that cancel: a few roundings of float64.
    assert 0 <= frechet_distance(x, x.clone()).item() < 1e-13
    point = torch.ones(3, 2, dtype=dtype, requires_grad=True)
    value = frechet_distance(point, torch.zeros(4, 2, dtype=dtype))
    value.backward()
    assert value.item() == 2
    assert torch.isfinite(point.grad).all()


def test_gradient_of_frechet(gen):
    x, y = (c.requires_grad_() for c in clouds(gen, 9, 8, 3))
    assert torch.autograd.gradcheck(frechet_distance, (x, y))
    wide_x, wide_y = (c.requires_grad_() for c in clouds(gen, 3, 4, 7))
    # Only the columns' spans of the centred clouds matter, and the singular values of ABᵀ are simple and
    # positive but for those that centring sets to zero for every x.
    assert torch.autograd.gradcheck(frechet_distance, (wide_x, wide_y))


def test_gradient_of_frechet_where_a_feature_is_constant(gen):
    """Digits have pixels that never vary: the gradient there is that of the mean, and never NaN."""
    x, y = clouds(gen, 20, 20, 3)
    x[:, 0], y[:, 0] = 1.0, 0.0
    x.requires_grad_()
    frechet_distance(x, y).backward()
    torch.testing.assert_close(x.grad[:, 0], torch.full((20,), 2 / 20, dtype=torch.float64))


def test_bures_wasserstein_equals_pot_and_the_closed_form(gen):
    p, q = random_gaussian(5, gen), random_gaussian(5, gen)
    got = bures_wasserstein(p.mean, p.cov, q.mean, q.cov).item()
    assert got == pytest.approx(
        float(bures_wasserstein_distance(p.mean, q.mean, p.cov, q.cov)) ** 2, rel=1e-8
    )
    assert got == pytest.approx(p.w2_squared(q), rel=1e-10)


def test_bures_wasserstein_of_singular_covariances():
    a = torch.diag(torch.tensor([4.0, 0.0, 1.0], dtype=torch.float64))
    b = torch.diag(torch.tensor([1.0, 9.0, 0.0], dtype=torch.float64))
    zero = torch.zeros(3, dtype=torch.float64)
    assert bures_wasserstein(zero, a, zero, b).item() == pytest.approx(1 + 9 + 1, rel=1e-14)


def test_kl_equals_torch_and_the_closed_form(gen):
    p, q = random_gaussian(5, gen), random_gaussian(5, gen)
    got = gaussian_kl(p.mean, p.cov, q.mean, q.cov).item()
    reference = kl_divergence(MultivariateNormal(p.mean, p.cov), MultivariateNormal(q.mean, q.cov)).item()
    assert got == pytest.approx(reference, rel=1e-12)
    assert got == pytest.approx(p.kl(q), rel=1e-12)
    assert gaussian_kl(p.mean, p.cov, p.mean, p.cov).item() == 0


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_kl_is_free_of_units_and_keeps_small_values(gen, scale):
    p, q = random_gaussian(4, gen), random_gaussian(4, gen)
    want = gaussian_kl(p.mean, p.cov, q.mean, q.cov)
    root = scale**0.5
    got = gaussian_kl(root * p.mean, scale * p.cov, root * q.mean, scale * q.cov)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    # Variances 1 and (1 + h)²: KL = ½(u² − 1 − 2 ln u) with u = 1/(1 + h), which is h² − (5/3)h³ + …
    h = 1e-6
    one = torch.eye(1, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    assert gaussian_kl(zero, one, zero, (1 + h) ** 2 * one).item() == pytest.approx(
        h**2, rel=1e-5 / 3 * 1.1 + 1e-9
    )


@pytest.mark.parametrize("function", [bures_wasserstein, gaussian_kl])
def test_gradient_of_the_closed_forms(gen, function):
    p, q = random_gaussian(3, gen), random_gaussian(3, gen)

    def of_roots(mean_p, root_p, mean_q, root_q):
        return function(mean_p, root_p @ root_p.T, mean_q, root_q @ root_q.T)

    roots = [torch.linalg.cholesky(g.cov) for g in (p, q)]
    inputs = [t.clone().requires_grad_() for t in (p.mean, roots[0], q.mean, roots[1])]
    assert torch.autograd.gradcheck(of_roots, inputs)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 1), ValueError, r"x must have shape \[n, d\]"),
        (torch.zeros(3, 2), torch.zeros(2, 3), ValueError, "same number of columns"),
        (torch.zeros(3, 2), torch.zeros(1, 2), ValueError, "y must hold at least 2 samples"),
        (torch.zeros(3, 2), torch.full((2, 2), torch.nan), ValueError, "y must be finite"),
        (torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.float64), TypeError, "same dtype"),
    ],
)
def test_refusals_of_frechet(x, y, error, message):
    with pytest.raises(error, match=message):
        frechet_distance(x, y)


ZERO, EYE = torch.zeros(2), torch.eye(2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((EYE, EYE, ZERO, EYE), ValueError, r"mean_p must have shape \[d\]"),
        ((ZERO, ZERO, ZERO, EYE), ValueError, r"cov_p must have shape \[d, d\]"),
        ((ZERO, torch.eye(3), ZERO, EYE), ValueError, r"cov_p must have shape \[2, 2\]"),
        ((ZERO, EYE, torch.zeros(3), torch.eye(3)), ValueError, "same length"),
        (
            (ZERO, EYE, ZERO, EYE + torch.tensor([[0.0, 1.0], [0.0, 0.0]])),
            ValueError,
            "cov_q must be symmetric",
        ),
        ((ZERO, EYE, ZERO, -EYE), ValueError, "cov_q must be positive"),
        ((ZERO, EYE, ZERO.double(), EYE), TypeError, "one dtype"),
        ((ZERO, EYE, torch.tensor([torch.nan, 0]), EYE), ValueError, "mean_q must be finite"),
    ],
)
@pytest.mark.parametrize("function", [bures_wasserstein, gaussian_kl])
def test_refusals_of_the_closed_forms(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


def test_refusal_of_a_singular_covariance_in_kl():
    with pytest.raises(ValueError, match="cov_p must be positive definite"):
        gaussian_kl(ZERO, torch.zeros(2, 2), ZERO, EYE)
