import torch

from gan.losses import Wasserstein


def test_table_of_objectives():
    r, s = torch.tensor([[0.5], [-1.5]]), torch.tensor([[0.5], [2.0], [5.0]])
    torch.testing.assert_close(float(Wasserstein().critic_loss(r, s)), 2.5 + 0.5)
    torch.testing.assert_close(float(Wasserstein().generator_loss(r, s)), -2.5)


def test_a_critic_of_slope_one_gives_w1_on_the_line(gen):
    """Between N(0, 1) and the same draws moved by 3 to the left, v(x) = x is optimal."""
    x = torch.randn(50, 1, dtype=torch.float64, generator=gen)
    torch.testing.assert_close(float(Wasserstein().divergence(x, x - 3)), 3.0, rtol=1e-12, atol=0)
