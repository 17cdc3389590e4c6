import math

import torch

from gan.losses import KL, DonskerVaradhan


def test_optimal_critic_gives_kl_between_gaussians(gen):
    """p = N(0, 1), q = N(1, 1): KL = ½ at v = L + c = ½ − x + c, whatever c."""
    n = 100_000
    real = torch.randn(n, 1, dtype=torch.float64, generator=gen)
    fake = 1 + torch.randn(n, 1, dtype=torch.float64, generator=gen)
    for constant in (0.0, 50.0):
        value = DonskerVaradhan().divergence(0.5 - real + constant, 0.5 - fake + constant)
        # Var r = 1 and Var e^s = e − 1 with E e^s = 1 (c = 0): four standard errors.
        assert abs(float(value) - 0.5) < 4 * math.sqrt((1 + math.e - 1) / n)


def test_bound_is_never_below_that_of_the_f_divergence(gen):
    """log x ≤ x/e, on the very same scores."""
    for _ in range(20):
        r, s = torch.randn(2, 9, 1, dtype=torch.float64, generator=gen)
        assert float(DonskerVaradhan().divergence(r, s)) >= float(KL().divergence(r, s))


def test_log_mean_exp_is_stable(dtype):
    """At s = ∓20 and ∓300 a constant under the logarithm, or a bare exp, would return something else."""
    for level in (-300.0, -20.0, 0.0, 300.0):
        s = torch.full((7, 1), level, dtype=dtype)
        value = DonskerVaradhan().divergence(torch.zeros(7, 1, dtype=dtype), s)
        # The logarithm of 7 is added and taken away at a size of 300: an ulp or two of that.
        torch.testing.assert_close(float(value), -level, rtol=4 * torch.finfo(dtype).eps, atol=1e-6)


def test_generator_weights_its_samples_by_the_softmax(gen):
    r, s = torch.randn(2, 5, 1, dtype=torch.float64, generator=gen)
    s.requires_grad_()
    (grad,) = torch.autograd.grad(DonskerVaradhan().generator_loss(r, s), s)
    torch.testing.assert_close(grad, -s.detach().softmax(0))
