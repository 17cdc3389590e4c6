import pytest
import torch

from metrics import interval_coverage
from metrics.predictions import ConformalIntervals, ConformalSets, set_coverage


def classes(n, random):
    """A model that is much too sure."""
    logits = 2 * torch.randn(n, 5, generator=random, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    return (4 * logits).softmax(1), labels


@pytest.mark.parametrize("adaptive", [False, True])
def test_sets_cover_between_the_guaranteed_bounds(adaptive):
    random = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(400):
        sets = ConformalSets(level=0.8, adaptive=adaptive).fit(*classes(49, random))
        probs, labels = classes(100, random)
        shares.append(set_coverage(sets(probs), labels).coverage.value)
    found = torch.tensor(shares)
    stderr = float(found.std()) / 20
    assert 0.8 - 3 * stderr < float(found.mean())
    if not adaptive:  # without ties at most 1/(n + 1) above; adaptive sets have ties at 1
        assert float(found.mean()) < 0.8 + 1 / 50 + 3 * stderr


def test_adaptive_sets_take_the_most_probable_classes():
    random = torch.Generator().manual_seed(0)
    probs, labels = classes(500, random)
    sets = ConformalSets(level=0.9, adaptive=True).fit(probs, labels)(probs)
    kept = torch.where(sets, probs, 2.0).amin(1)
    dropped = torch.where(sets, -1.0, probs).amax(1)
    assert bool((kept >= dropped).all())


def test_intervals_cover_and_shrink_where_the_model_was_too_wide():
    random = torch.Generator().manual_seed(0)
    shares, margins = [], []
    for _ in range(300):
        y, fresh = torch.randn(49, generator=random), torch.randn(100, generator=random)
        intervals = ConformalIntervals(level=0.8).fit(3 * torch.randn(50, 49, generator=random), y)
        low, high = intervals(3 * torch.randn(50, 100, generator=random))
        shares.append(((low <= fresh) & (fresh <= high)).float().mean())
        margins.append(intervals.margin)
    found = torch.stack(shares)
    assert (
        0.8 - 3 * float(found.std()) / 300**0.5
        < float(found.mean())
        < 0.82 + 3 * float(found.std()) / 300**0.5
    )
    assert max(margins) < 0


def test_set_coverage_counts():
    sets = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    found = set_coverage(sets, torch.tensor([2, 0, 1]))
    assert found.coverage.value == pytest.approx(2 / 3)
    assert found.size.value == pytest.approx(5 / 3)


def test_too_few_points_are_refused_with_the_number_that_is_enough():
    random = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="at least 9 validation points"):
        ConformalSets(level=0.9).fit(*classes(8, random))
    ConformalSets(level=0.9).fit(*classes(9, random))
    with pytest.raises(ValueError, match="call fit"):
        ConformalSets()(classes(3, random)[0])
    with pytest.raises(TypeError, match=r"ConformalSets\(\.\.\.\)\(probs\)"):
        set_coverage(torch.ones(2, 2), torch.tensor([0, 1]))
    assert interval_coverage(torch.zeros(2, 1), torch.zeros(1)).level == 0.9
