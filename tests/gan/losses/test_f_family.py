import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from gan import losses

FAMILY = [
    losses.JensenShannon,
    losses.NonSaturating,
    losses.KL,
    losses.ReverseKL,
    losses.Pearson,
    losses.Neyman,
    losses.SquaredHellinger,
    losses.TotalVariation,
]
SMOOTH = [cls for cls in FAMILY if cls is not losses.TotalVariation]
# Closed forms for p = N(0, 1), q = N(1, 1); the Jensen–Shannon one by mpmath's quadrature in 40 digits.
JSD = 0.1114214821847
BETWEEN_GAUSSIANS = {
    losses.JensenShannon: JSD,
    losses.NonSaturating: JSD,
    losses.KL: 0.5,
    losses.ReverseKL: 0.5,
    losses.Pearson: math.e - 1,
    losses.Neyman: math.e - 1,
    losses.SquaredHellinger: 2 - 2 * math.exp(-1 / 8),
    losses.TotalVariation: math.erf(0.5 / math.sqrt(2)),
}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def quadrature():
    """Points on a fine line and the two densities: the trapezium rule on a Gaussian is exact to rounding."""
    x = torch.linspace(-14, 15, 29_001, dtype=torch.float64)[:, None]
    p, q = ((-((x - m) ** 2) / 2).exp() / math.sqrt(2 * math.pi) for m in (0.0, 1.0))
    return x, p * 1e-3, q * 1e-3


@pytest.mark.parametrize("cls", FAMILY)
def test_composed_conjugate_is_the_numeric_conjugate_of_f_at_g(cls):
    for v in (-1.5, -0.7, -0.1, 0.0, 0.3, 0.9, 2.0):
        t = float(cls.g(tensor(v)))

        def objective(log_u, t=t):
            u = tensor(math.exp(log_u))
            return float(cls.f(u) - u * t)

        supremum = -minimize_scalar(objective, bounds=(-30, 30), options={"xatol": 1e-10}).fun
        # The optimiser stops within 1e-10 of the argument; a smooth maximum is then right to the square of
        # that, total variation's kink at u = 1 to 1e-10 itself.
        torch.testing.assert_close(float(cls.conjugate(tensor(v))), supremum, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls", SMOOTH)
def test_optimal_critic_is_where_g_is_the_slope_of_f(cls):
    log_ratio = torch.linspace(-3, 3, 13, dtype=torch.float64)
    u = log_ratio.exp().requires_grad_()
    (slope,) = torch.autograd.grad(cls.f(u).sum(), u)
    torch.testing.assert_close(cls.g(cls.optimal_critic(log_ratio)), slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cls", SMOOTH)
def test_fenchel_equality_at_the_optimal_critic(cls):
    """u·g − f*(g) = f(u): with the table's last column the bound is tight pointwise."""
    log_ratio = torch.linspace(-3, 3, 13, dtype=torch.float64)
    u, v = log_ratio.exp(), cls.optimal_critic(log_ratio)
    torch.testing.assert_close(u * cls.g(v) - cls.conjugate(v), cls.f(u), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cls", FAMILY)
def test_optimal_critic_gives_the_divergence_between_gaussians(cls, quadrature):
    x, p, q = quadrature
    v = cls.optimal_critic(0.5 - x)
    if cls is losses.TotalVariation:
        v = v.nan_to_num(posinf=40.0, neginf=-40.0)
    bound = (p * cls.g(v)).sum() - (q * cls.conjugate(v)).sum()
    if cls in (losses.JensenShannon, losses.NonSaturating):
        torch.testing.assert_close(float(bound), 2 * JSD - math.log(4), atol=1e-11, rtol=0)  # −1.163451
        bound = (bound + math.log(4)) / 2
    # The rule is exact to rounding on what is smooth; at total variation's kink it errs by the step's square.
    tolerance = 1e-6 if cls is losses.TotalVariation else 1e-11
    torch.testing.assert_close(float(bound), BETWEEN_GAUSSIANS[cls], atol=tolerance, rtol=0)


@pytest.mark.parametrize("cls", FAMILY)
def test_divergence_estimates_it_from_samples(cls, gen):
    """The public method on scores: n draws from each Gaussian, tolerance four standard errors."""
    n = 40_000
    real = torch.randn(n, 1, dtype=torch.float64, generator=gen)
    fake = 1 + torch.randn(n, 1, dtype=torch.float64, generator=gen)
    loss = cls()
    r, s = (cls.optimal_critic(0.5 - x) for x in (real, fake))
    if cls is losses.TotalVariation:
        r, s = (v.nan_to_num(posinf=40.0, neginf=-40.0) for v in (r, s))
    low, high = loss.critic_range
    spread = (loss.g(r.clamp(low, high)).var() + loss.conjugate(s.clamp(low, high)).var()) / n
    truth = BETWEEN_GAUSSIANS[cls]
    # Total variation's clamp at c loses the factor tanh c.
    truth = truth * math.tanh(loss.max_log_ratio) if cls is losses.TotalVariation else truth
    assert abs(float(loss.divergence(r, s)) - truth) < 4 * float(spread.sqrt())


@pytest.mark.parametrize("cls", FAMILY)
def test_wrong_critic_stays_below(cls, quadrature):
    """Weak duality for critics that are not optimal, through the clamp as well."""
    x, p, q = quadrature
    low, high = cls().critic_range
    for v in (0.3 - x, 2 * (0.5 - x), x.sin(), -x, 30 * (0.5 - x)):
        v = v.clamp(low, high)
        bound = (p * cls.g(v)).sum() - (q * cls.conjugate(v)).sum()
        if cls in (losses.JensenShannon, losses.NonSaturating):
            bound = (bound + math.log(4)) / 2
        assert float(bound) <= BETWEEN_GAUSSIANS[cls] + 1e-6


def test_table_of_objectives():
    r, s = tensor(0.5, -1.0)[:, None], tensor(0.3, 2.0)[:, None]
    sp = torch.nn.functional.softplus
    js, ns = losses.JensenShannon(), losses.NonSaturating()
    for loss in (js, ns):
        torch.testing.assert_close(loss.critic_loss(r, s), sp(-r).mean() + sp(s).mean())
    torch.testing.assert_close(js.generator_loss(r, s), -sp(s).mean())
    torch.testing.assert_close(ns.generator_loss(r, s), sp(-s).mean())
    torch.testing.assert_close(losses.KL().critic_loss(r, s), (s - 1).exp().mean() - r.mean())


@pytest.mark.parametrize("cls", [losses.KL, losses.ReverseKL, losses.Pearson])
def test_default_generator_loss_is_minus_the_score_where_one_of_the_forms_is(cls):
    """Linear, so that no generated sample is without a gradient and none has an enormous one."""
    s = tensor(-1.0, 0.3, 0.9)[:, None].requires_grad_()
    (grad,) = torch.autograd.grad(cls().generator_loss(s, s), s)
    torch.testing.assert_close(grad, torch.full_like(s, -1 / 3))


def test_softplus_keeps_its_gradient_where_log_sigmoid_plus_a_constant_loses_it():
    """log(σ(v) + 1e-8) is flat below v ≈ −18, where a real sample is scored worst and matters most."""
    r = torch.full((1, 1), -40.0, requires_grad=True)
    losses.JensenShannon().critic_loss(r, torch.zeros(1, 1)).backward()
    assert r.grad is not None
    torch.testing.assert_close(r.grad, torch.full((1, 1), -1.0))
    naive = torch.full((1, 1), -40.0, requires_grad=True)
    (-(naive.sigmoid() + 1e-8).log()).sum().backward()
    assert naive.grad is not None
    assert float(naive.grad.abs()) < 1e-8


def test_composed_form_keeps_digits_that_f_star_of_a_rounded_g_loses():
    v = torch.tensor([20.0])
    g = losses.Neyman.g(v)  # 1 − 2e-9 is 1 in float32
    naive = 2 - 2 * (1 - g).sqrt()
    exact = 2 - 2 * math.exp(-10)
    assert abs(float(losses.Neyman.conjugate(v)) - exact) < 3e-7
    assert abs(float(naive) - exact) > 5e-5
