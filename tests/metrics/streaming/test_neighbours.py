import pytest
import torch

from metrics.neighbours.balls import precision_recall_density_coverage
from metrics.streaming import PrecisionRecallDensityCoverage


def test_equal_to_the_bit_with_copies(gen):
    """Copies across the batches and the clouds: ties decide, and must fall the same way."""
    base = torch.randn(30, 2, generator=gen)
    real, fake = torch.cat([base, base[:9]]), torch.cat([base[5:], base[:3] + 0.1])
    scores = PrecisionRecallDensityCoverage(k=2)
    for batch in real.split(4):
        scores.update(real=batch)
    for batch in fake.split(3):
        scores.update(fake=batch)
    assert scores.compute() == precision_recall_density_coverage(real=real, fake=fake, k=2)


def test_real_and_fake_are_not_swapped():
    scores = PrecisionRecallDensityCoverage(k=1)
    scores.update(real=torch.tensor([[0.0], [1.0], [2.0]]), fake=torch.tensor([[0.5], [9.0]]))
    got = scores.compute()
    assert got.precision == 0.5
    assert got.coverage == pytest.approx(2 / 3)


def test_refuses_k_as_the_function_does():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        PrecisionRecallDensityCoverage(k=0)
    scores = PrecisionRecallDensityCoverage(k=3)
    scores.update(real=torch.zeros(3, 1), fake=torch.zeros(9, 1))
    with pytest.raises(ValueError, match="k must be below 3, got 3"):
        scores.compute()
