import pytest
import torch

from bayessgd.theory.search import best_diagonal, best_rate
from tests.bayessgd.theory.quadratics import random_quadratic


@pytest.mark.parametrize("m", [0.0, 0.9])
@pytest.mark.parametrize("ratio", [1e4, 10.0, 0.1])
def test_one_dimension_in_closed_form(ratio, m):
    one = torch.ones(1, 1, dtype=torch.float64)
    kwargs = {"num_data": 10 * ratio, "batch_size": 10, "momentum": m}
    exact = 2 * (1 - m) / ((1 - m) / (1 + m) + ratio)
    # The minimum is quadratic: a value known to 1e-16 places it to 1e-8, times the scale of its curvature.
    assert best_rate(one, one, **kwargs) == pytest.approx(exact, rel=1e-6)
    assert float(best_diagonal(one, one, **kwargs)) == pytest.approx(exact, rel=1e-6)


def test_starting_point_does_not_matter(gen):
    """The minimum found does not depend on the scale of the parameters, which moves every starting point."""
    problem = random_quadratic(3, gen)
    kwargs = {"num_data": 1000.0, "batch_size": 20, "momentum": 0.0}
    scale = torch.diag(torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64))
    plain = best_diagonal(problem.A, problem.C, **kwargs)
    moved = best_diagonal(scale @ problem.A @ scale, scale @ problem.C @ scale, **kwargs)
    torch.testing.assert_close(moved * scale.diagonal() ** 2, plain, rtol=1e-4, atol=0)


def test_refuses_a_problem_without_noise():
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="positive trace"):
        best_rate(eye, 0 * eye, num_data=10, batch_size=1, momentum=0.0)
    with pytest.raises(ValueError, match="C must reach every direction"):
        best_rate(eye, torch.ones_like(eye), num_data=10, batch_size=1, momentum=0.0)
