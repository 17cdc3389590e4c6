import ot
import pytest
import scipy.stats
import torch

from metrics.transport.line import _uniform_levels, line_cost

SIZES = [(1, 1), (1, 5), (6, 4), (7, 7), (30, 17)]


def lines(gen, n, m, l=3):
    x = torch.randn(l, n, dtype=torch.float64, generator=gen)
    return x, 2 * torch.randn(l, m, dtype=torch.float64, generator=gen) + 1


def weights(gen, n):
    w = torch.rand(n, dtype=torch.float64, generator=gen)
    return w / w.sum()


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_pot_line_by_line(gen, n, m, p, weighted):
    x, y = lines(gen, n, m)
    a, b = (weights(gen, n), weights(gen, m)) if weighted else (None, None)
    ones = [w.numpy() if w is not None else None for w in (a, b)]
    want = [
        ot.emd2_1d(u.numpy(), v.numpy(), *ones, metric="minkowski", p=p) for u, v in zip(x, y, strict=True)
    ]
    got = line_cost(x, y, p=p, a=a, b=b)
    # A few hundred roundings of sums of order one to ten.
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_equals_scipy(gen, n, m):
    x, y = lines(gen, n, m, 1)
    a, b = weights(gen, n), weights(gen, m)
    want = scipy.stats.wasserstein_distance(x[0], y[0], a, b)
    assert line_cost(x, y, p=1, a=a, b=b).item() == pytest.approx(want, rel=1e-13, abs=1e-13)


def test_published_values():
    # POT's documentation of emd2_1d; scipy's of wasserstein_distance, both with and without weights.
    assert line_cost(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), p=2).item() == 0.5
    assert line_cost(torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[5.0, 6.0, 8.0]]), p=1).item() == 5.0
    x, y = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    assert line_cost(x, y, p=1, a=torch.tensor([3.0, 1.0]), b=torch.tensor([2.0, 2.0])).item() == 0.25


def test_one_sided_weights_leave_the_other_side_uniform(gen):
    x, y = lines(gen, 5, 4)
    a = weights(gen, 5)
    whole = line_cost(x, y, p=2, a=a, b=torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(line_cost(x, y, p=2, a=a), whole)
    torch.testing.assert_close(line_cost(y, x, p=2, b=a), whole)


def test_a_repeated_point_is_a_weight(gen):
    x, y = lines(gen, 4, 3)
    counts = torch.tensor([2, 1, 0, 3])
    repeated = line_cost(x.repeat_interleave(counts, 1), y, p=2)
    torch.testing.assert_close(line_cost(x, y, p=2, a=counts.double()), repeated, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("n", "m", "terms"), [(6, 4, 8), (5, 3, 7), (3, 6, 6), (1, 9, 9)])
def test_equal_levels_are_merged_exactly(n, m, terms):
    """n + m − gcd(n, m) terms, whose widths make one without a sliver from rounding."""
    i, j, width = _uniform_levels(n, m, torch.device("cpu"))
    assert len(width) == terms
    assert width.min() >= 1 / (n * m)
    assert i.bincount(width).tolist() == pytest.approx([1 / n] * n, rel=1e-15)
    assert j.bincount(width).tolist() == pytest.approx([1 / m] * m, rel=1e-15)


@pytest.mark.parametrize("p", [1, 1.5, 2])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (6, 4)])
def test_gradients(gen, n, m, p):
    x, y = (c.requires_grad_() for c in lines(gen, n, m))
    assert torch.autograd.gradcheck(lambda x, y: line_cost(x, y, p=p), (x, y))
    a, b = weights(gen, n).requires_grad_(), weights(gen, m).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y, a, b: line_cost(x, y, p=p, a=a, b=b), (x, y, a, b))


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_gradient_is_zero_and_not_nan_where_points_meet(gen, p):
    x = lines(gen, 5, 5)[0].requires_grad_()
    line_cost(x, x.detach().flip(1), p=p).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_double_whatever_comes(gen, dtype):
    """Float32 positions are exact in float64, and so is everything after."""
    x, y = (c.to(dtype) for c in lines(gen, 6, 4))
    assert torch.equal(line_cost(x, y, p=2), line_cost(x.double(), y.double(), p=2))
