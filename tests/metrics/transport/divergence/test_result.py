"""Convergence as a value."""

import pytest
import torch

from metrics.transport import sinkhorn_divergence


@pytest.fixture
def clouds(gen):
    return torch.randn(3, 20, 2, generator=gen), 1 + torch.randn(3, 15, 2, generator=gen)


@pytest.mark.parametrize("options", [{}, {"p": 1}, {"memory": 1}, {"cost": lambda u, v: torch.cdist(u, v)}])
def test_result_of_one_problem(clouds, options):
    x, y = clouds[0][0].requires_grad_(), clouds[1][0]
    result = sinkhorn_divergence(x, y, eps=0.3, return_result=True, **options)
    assert result.converged is True
    assert result.eps == 0.3
    assert 0 < result.marginal_error < 1e-3
    assert result.iterations > 1
    assert torch.equal(result.value, sinkhorn_divergence(x, y, eps=0.3, **options))
    assert result.value.requires_grad


@pytest.mark.parametrize("p", [1, 2])
def test_result_of_a_batch_has_an_entry_for_each(clouds, p):
    x, y = clouds
    result = sinkhorn_divergence(x, y, p=p, eps=0.3, return_result=True)
    assert (
        result.value.shape
        == result.converged.shape
        == result.marginal_error.shape
        == result.eps.shape
        == (3,)
    )
    assert result.converged.all()


@pytest.mark.parametrize("batch", [False, True])
def test_giving_up_is_a_value_too(clouds, batch):
    x, y = clouds if batch else (clouds[0][0], clouds[1][0])
    with pytest.warns(RuntimeWarning, match="stopped after") as told:
        result = sinkhorn_divergence(x, y, eps=0.01, max_iterations=2, return_result=True)
    assert {each.filename for each in told} == {__file__}, "the line that called"
    assert not torch.as_tensor(result.converged).any()
    assert torch.as_tensor(result.marginal_error).max() > 1e-2
