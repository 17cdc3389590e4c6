import json
import math

import pytest
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_diabetes
from torch import nn

from bayessgd.evidence import EmpiricalBayes
from bayessgd.likelihoods import mean_negative_log_joint
from bayessgd.optim import PreconditionedSGD


def diabetes():
    x, y = load_diabetes(return_X_y=True)
    x, y = torch.as_tensor(x), torch.as_tensor(y)[:, None]
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def exact_maximum(x, y):
    """λ and σ that maximise log N(y | 0, σ²I + xxᵀ/λ), through the singular values of x."""
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    on, n, d = (u.T @ y)[:, 0].square(), *x.shape
    off = float(y.square().sum() - on.sum())

    def negative(log):
        precision, noise = math.exp(log[0]), math.exp(2 * log[1])
        v = noise + s.square() / precision
        return 0.5 * float(v.log().sum() + (on / v).sum() + (n - d) * math.log(noise) + off / noise)

    found = minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10})
    return math.exp(found.x[0]), math.exp(found.x[1])


def sampler(net, x, y, scale, share):
    """Langevin steps of a share of the inverse curvature: the posterior within share/2."""
    n = len(x)
    h = share * torch.linalg.inv((x.T @ x / scale**2 + torch.eye(x.shape[1], dtype=x.dtype)) / n)
    return PreconditionedSGD(
        net.parameters(),
        preconditioner=h,
        noise_covariance=2 * h / n,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.usefixtures("unchecked")
def test_linear_regression_finds_the_evidence_maximum():
    x, y = diabetes()
    precision, scale = exact_maximum(x, y)
    net = nn.Linear(10, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    em = EmpiricalBayes(net, precision=1.0, scale=1.0, decay=0.7)
    optimizer = sampler(net, x, y, scale=0.7, share=0.1)
    for _ in range(3000):
        optimizer.zero_grad()
        laws = {"likelihood": em.likelihood, "prior": em.prior, "num_data": len(x)}
        mean_negative_log_joint(net, dict(net.named_parameters()), x, y, **laws).backward()
        optimizer.step()
        em.update(y - net(x))
    # Langevin's own bias is 5 % of Tr Σ, which is a part of ‖θ‖²; the demand is 10 %.
    assert em.precision == pytest.approx(precision, rel=0.1)
    assert em.scale == pytest.approx(scale, rel=0.01)


def test_exact_draws_have_the_maximum_as_their_fixed_point():
    x, y = diabetes()
    precision, scale = exact_maximum(x, y)
    net = nn.Linear(10, 1, bias=False).double()
    random = torch.Generator().manual_seed(1)
    em = EmpiricalBayes(net, precision=precision, scale=scale)
    for _ in range(4000):
        a = x.T @ x / em.scale**2 + em.precision * torch.eye(10, dtype=x.dtype)
        root = torch.linalg.cholesky(a)
        mean = torch.cholesky_solve(x.T @ y / em.scale**2, root)
        z = torch.randn(10, 1, generator=random, dtype=x.dtype)
        net.weight.data = (mean + torch.linalg.solve_triangular(root.T, z, upper=True)).T
        em.update(y - net(x))
    # E‖θ‖² fluctuates by some 30 % a draw, and the means weigh about 4000^0.7 = 330 of them: 2 %, times the gain
    # 1/(1 − r) ≈ 2 of a fixed point.
    assert em.precision == pytest.approx(precision, rel=0.08)
    assert em.scale == pytest.approx(scale, rel=2e-3)


def test_the_start_counts_as_one_draw_and_weights_fall():
    net = nn.Linear(2, 1, bias=False)
    em = EmpiricalBayes(net, precision=8.0, scale=3.0, decay=0.75)
    squares, noise = 2 / 8.0, 9.0
    for t, (weight, residual) in enumerate(
        [([1.0, 1.0], 1.0), ([2.0, 0.0], 4.0), ([3.0, 1.0], 0.5)], start=1
    ):
        net.weight.data = torch.tensor([weight])
        em.update(torch.tensor([residual, residual]))
        rho = (t + 1) ** -0.75
        squares += rho * (sum(w * w for w in weight) - squares)
        noise += rho * (residual**2 - noise)
        assert em.precision == pytest.approx(2 / squares)
        assert em.scale == pytest.approx(noise**0.5)


def test_a_network_at_zero_does_not_decide_alone():
    # ρ₁ = 1 would make λ = D/0 of it.
    net = nn.Linear(4, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    em = EmpiricalBayes(net, precision=2.0)
    em.update()
    assert em.precision == pytest.approx(2 / (1 - 2**-0.7))


def test_the_start_is_forgotten():
    # Draws of N(0, ¼I): whatever λ was at first, 4 is what is left, and to the digits the same.
    random = torch.Generator().manual_seed(0)
    net = nn.Linear(100, 1, bias=False).double()
    low, high = EmpiricalBayes(net, precision=1e-3), EmpiricalBayes(net, precision=1e3)
    for _ in range(500):
        net.weight.data = 0.5 * torch.randn(1, 100, generator=random, dtype=torch.float64)
        low.update()
        high.update()
    # The share of the start is Π(1 − ρₜ) = 4e-9 after 500, of a ‖θ‖² that is 4000 times too large.
    assert low.precision == pytest.approx(high.precision, rel=1e-4)
    # A draw's ‖θ‖² has a relative deviation of √(2/100), and a mean with ρ = 500^−0.7 weighs 2/ρ = 150 of them: 1.2 %.
    assert high.precision == pytest.approx(4.0, rel=0.05)


def test_one_precision_per_tensor():
    net = nn.Linear(2, 1)
    net.weight.data, net.bias.data = torch.tensor([[1.0, 1.0]]), torch.tensor([0.5])
    em = EmpiricalBayes(net, per_tensor=True)
    em.update()
    # The start, λ = 1, has a share of 1 − 2^−0.7; ‖θ‖²/D is 1 and ¼.
    bias = 1 / (1 + 2**-0.7 * (0.25 - 1))
    assert em.precision == {"weight": pytest.approx(1.0), "bias": pytest.approx(bias)}
    assert em.prior.precision_of("bias") == pytest.approx(bias)


def test_it_goes_on_from_its_state():
    net = nn.Linear(3, 1)
    one, two = (EmpiricalBayes(net, scale=1.0) for _ in range(2))
    one.update(torch.full((2,), 3.0))
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for em in (one, two):
        em.update(torch.full((2,), 1.0))
    assert (one.precision, one.scale) == (two.precision, two.scale)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: EmpiricalBayes(net, precision=0), "precision must be finite and above 0"),
        (lambda net: EmpiricalBayes(net, scale=-1.0), "scale must be finite and above 0"),
        (lambda net: EmpiricalBayes(net, decay=0.5), "decay must be above 1/2"),
        (lambda net: EmpiricalBayes(net).likelihood, "scale must be given"),
        (lambda net: EmpiricalBayes(net).update(torch.ones(1)), "residuals must be given exactly"),
        (lambda net: EmpiricalBayes(net, scale=1.0).update(), "residuals must be given exactly"),
        (lambda net: EmpiricalBayes(net).load_state_dict({}), "state must be what state_dict"),
        (
            lambda net: EmpiricalBayes(net).load_state_dict(
                {**EmpiricalBayes(net).state_dict(), "squares": {}}
            ),
            "state must be of the parameters",
        ),
        (
            lambda net: EmpiricalBayes(net, scale=1.0).load_state_dict(EmpiricalBayes(net).state_dict()),
            "state must have a scale exactly where this one has",
        ),
        (
            lambda net: EmpiricalBayes(net, scale=1.0).update(torch.tensor([math.nan])),
            "residuals must be finite",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(nn.Linear(1, 1))


def test_refusal_of_a_run_that_diverged_changes_nothing():
    net = nn.Linear(1, 1)
    em = EmpiricalBayes(net, scale=1.0)
    before = em.state_dict()
    net.weight.data.fill_(math.inf)
    with pytest.raises(ValueError, match="did the training diverge"):
        em.update(torch.ones(2))
    with pytest.raises(TypeError, match=r"residuals must be a torch\.Tensor, got list"):
        em.update([1.0])
    assert em.state_dict() == before
