import pytest
import torch

from bayessgd.posteriors._spread import spread


@pytest.mark.parametrize(("m", "n"), [(1, 5), (3, 3), (3, 6), (30, 30), (200, 200), (7, 21)])
def test_equal_weights_pick_each_as_often(m, n):
    for seed in range(20):
        picked = spread(torch.ones(m), n, generator=torch.Generator().manual_seed(seed))
        assert picked.tolist() == sorted(list(range(m)) * (n // m))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_counts_are_within_one_of_their_share_and_right_on_average(n):
    weights = torch.tensor([0.05, 0.0, 0.6, 0.25, 0.1], dtype=torch.float64)
    trials = 4000
    random = torch.Generator().manual_seed(1)
    counts = torch.stack(
        [torch.bincount(spread(weights, n, generator=random), minlength=5).double() for _ in range(trials)]
    )
    assert bool(((counts - n * weights).abs() < 1).all())
    assert float(counts[:, 1].max()) == 0
    # A count's variance is at most ¼, that of a fair coin between two neighbours.
    assert float((counts.mean(0) - n * weights).abs().max()) < 4.5 * 0.5 / trials**0.5
