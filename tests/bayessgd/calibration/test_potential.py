import pytest
import torch

from bayessgd.calibration import potential
from bayessgd.likelihoods import log_joint
from tests.bayessgd.calibration.problems import D, Regression


@pytest.fixture
def regression():
    return Regression()


def test_potential_is_the_negative_log_joint(regression):
    draws = {"weight": torch.randn(5, 1, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)}
    found = potential(regression.net, draws, regression.x, regression.y, **regression.laws, batch_size=13)
    for i in range(5):
        one = {"weight": draws["weight"][i]}
        joint = log_joint(regression.net, one, regression.x, regression.y, **regression.laws, num_data=60)
        torch.testing.assert_close(found[i], -joint)


def test_a_part_of_the_data_counts_for_all(regression):
    draws = {"weight": regression.mean[None] + 1}
    x, y = torch.cat([regression.x] * 3), torch.cat([regression.y] * 3)
    whole = potential(regression.net, draws, x, y, **regression.laws)
    part = potential(regression.net, draws, regression.x, regression.y, **regression.laws, num_data=180)
    torch.testing.assert_close(part, whole)


def test_the_data_are_no_more_than_they_stand_for(regression):
    draws = {"weight": regression.mean[None]}
    with pytest.raises(ValueError, match="num_data must be at least 60, got 20"):
        potential(regression.net, draws, regression.x, regression.y, **regression.laws, num_data=20)


def test_inputs_may_be_a_tuple(regression):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, D, dtype=torch.float64))

        def forward(self, first, second):
            return torch.cat([first, second], 1) @ self.weight.T

    draws = {"weight": regression.mean[None] + torch.arange(3.0).double()[:, None, None]}
    one = potential(regression.net, draws, regression.x, regression.y, **regression.laws)
    two = potential(Two(), draws, (regression.x[:, :1], regression.x[:, 1:]), regression.y, **regression.laws)
    torch.testing.assert_close(one, two)
    with pytest.raises(ValueError, match="x and y must have the same length, got 59 and 60"):
        potential(Two(), draws, (regression.x[:, :1], regression.x[1:, 1:]), regression.y, **regression.laws)
