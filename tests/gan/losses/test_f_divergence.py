import math

import pytest
import torch

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


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("cls", FAMILY)
def test_both_generator_forms(cls):
    s = tensor(-0.7, 0.3, 0.9)[:, None]
    torch.testing.assert_close(cls(non_saturating=True).generator_loss(s, s), -cls.g(s).mean())
    torch.testing.assert_close(cls(non_saturating=False).generator_loss(s, s), -cls.conjugate(s).mean())


@pytest.mark.parametrize(
    "cls", [losses.KL, losses.ReverseKL, losses.Pearson, losses.Neyman, losses.SquaredHellinger]
)
def test_clamp_holds_the_log_ratio_and_pulls_back(cls, dtype):
    loss = cls(max_log_ratio=2.0)
    low, high = loss.critic_range
    ends = torch.tensor([-2.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(tensor(low, high), cls.optimal_critic(ends))
    s = torch.tensor([[high + 50.0]], dtype=dtype, requires_grad=True)
    r = torch.tensor([[low - 50.0]], dtype=dtype, requires_grad=True)
    loss.critic_loss(r, s).backward()
    assert r.grad is not None
    assert s.grad is not None
    # Outside, the slope is that at the nearer end, and descent leads back.
    end = torch.tensor([[low], [high]], dtype=dtype, requires_grad=True)
    (loss.conjugate(end)[1] - loss.g(end)[0]).backward()
    assert end.grad is not None
    torch.testing.assert_close(torch.cat([r.grad, s.grad]), end.grad)
    assert float(r.grad) < 0 < float(s.grad)
    # A score that is outside on its own good side is left alone.
    s = torch.tensor([[low - 50.0]], dtype=dtype, requires_grad=True)
    r = torch.tensor([[high + 50.0]], dtype=dtype, requires_grad=True)
    loss.critic_loss(r, s).backward()
    assert r.grad is not None
    assert s.grad is not None
    assert float(r.grad) == 0 == float(s.grad)


def test_clamp_follows_the_sign_of_what_is_minimised():
    """Whoever maximises the critic's loss is pulled back just as well."""
    loss = losses.KL(max_log_ratio=2.0)
    s = torch.tensor([[50.0]], requires_grad=True)
    (-loss.critic_loss(torch.zeros(1, 1), s)).backward()
    assert s.grad is not None
    assert float(s.grad) == 0


def test_infinite_ratio_means_no_clamp():
    s = torch.tensor([[60.0]])
    free = losses.KL(max_log_ratio=math.inf).critic_loss(torch.zeros(1, 1), s)
    torch.testing.assert_close(float(free), math.exp(59.0), rtol=1e-5, atol=0)  # e^v has v's error, 4e-6


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_refuses_a_bad_ratio(value):
    with pytest.raises(ValueError, match="max_log_ratio must be above 0"):
        losses.KL(max_log_ratio=value)


def test_clamp_under_function_transforms():
    """torch.func's gradients, one score at a time, are autograd's of the batch."""
    loss = losses.KL(max_log_ratio=2.0)
    s = tensor(-50.0, 0.5, 50.0)[:, None].requires_grad_()
    (together,) = torch.autograd.grad(loss.critic_loss(s.detach(), s), s)

    def alone(score):
        return loss.critic_loss(torch.zeros(1, 1, dtype=torch.float64), score[None])

    torch.testing.assert_close(torch.func.vmap(torch.func.grad(alone))(s.detach()) / 3, together)
