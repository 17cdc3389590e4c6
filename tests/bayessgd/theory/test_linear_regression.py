import pytest
import torch

from bayessgd.theory import LinearRegression, stationary_covariance
from tests.bayessgd.theory.quadratics import covariance_error, random_matrix, relative


def problem(gen, n=40, d=2, alpha=0.5, mixed=True):
    x = torch.randn(n, d, dtype=torch.float64, generator=gen)
    x = x @ random_matrix(d, gen) if mixed else x
    y = x.sum(1) + torch.randn(n, dtype=torch.float64, generator=gen)
    return LinearRegression(x, y, noise_precision=2.0, prior_precision=alpha)


def gradients(p, theta):
    """Per-example gradients [n, d] of ℓ_i at θ, prior included, by autograd."""

    def losses(theta):
        residual = p.targets - p.features @ theta
        prior = p.prior_precision / p.num_data / 2 * theta.square().sum()
        return p.noise_precision / 2 * residual.square() + prior

    return torch.func.jacrev(losses)(theta)


def test_curvature_optimum_and_noise_agree_with_autograd(gen):
    p = problem(gen)

    def loss(theta):
        residual = p.targets - p.features @ theta
        return residual.square().mean() + p.prior_precision / 2 / p.num_data * theta.square().sum()

    torch.testing.assert_close(torch.func.hessian(loss)(p.optimum), p.curvature)
    g = gradients(p, p.optimum)
    torch.testing.assert_close(g.mean(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-13)
    torch.testing.assert_close(g.T @ g / len(g), p.noise_at_optimum)


def test_noise_is_the_mean_covariance_over_parameters(gen):
    """C(Σ) from Gauss–Hermite-free symmetric points: θ* ± √d Lᵀe_j have exactly mean θ* and covariance Σ."""
    p, sigma = problem(gen), random_matrix(2, gen)
    offsets = 2**0.5 * torch.linalg.cholesky(sigma).T
    total = torch.zeros(2, 2, dtype=torch.float64)
    for delta in torch.cat([offsets, -offsets]):
        total += gradients(p, p.optimum + delta).T.cov(correction=0) / 4
    torch.testing.assert_close(p.noise(sigma), total, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("m", [0.0, 0.5])
@pytest.mark.parametrize("batch_size", [1, 20])
def test_solves_its_own_fixed_point(batch_size, m, gen):
    p = problem(gen)
    H = 0.02 * random_matrix(2, gen)
    kwargs = {"preconditioner": H, "batch_size": batch_size, "momentum": m}
    cov = p.stationary_covariance(**kwargs)
    again = stationary_covariance(p.curvature, p.noise(cov), **kwargs)
    torch.testing.assert_close(cov, again, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("m", [0.0, 0.5])
def test_predicts_sgd_on_the_data(m, gen):
    """Real iid minibatches at S/N = 0.5: three per cent, where the constant C is off by more."""
    p, chains, S = problem(gen, n=20, mixed=False), 40_000, 10
    modes = torch.linalg.eigvalsh(p.curvature)
    H = float(0.5 / modes[-1])
    # What is left of the start, (1 − Hλ)^(2·steps) for the slowest mode, is below 1e-4.
    steps = int(4.7 / (H * float(modes[0]))) + 1
    theta = p.optimum.expand(chains, 2)
    v = torch.zeros_like(theta)
    for _ in range(steps):
        rows = torch.randint(20, (chains, S), generator=gen)
        x, y = p.features[rows], p.targets[rows]
        residual = (x @ theta[:, :, None])[:, :, 0] - y
        g = p.noise_precision * (residual[:, :, None] * x).mean(1) + p.prior_precision / 20 * theta
        v = m * v - H * g
        theta = theta + v
    delta = theta - p.optimum
    cov = p.stationary_covariance(preconditioner=H, batch_size=S, momentum=m)
    found = delta.T @ delta / chains
    # Fourth moments are near Gaussian at S = 10: the error is about 1 %.
    assert relative(found, cov) < 3 * covariance_error(cov, chains) <= 0.03
    frozen = stationary_covariance(
        p.curvature, p.noise_at_optimum, preconditioner=H, batch_size=S, momentum=m
    )
    assert relative(frozen, cov) > 0.03


def test_small_steps_have_constant_noise(gen):
    p = problem(gen)
    cov = p.stationary_covariance(preconditioner=1e-6, batch_size=1)
    frozen = stationary_covariance(p.curvature, p.noise_at_optimum, preconditioner=1e-6, batch_size=1)
    assert relative(frozen, cov) < 1e-4


def test_mean_square_edge_in_closed_form():
    """x = 1 and 3: A = 5, E[H²] = 41; at S = 1 the factor 1 − 10ε + 41ε² is below one for ε < 10/41, not 2/5."""
    p = LinearRegression(torch.tensor([[1.0], [3.0]]).double(), torch.tensor([0.0, 1.0]).double())
    p.stationary_covariance(preconditioner=10 / 41 * (1 - 1e-6), batch_size=1)
    with pytest.raises(ValueError, match=r"mean square .* stay below 0\.9756 times"):
        p.stationary_covariance(preconditioner=10 / 40, batch_size=1)
    with pytest.raises(ValueError, match=r"stay below 0\.8 times"):
        p.stationary_covariance(preconditioner=0.5, batch_size=1)


def test_gradcheck_through_data_and_step(gen):
    x = torch.randn(6, 2, dtype=torch.float64, generator=gen, requires_grad=True)
    y = torch.randn(6, dtype=torch.float64, generator=gen, requires_grad=True)
    h = torch.tensor(0.05, dtype=torch.float64, requires_grad=True)

    def cov(x, y, h):
        return LinearRegression(x, y, prior_precision=1.0).stationary_covariance(
            preconditioner=h, batch_size=2, momentum=0.3
        )

    assert torch.autograd.gradcheck(cov, (x, y, h))


def test_float32(gen):
    p = problem(gen)
    narrow = LinearRegression(p.features.float(), p.targets.float(), 2.0, 0.5)
    cov = narrow.stationary_covariance(preconditioner=0.01, batch_size=5)
    assert cov.dtype == narrow.optimum.dtype == torch.float32
    expected = p.stationary_covariance(preconditioner=0.01, batch_size=5)
    torch.testing.assert_close(cov.double(), expected, rtol=1e-5, atol=1e-9)


X, Y = torch.eye(3).double(), torch.ones(3).double()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((X[0], Y), ValueError, r"features must have shape \[n, d\]"),
        ((X, Y[:2]), ValueError, "targets must have one entry per row"),
        ((X, Y[:, None]), ValueError, r"targets must have shape \[n\]"),
        ((X, Y, 0.0), ValueError, "noise_precision must be finite and above 0"),
        ((X, Y, 1.0, -1.0), ValueError, "prior_precision must be finite and above 0"),
        ((torch.ones(3, 2).double(), Y), ValueError, "features must have full column rank"),
    ],
)
def test_refusals(arguments, error, match):
    with pytest.raises(error, match=match):
        LinearRegression(*arguments)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"preconditioner": 0.0}, ValueError, "preconditioner"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"momentum": 1.0}, ValueError, "momentum"),
        ({"injected": -X}, ValueError, "injected must be positive semi-definite"),
    ],
)
def test_stationary_refusals(change, error, match):
    with pytest.raises(error, match=match):
        LinearRegression(X, Y).stationary_covariance(**({"preconditioner": 0.1, "batch_size": 1} | change))


def test_refuses_too_many_columns_and_bad_covariances():
    wide = LinearRegression(torch.eye(65).double(), torch.ones(65).double())
    with pytest.raises(ValueError, match="at most 64 columns"):
        wide.stationary_covariance(preconditioner=0.1, batch_size=1)
    with pytest.raises(ValueError, match="cov must be positive semi-definite"):
        LinearRegression(X, Y).noise(-X)
