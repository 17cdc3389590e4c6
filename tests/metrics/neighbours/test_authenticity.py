"""Authenticity against its definition, and against the chance that two neighbours are each other's nearest."""

import math

import pytest
import torch

from metrics.neighbours import authenticity


def test_each_sample_is_judged_by_the_definition(gen, dtype):
    train, samples = (torch.randn(n, 2, dtype=dtype, generator=gen) for n in (40, 60))
    found = authenticity(samples, train=train)
    for s, told in zip(samples.double(), found.authentic, strict=True):
        gaps = (train.double() - s).norm(dim=1)
        nearest = int(gaps.argmin())
        others = (train.double() - train.double()[nearest]).norm(dim=1)
        others[nearest] = torch.inf
        assert bool(told) == bool(gaps[nearest] > others.min())
    assert found.share.item() == pytest.approx(found.authentic.double().mean().item())
    assert found.share.dtype == dtype


@pytest.mark.parametrize("trials", [20, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("d", "mutual"), [(1, 2 / 3), (2, math.pi / (4 * math.pi / 3 + 3**0.5 / 2))])
def test_true_samples_have_the_chance_of_their_dimension(d, mutual, trials):
    """1 − vol(ball)/vol(two balls): 1/3 and .3785. A hundred samples to 2000 points, 60 times (20): error .6 % (1)."""
    shares = []
    for seed in range(trials):
        random = torch.Generator().manual_seed(seed)
        train, samples = (torch.rand(n, d, dtype=torch.float64, generator=random) for n in (2000, 100))
        shares.append(authenticity(samples, train=train).share)
    error = (mutual * (1 - mutual) / (100 * trials)) ** 0.5
    assert (torch.stack(shares).mean() - (1 - mutual)).abs() < 4 * error + 0.005


def test_copies_are_not_authentic_and_strangers_are(gen):
    train = torch.randn(50, 2, dtype=torch.float64, generator=gen)
    copies = authenticity(train + 1e-9, train=train)
    assert copies.share == 0
    assert copies.stderr.item() == pytest.approx((2 / 54 * 52 / 54 / 54) ** 0.5)
    assert authenticity(train + 100, train=train).share == 1


def test_refusals():
    x = torch.zeros(5, 2)
    with pytest.raises(ValueError, match=r"train must .* at least 2"):
        authenticity(x, train=x[:1])
    with pytest.raises(ValueError, match="samples and train must have"):
        authenticity(x, train=x[:, :1])
