import torch

from gan.losses import LeastSquares


def test_table_of_objectives():
    r, s = torch.tensor([[0.5], [-1.0]]), torch.tensor([[0.3], [2.0]])
    # ½·mean(.25, 4) + ½·mean(.09, 4) and ½·mean(.49, 1)
    torch.testing.assert_close(float(LeastSquares().critic_loss(r, s)), 0.5 * 2.125 + 0.5 * 2.045)
    torch.testing.assert_close(float(LeastSquares().generator_loss(r, s)), 0.5 * 0.745)


def test_optimal_critic_is_the_share_of_the_real_density():
    """Pointwise ½p(v−1)² + ½qv² is least at v = p/(p+q): here p = 3q at the one point there is."""
    v = torch.tensor(0.75, requires_grad=True)
    r, s = v.expand(3, 1), v.expand(1, 1)
    weighted = 3 * LeastSquares().critic_loss(r, r * 0) + LeastSquares().critic_loss(s * 0 + 1, s)
    (slope,) = torch.autograd.grad(weighted, v)
    torch.testing.assert_close(float(slope), 0.0)
