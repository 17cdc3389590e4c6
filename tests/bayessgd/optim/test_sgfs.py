import pytest
import torch

from bayessgd.optim import SGFS, SGLD
from tests.bayessgd.optim.quadratic import (
    LAYOUT,
    D,
    assert_law,
    flat,
    lyapunov,
    parameters,
    problem,
    set_gradient,
)

EYE = torch.eye(D, dtype=torch.float64)
N, S, LR = 200, 4, 0.05
CHAINS = 1500


def run(*, diagonal, per_example, injected=None, steps=400, lr=LR):
    """Run chains with batches of S Gaussian per-example gradients; return iterates and estimates of C."""
    a, c = problem()
    gen, batches = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    params = parameters(CHAINS)
    sampler = SGFS(
        params,
        lr,
        num_data=N,
        batch_size=S,
        injected=injected,
        diagonal=diagonal,
        per_example=per_example,
        stacked=True,
        generator=gen,
    )
    root = torch.linalg.cholesky(c).T
    for _ in range(steps):
        z = torch.randn(CHAINS, S, D, generator=batches, dtype=torch.float64)
        examples = (flat(params) @ a)[:, None] + z @ root
        if per_example:
            sampler.observe(examples.split(LAYOUT, -1))
        set_gradient(params, examples.mean(1))
        sampler.step()
    return flat(params), sampler.state[params[0]]["covariance"]


def expected(c_hat, injected, *, lr=LR):
    a, c = problem()
    eet = 2 / N * EYE if injected is None else injected * EYE if isinstance(injected, float) else injected
    h = 2 / N * torch.linalg.inv(lr * c_hat / S + eet)
    return lyapunov(EYE - lr * h @ a, lr**2 * h @ c @ h / S + lr * h @ eet @ h)


MATRIX = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64) / N


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("diagonal", "injected"), [(True, None), (False, None), (False, 5e-3), (False, MATRIX)]
)
def test_stationary_covariance(diagonal, injected):
    """lr·C/S is several times EEᵀ: batch noise is most of the noise, and a factor in Ĉ would show.

    Ĉ of one chain rests on 400·3 degrees of freedom: its relative error 0.04 shifts Σ in the second order,
    2e-3, a fifteenth of the Monte-Carlo error √(2/1500).
    """
    _, c = problem()
    samples, c_hat = run(diagonal=diagonal, per_example=True, injected=injected)
    truth = torch.diag(c.diagonal()) if diagonal else c
    assert_law(samples, expected(truth, injected))
    estimate = torch.diag_embed(c_hat.mean(0)) if diagonal else c_hat.mean(0)
    assert_estimate(estimate, truth, freedom=CHAINS * 400 * (S - 1))


def assert_estimate(estimate, truth, *, freedom, bias=0.0):
    """Entries of a Wishart estimate with `freedom` degrees have variance (CᵢᵢCⱼⱼ + Cᵢⱼ²)/freedom."""
    _, c = problem()
    stderr = ((c.diagonal()[:, None] * c.diagonal() + c**2) / freedom).sqrt()
    assert bool(((estimate - truth).abs() < 5 * stderr + bias).all())


@pytest.mark.parametrize("diagonal", [True, False])
def test_batches_alone_estimate_the_same_covariance(diagonal):
    a, c = problem()
    samples, c_hat = run(diagonal=diagonal, per_example=False)
    truth = torch.diag(c.diagonal()) if diagonal else c
    estimate = torch.diag_embed(c_hat.mean(0)) if diagonal else c_hat.mean(0)
    h = 2 / N * torch.linalg.inv(LR * truth / S + 2 / N * EYE)
    # The documented bias, and half as much for the orders above; 400 differences of overlapping batches
    # count as 400·2/3 independent ones.
    bias = LR / 2 * (c @ h @ a + a @ h @ c) + LR * S / N * a @ h @ a
    if diagonal:
        bias = torch.diag(bias.diagonal())
    assert_estimate(estimate, truth + bias, freedom=CHAINS * 266, bias=0.5 * float(bias.abs().max()))
    assert_law(samples, expected(truth + bias, None), z=6.0)


def test_the_default_without_batch_noise_is_sgld(dtype):
    """No estimate yet: H = (2/N)·(EEᵀ)⁻¹ = 1, the first step of SGLD."""
    ours, theirs = (torch.ones(5, dtype=dtype, requires_grad=True) for _ in range(2))
    for sampler, p in (
        (SGFS([ours], 0.1, num_data=50, batch_size=5, generator=torch.Generator().manual_seed(0)), ours),
        (SGLD([theirs], 0.1, num_data=50, generator=torch.Generator().manual_seed(0)), theirs),
    ):
        p.grad = torch.linspace(-1, 1, 5, dtype=dtype)
        sampler.step()
    torch.testing.assert_close(ours, theirs)


def test_stacked_chains_are_chains_alone():
    gen = torch.Generator().manual_seed(0)
    examples = torch.randn(4, 3, 6, 2, generator=gen, dtype=torch.float64)  # steps, chains, S, P

    def estimate(stacked, data):
        theta = torch.zeros((3, 2) if stacked else (2,), dtype=torch.float64, requires_grad=True)
        sampler = SGFS([theta], 0.1, num_data=10, batch_size=6, per_example=True, stacked=stacked)
        for batch in data:
            sampler.observe([batch])
        return sampler.state[theta]["covariance"]

    together = estimate(True, examples)
    alone = torch.stack([estimate(False, examples[:, i]) for i in range(3)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(alone[0], torch.stack([b.T.cov() for b in examples[:, 0]]).mean(0))


def test_decay_forgets():
    theta = torch.zeros(1, requires_grad=True)
    sampler = SGFS([theta], 0.1, num_data=10, batch_size=2, per_example=True, diagonal=True, decay=0.5)
    for spread in (100.0, 1.0, 1.0):  # variances 2·spread², weights 1, 1/2, 1/2
        sampler.observe([torch.tensor([[spread], [-spread]])])
    torch.testing.assert_close(sampler.state[theta]["covariance"], torch.tensor([2e4 / 4 + 2 * 0.75]))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_data": 0}, ValueError, "num_data must be finite and above 0, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an int, got float"),
        ({"decay": 0.0}, ValueError, r"decay must be in \(0, 1\], got 0"),
        ({"injected": 0.0}, ValueError, "injected must be positive definite"),
        ({"injected": -1.0}, ValueError, "injected must be positive semi-definite"),
        ({"injected": torch.eye(3), "diagonal": True}, ValueError, r"injected must be a number or \[P\]"),
        ({"injected": torch.ones(2)}, ValueError, r"injected must be a number, \[3\]"),
        ({"weight_decay": 1e-4}, ValueError, "weight_decay must stay 0"),
    ],
)
def test_refusals(arguments, error, match):
    with pytest.raises(error, match=match):
        SGFS([torch.zeros(3, requires_grad=True)], 0.1, **({"num_data": 10, "batch_size": 2} | arguments))


@pytest.mark.parametrize(
    ("gradients", "error", "match"),
    [
        ([], TypeError, r"gradients must be tensors \[S, ...\] with S ≥ 2"),
        ([torch.zeros(1, 3)], ValueError, r"gradients must have shape \[S, ...\] with S ≥ 2 .* got \[1, 3\]"),
        ([torch.zeros(5, 2)], ValueError, r"for the parameter \[3\], got \[5, 2\]"),
        ([torch.zeros(5, 3), torch.zeros(5, 3)], ValueError, "one tensor per parameter, got more"),
    ],
)
def test_observe_refusals(gradients, error, match):
    sampler = SGFS([torch.zeros(3, requires_grad=True)], 0.1, num_data=10, batch_size=5, per_example=True)
    with pytest.raises(error, match=match):
        sampler.observe(gradients)


def test_refuses_the_wrong_source_of_the_covariance():
    theta = torch.zeros(3, requires_grad=True)
    theta.grad = torch.ones(3)
    with pytest.raises(ValueError, match="call observe before it"):
        SGFS([theta], 0.1, num_data=10, batch_size=5, per_example=True).step()
    with pytest.raises(ValueError, match="observe needs per_example=True"):
        SGFS([theta], 0.1, num_data=10, batch_size=5).observe([torch.zeros(5, 3)])
