import torch

from gan.losses import Hinge


def test_table_of_objectives():
    r, s = torch.tensor([[0.5], [-1.0], [3.0]]), torch.tensor([[0.3], [-2.0], [2.0]])
    # mean(.5, 2, 0) + mean(1.3, 0, 3)
    torch.testing.assert_close(float(Hinge().critic_loss(r, s)), 2.5 / 3 + 4.3 / 3)
    torch.testing.assert_close(float(Hinge().generator_loss(r, s)), -0.1)


def test_optimum_is_two_minus_twice_the_total_variation():
    """v = sign(p − q) on two points with p = (¾, ¼) and q = (¼, ¾), whose total variation is ½."""
    r, s = torch.tensor([[1.0], [1.0], [1.0], [-1.0]]), torch.tensor([[1.0], [-1.0], [-1.0], [-1.0]])
    torch.testing.assert_close(float(Hinge().critic_loss(r, s)), 2 - 2 * 0.5)
