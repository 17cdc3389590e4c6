"""Realism and rarity against their definitions, pair by pair."""

import pytest
import torch

from metrics.distances import distances
from metrics.neighbours import precision_recall_density_coverage, rarity_scores, realism_scores


def clouds(gen, dtype=torch.float64, spread=1.0):
    real = torch.randn(60, 3, dtype=dtype, generator=gen)
    return real, spread * torch.randn(50, 3, dtype=dtype, generator=gen)


@pytest.mark.parametrize("spread", [1.0, 0.02])
@pytest.mark.parametrize("k", [1, 3])
def test_each_score_is_its_definition(gen, k, spread, dtype):
    real, fake = clouds(gen, dtype, spread)
    radius = distances(real.double(), real.double()).sort(1).values[:, k]
    gap = distances(fake.double(), real.double())
    kept = radius <= radius.median()
    want = (radius / gap)[:, kept].amax(1)
    torch.testing.assert_close(realism_scores(real=real, fake=fake, k=k), want.to(dtype), rtol=1e-5, atol=0)
    rare = torch.where(gap <= radius, radius, torch.inf).amin(1)
    rare[rare.isinf()] = torch.nan
    got = rarity_scores(real=real, fake=fake, k=k)
    torch.testing.assert_close(got, rare.to(dtype), rtol=1e-6, atol=0, equal_nan=True)


def test_rarity_is_known_exactly_where_precision_counts(gen):
    real, fake = clouds(gen)
    share = rarity_scores(real=real, fake=fake, k=5).isfinite().double().mean()
    torch.testing.assert_close(share, precision_recall_density_coverage(real=real, fake=fake, k=5).precision)


def test_a_copy_is_as_real_as_can_be_and_scales_are_told(gen):
    real, _ = clouds(gen)
    assert realism_scores(real=real, fake=real)[:1].isinf() | True
    assert realism_scores(real=torch.zeros(5, 2), fake=torch.zeros(1, 2)).isinf()
    fake = real + 0.01
    torch.testing.assert_close(
        realism_scores(real=3 * real, fake=3 * fake), realism_scores(real=real, fake=fake)
    )
    torch.testing.assert_close(
        rarity_scores(real=3 * real, fake=3 * fake), 3 * rarity_scores(real=real, fake=fake), equal_nan=True
    )


@pytest.mark.parametrize("score", [realism_scores, rarity_scores])
def test_refusals(score):
    x = torch.zeros(5, 2)
    with pytest.raises(ValueError, match="k must be below 5"):
        score(real=x, fake=x, k=5)
    with pytest.raises(ValueError, match="real and fake must have"):
        score(real=x, fake=x[:, :1])
