import pytest
import torch

from metrics.gaussians.frechet import frechet_distance
from metrics.streaming import FrechetDistance


def streamed(real, fake, size):
    distance = FrechetDistance()
    for batch in real.split(size):
        distance.update(real=batch)
    for batch in fake.split(size):
        distance.update(fake=batch)
    return distance.compute()


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_mean_of_a_million_is_no_matter(gen, size):
    real = torch.randn(500, 6, dtype=torch.float64, generator=gen)
    fake = 1.3 * torch.randn(400, 6, dtype=torch.float64, generator=gen) + 0.5
    # Shifted alike, nothing changes but the rounding of the points to 1e6 · 1.1e-16, which moves each mean and
    # deviation by 1e-10, the running mean by as much per batch (a random walk, √500), and the distance, of slope
    # of order 1, by as much.
    got = streamed(real + 1e6, fake + 1e6, size)
    assert got.item() == pytest.approx(frechet_distance(real, fake).item(), abs=1e-8)
    # Shifted apart, ‖gap‖² is 6e12 and keeps its 16 digits.
    got = streamed(real + 1e6, fake, size)
    assert got.item() == pytest.approx(frechet_distance(real + 1e6, fake).item(), rel=1e-14)


def test_constant_features_and_two_points(gen):
    real = torch.randn(30, 3, dtype=torch.float64, generator=gen)
    real[:, 1] = 2.0
    for fake in (real[:2] + 1, real.clone()):
        got, want = streamed(real, fake, 4), frechet_distance(real, fake)
        assert got.item() == pytest.approx(want.item(), abs=1e-13)


def test_one_point_is_refused():
    distance = FrechetDistance()
    distance.update(real=torch.zeros(1, 2), fake=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="real must hold at least 2 samples, got 1"):
        distance.compute()
