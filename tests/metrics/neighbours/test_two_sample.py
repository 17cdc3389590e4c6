import itertools
from math import comb

import pytest
import torch
from scipy.stats import fisher_exact
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from metrics.distances import distances
from metrics.neighbours.two_sample import classifier_two_sample_test, nearest_neighbour_accuracy
from tests.metrics import dense


@pytest.mark.parametrize(("n", "m"), [(20, 20), (30, 12), (2, 9)])
def test_accuracy_equals_scikit_learns_leave_one_out(gen, dtype, n, m):
    x = torch.randn(n, 3, dtype=dtype, generator=gen)
    y = torch.randn(m, 3, dtype=dtype, generator=gen) + 0.8
    pooled, labels = torch.cat([x, y]).numpy(), [0] * n + [1] * m
    said = cross_val_predict(KNeighborsClassifier(1), pooled, labels, cv=LeaveOneOut())
    want = ((said[:n] == 0).mean() + (said[n:] == 1).mean()) / 2
    assert nearest_neighbour_accuracy(x, y).item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("trials", [300, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("n", "m", "d"), [(15, 15, 2), (25, 8, 1), (10, 12, 30)])
def test_expectation_for_equal_laws(gen, n, m, d, trials):
    """(n + m − 2)/2(n + m − 1), for every law, dimension and pair of sizes."""
    x = torch.randn(trials, n, d, dtype=torch.float64, generator=gen)
    y = torch.randn(trials, m, d, dtype=torch.float64, generator=gen)
    values = torch.stack([nearest_neighbour_accuracy(a, b) for a, b in zip(x, y, strict=True)])
    se = values.std() / len(values) ** 0.5
    assert abs(values.mean() - (n + m - 2) / (2 * (n + m - 1))) < 4 * se
    assert se < 0.01


def test_ties_copies_and_distance(gen, dtype):
    x = torch.randn(10, 2, dtype=dtype, generator=gen)
    assert nearest_neighbour_accuracy(x, x.clone()).item() == 0
    assert nearest_neighbour_accuracy(x, x + 100).item() == 1
    # All points equal: every other point is a nearest one, 9 of 14 and 4 of 14 of them with the right label.
    point = torch.ones(1, 2, dtype=dtype)
    got = nearest_neighbour_accuracy(point.repeat(10, 1), point.repeat(5, 1)).item()
    assert got == pytest.approx((9 / 14 + 4 / 14) / 2, rel=1e-6)
    # The order of the points does not matter, also where distances tie.
    grid = torch.arange(6, dtype=dtype)[:, None]
    want = nearest_neighbour_accuracy(grid[:3] * 2, grid[:3] * 2 + 1)
    for order in itertools.permutations(range(3)):
        assert nearest_neighbour_accuracy(grid[list(order)] * 2, grid[:3] * 2 + 1) == want


@pytest.mark.parametrize("ties", [False, True])
def test_accuracy_is_that_of_all_distances(gen, ties):
    x, y = torch.randn(2, 30, 3, dtype=torch.float64, generator=gen).unbind()
    x, y = (x.round(), y[:20].round()) if ties else (x, y[:20])
    want = dense.nn_accuracy(distances(x, x), distances(x, y), distances(y, y))
    torch.testing.assert_close(nearest_neighbour_accuracy(x, y), want, rtol=1e-14, atol=0)


class Says:
    """A classifier with a fixed rule, so that its answers are known."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return (X[:, 0] > 0).astype(int)


def test_p_value_is_fishers_exact(gen):
    x = torch.randn(31, 2, dtype=torch.float64, generator=gen)
    y = torch.randn(46, 2, dtype=torch.float64, generator=gen) + 0.4
    result = classifier_two_sample_test(x, y, classifier=Says(), generator=torch.Generator().manual_seed(3))
    # The same split, and the same standardisation by the training halves, by hand.
    random = torch.Generator().manual_seed(3)
    order_x, order_y = torch.randperm(31, generator=random), torch.randperm(46, generator=random)
    mean = torch.cat([x[order_x[:15]], y[order_y[:23]]]).mean(0)
    said_x, said_y = (x[order_x[15:]] - mean)[:, 0] <= 0, (y[order_y[23:]] - mean)[:, 0] <= 0
    table = [[int(said_x.sum()), int((~said_x).sum())], [int(said_y.sum()), int((~said_y).sum())]]
    assert result.p_value.item() == pytest.approx(
        fisher_exact(table, alternative="greater").pvalue, rel=1e-10
    )
    want = (said_x.double().mean() + (~said_y).double().mean()) / 2
    assert result.accuracy.item() == pytest.approx(want.item(), rel=1e-12)


def test_p_value_of_a_perfect_answer():
    """Six of six and six of six: 1 / C(12, 6)."""
    x = torch.arange(12.0)[:, None]
    result = classifier_two_sample_test(x, x + 100)
    assert result.accuracy == 1
    assert result.p_value.item() == pytest.approx(1 / comb(12, 6), rel=1e-6)


@pytest.mark.parametrize("trials", [150, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unchecked")
def test_level_is_held_for_equal_laws(gen, trials):
    """P(p ≤ α) ≤ α for every α, here over so many pairs of clouds of unequal sizes."""
    values = []
    for _ in range(trials):
        x = torch.randn(30, 2, generator=gen)
        y = torch.randn(50, 2, generator=gen)
        values.append(classifier_two_sample_test(x, y, classifier=NearestCentroid(), generator=gen).p_value)
    p = torch.stack(values)
    for alpha in (0.05, 0.2, 0.5):
        # The discrete test is conservative: the share is at most α, plus four standard errors.
        assert (p <= alpha).double().mean() < alpha + 4 * (alpha * (1 - alpha) / trials) ** 0.5
    assert (p <= 0.5).double().mean() > 0.2


def test_default_sees_a_difference_of_spread_that_a_line_cannot(gen, dtype):
    x = torch.randn(300, 2, dtype=dtype, generator=gen)
    y = 3 * torch.randn(300, 2, dtype=dtype, generator=gen)
    result = classifier_two_sample_test(x, y)
    assert result.p_value < 1e-6
    # The best rule, ‖x‖² < 2·(9/8)·ln 9, is right with probability (1 − e^{−s/2} + e^{−s/18})/2 = 0.844 at
    # s = 4.94.
    assert 0.75 < result.accuracy < 0.92
    assert result.accuracy.dtype == dtype
    assert classifier_two_sample_test(x, y, classifier=LogisticRegression()).p_value > 1e-3


def test_seeds_repeat_and_constant_columns_are_harmless(gen):
    x, y = torch.randn(2, 40, 3, generator=gen).unbind()
    x[:, 1] = y[:, 1] = 0.1
    first, again = classifier_two_sample_test(x, y), classifier_two_sample_test(x, y)
    assert first == again
    seeds = [torch.Generator().manual_seed(seed) for seed in range(6)]
    assert len({classifier_two_sample_test(x, y, generator=g).accuracy.item() for g in seeds}) > 1


CLOUD = torch.arange(12.0).reshape(6, 2)
BAD = [
    (torch.zeros(3), CLOUD, ValueError, r"x must have shape \[n, d\]"),
    (CLOUD, torch.zeros(6, 3), ValueError, "same number of columns"),
    (CLOUD, CLOUD[:1], ValueError, "y must hold at least"),
    (CLOUD, CLOUD.double(), TypeError, "same dtype"),
    (CLOUD, CLOUD * torch.nan, ValueError, "y must be finite"),
]


@pytest.mark.parametrize(("x", "y", "error", "message"), BAD)
@pytest.mark.parametrize("function", [nearest_neighbour_accuracy, classifier_two_sample_test])
def test_refusals(function, x, y, error, message):
    with pytest.raises(error, match=message):
        function(x, y)


def test_refusal_of_what_is_no_classifier():
    with pytest.raises(TypeError, match="classifier must have fit and predict, got str"):
        classifier_two_sample_test(CLOUD, CLOUD, classifier="logistic")
