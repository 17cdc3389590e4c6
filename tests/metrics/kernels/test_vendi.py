import math

import pytest
import torch

from metrics.kernels.kernel import Gaussian, Laplace, NegativeDistance, Polynomial
from metrics.kernels.vendi import vendi_score
from tests.metrics.kernels.test_inception_distance import waves


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_counts_groups(dtype, groups):
    """Similarity 1 within and exp(−5000) = 0 between: K/n has `groups` eigenvalues of 1/groups."""
    x = 100 * torch.arange(groups, dtype=dtype).repeat(4)[:, None]
    assert vendi_score(x, kernel=Gaussian(1.0)).item() == pytest.approx(groups, rel=1e-6)


def test_groups_of_unequal_size_count_by_their_entropy():
    x = torch.tensor([0.0] * 9 + [100.0], dtype=torch.float64)[:, None]
    want = math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    assert vendi_score(x, kernel=Gaussian(1.0)).item() == pytest.approx(want, rel=1e-12)


def test_two_points_in_closed_form():
    """Eigenvalues (1 ± s)/2 at similarity s."""
    s = math.exp(-1.5)
    a, b = (1 + s) / 2, (1 - s) / 2
    x = torch.tensor([[0.0], [1.5]], dtype=torch.float64)
    want = a**-a * b**-b
    assert vendi_score(x, kernel=Laplace(1.0)).item() == pytest.approx(want, rel=1e-12)


def test_a_sum_of_kernels_and_an_inner_product_are_normalised(gen):
    x = torch.randn(12, 3, dtype=torch.float64, generator=gen)
    assert vendi_score(x[:1].repeat(5, 1), kernel=Gaussian((1.0, 2.0))).item() == pytest.approx(1, rel=1e-10)
    cosine = Polynomial(degree=1, gamma=1.0, offset=0.0)
    unit = x / x.norm(dim=1, keepdim=True)
    values = torch.linalg.svdvals(unit).square() / 12  # the Gram matrix's eigenvalues from its factor
    want = torch.special.entr(values).sum().exp()
    torch.testing.assert_close(vendi_score(x, kernel=cosine), want)


@pytest.mark.parametrize("order", [0.2, 1, 2.0, math.inf])
@pytest.mark.parametrize("shape", [(12, 3), (4, 9), (5, 5)])
def test_the_cosine_is_that_of_all_pairs(gen, shape, order):
    """A kernel that is nobody's takes the n × n matrix; lengths, however large or small, do not count."""
    x = torch.randn(*shape, dtype=torch.float64, generator=gen) + 0.5
    want = vendi_score(x, kernel=lambda a, b: a @ b.T, order=order)
    lengths = torch.tensor([1e-300, 1e200, 3.0, 1.0], dtype=torch.float64).repeat(3)[: len(x), None]
    for cloud in (x, x * lengths):
        found = vendi_score(cloud, kernel=Polynomial(degree=1, offset=0.0), order=order)
        torch.testing.assert_close(found, want, rtol=1e-10, atol=0)


def test_the_cosine_is_vendi_scores():
    """vendi-score 0.0.3, score_X of 40 points in float64."""
    assert vendi_score(waves()[0], kernel=Polynomial(degree=1, offset=0.0)).item() == pytest.approx(
        COSINE, rel=1e-12
    )


@pytest.mark.parametrize("order", [0.1, 0.5, 1, 2, 30.0, math.inf])
def test_of_any_order_counts_equal_groups_alike(order):
    x = 100 * torch.arange(3.0).double().repeat(4)[:, None]
    assert vendi_score(x, kernel=Gaussian(1.0), order=order).item() == pytest.approx(3, rel=1e-10)


def test_orders_are_hill_numbers_of_unequal_groups():
    """Shares .9 and .1: 1/Σp², 1/.9, (√.9 + √.1)²; near 1 that of 1."""
    x = torch.tensor([0.0] * 9 + [100.0], dtype=torch.float64)[:, None]
    found = [vendi_score(x, kernel=Gaussian(1.0), order=q).item() for q in (2, math.inf, 0.5, 1 + 1e-4, 1)]
    assert found[:2] == pytest.approx([1 / 0.82, 1 / 0.9], rel=1e-10)
    assert found[2] == pytest.approx((0.9**0.5 + 0.1**0.5) ** 2, rel=1e-6)
    assert found[3] == pytest.approx(found[4], rel=1e-3)
    assert found[2] > found[4] > found[0] > found[1]


@pytest.mark.parametrize("order", [0, -1.0, math.nan])
def test_refusals_of_orders(order):
    with pytest.raises(ValueError, match="order must be finite and above 0"):
        vendi_score(torch.zeros(3, 1), kernel=Gaussian(1.0), order=order)


@pytest.mark.parametrize(
    ("x", "kernel", "error", "message"),
    [
        (torch.zeros(3), Gaussian(1.0), ValueError, r"x must have shape \[n, d\]"),
        (torch.ones(3, 2) / 0, Gaussian(1.0), ValueError, "x must be finite"),
        (torch.ones(3, 2), NegativeDistance(), ValueError, r"kernel must have k\(x, x\) > 0"),
        (
            torch.eye(3)[:, :2],
            Polynomial(degree=1, offset=0.0),
            ValueError,
            r"kernel must have k\(x, x\) > 0",
        ),
        (torch.arange(3.0)[:, None], lambda x, y: (x - y.T).square() + 1, ValueError, "positive definite"),
    ],
)
def test_refusals(x, kernel, error, message):
    with pytest.raises(error, match=message):
        vendi_score(x, kernel=kernel)


COSINE = 1.9694750544657758
