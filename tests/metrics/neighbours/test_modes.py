import math

import pytest
import torch
from scipy import stats

from metrics.neighbours.modes import class_coverage, mode_coverage


def ring(k=8):
    angle = torch.arange(k, dtype=torch.float64) * 2 * math.pi / k
    return torch.stack([angle.cos(), angle.sin()], 1)


def mixture(n, centres, std, gen):
    pick = torch.randint(len(centres), (n,), generator=gen)
    noise = torch.randn(n, centres.shape[1], dtype=centres.dtype, generator=gen)
    return centres[pick] + std * noise


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_truth_reaches_the_ceiling(gen, d):
    """P(χ²_d < 9), 1 − e^{−4.5} = 98.889 % in the plane, for modes that are far apart."""
    centres, n = 100 * torch.eye(6, d, dtype=torch.float64) + torch.arange(6.0)[:, None] * 30, 20_000
    got = mode_coverage(mixture(n, centres, 1.0, gen), centres=centres, std=1.0)
    share = stats.chi2(d).cdf(9)
    if d == 2:
        assert share == pytest.approx(1 - math.exp(-4.5), rel=1e-12)
        assert share == pytest.approx(0.98889, abs=5e-6)
    assert abs(got.high_quality.item() - share) < 4 * (share * (1 - share) / n) ** 0.5
    assert got.modes == 6
    # 2n·KL is χ² with K − 1 = 5 degrees of freedom.
    assert 2 * n * got.reverse_kl.item() < stats.chi2(5).ppf(1 - 1e-4)


def test_the_ring_of_the_papers(gen):
    """PacGAN's ring: 8 modes, σ = 0.01, 2500 points."""
    got = mode_coverage(mixture(2500, ring(), 0.01, gen), centres=ring(), std=0.01)
    assert got.modes == 8
    assert abs(got.high_quality.item() - (1 - math.exp(-4.5))) < 4 * 0.0021
    assert 0 <= got.reverse_kl.item() < stats.chi2(7).ppf(1 - 1e-4) / 5000


def test_written_out(gen, dtype):
    centres = ring().to(dtype)
    samples = mixture(300, centres[:5], torch.tensor(0.15, dtype=dtype), gen)
    std = 0.06
    counts = [0] * 8
    for x in samples.double():
        gaps = [(x - c).norm().item() for c in centres.double()]
        if min(gaps) < 3 * std:
            counts[gaps.index(min(gaps))] += 1
    good = sum(counts)
    want = sum(c / good * math.log(8 * c / good) for c in counts if c)
    got = mode_coverage(samples, centres=centres, std=std)
    assert got.counts.tolist() == counts
    assert got.modes.item() == sum(c > 0 for c in counts)
    assert got.high_quality.item() == pytest.approx(good / 300, rel=1e-6)
    assert got.reverse_kl.item() == pytest.approx(want, rel=1e-6)
    assert got.reverse_kl.dtype == dtype


def test_collapse_and_failure(dtype):
    centres = ring().to(dtype)
    one = mode_coverage(centres[:1].repeat(50, 1), centres=centres, std=0.01)
    assert (one.modes.item(), one.high_quality.item()) == (1, 1)
    assert one.reverse_kl.item() == pytest.approx(math.log(8), rel=1e-6)
    none = mode_coverage(centres + 10, centres=centres, std=0.01)
    assert (none.modes.item(), none.high_quality.item()) == (0, 0)
    assert none.reverse_kl.item() == pytest.approx(math.log(8), rel=1e-6)
    even = mode_coverage(centres, centres=centres, std=0.01)
    assert (even.modes.item(), even.high_quality.item(), even.reverse_kl.item()) == (8, 1, 0)


def test_quality_ends_before_three_sigma():
    centre = torch.zeros(1, 1, dtype=torch.float64)
    samples = torch.tensor([[0.0], [2.999], [3.0], [-3.001]], dtype=torch.float64)
    assert mode_coverage(samples, centres=centre, std=1.0).high_quality.item() == 0.5


@pytest.mark.parametrize(
    ("samples", "centres", "std", "error", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 1), 1.0, ValueError, r"samples must have shape \[n, d\]"),
        (torch.zeros(3, 2), torch.zeros(2, 3), 1.0, ValueError, "same number of columns"),
        (torch.zeros(3, 2), torch.zeros(0, 2), 1.0, ValueError, "centres must not be empty"),
        (torch.zeros(3, 2), torch.zeros(2, 2), 0.0, ValueError, "std must be finite and above 0"),
        (torch.zeros(3, 2), torch.zeros(2, 2), torch.ones(2), TypeError, "std must be a number"),
        (torch.zeros(3, 2) / 0, torch.zeros(2, 2), 1.0, ValueError, "samples must be finite"),
    ],
)
def test_refusals(samples, centres, std, error, message):
    with pytest.raises(error, match=message):
        mode_coverage(samples, centres=centres, std=std)


def test_class_coverage_of_the_truth_has_the_bias_that_is_told(gen):
    k, n = 1000, 25_600
    got = class_coverage(torch.randint(k, (n,), generator=gen))
    assert got.counts.sum() == n
    # 2n·KL is χ² with K − 1 degrees of freedom, whose mean is the bias (K − 1)/2n.
    low, high = stats.chi2(k - 1).ppf([1e-4, 1 - 1e-4])
    assert low < 2 * n * got.kl.item() < high
    few = class_coverage(torch.randint(k, (1000,), generator=gen))
    expected = k * (1 - (1 - 1 / k) ** 1000)
    assert abs(few.modes.item() - expected) < 4 * expected**0.5


def test_class_coverage_is_scipys_relative_entropy(gen):
    labels = torch.randint(5, (200,), generator=gen).clamp(max=3)
    shares = torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0])
    for given in (None, shares, shares.long(), shares.double() * 1e307):
        got = class_coverage(labels, num_classes=5, shares=given)
        right = (torch.ones(5) if given is None else given).double()
        expected = stats.entropy(got.counts.double().numpy(), right.numpy())
        assert got.kl.item() == pytest.approx(expected, rel=1e-9)
        assert got.modes == 4
        assert got.counts.tolist() == [int((labels == i).sum()) for i in range(5)]


def test_class_coverage_of_one_class_and_of_a_class_that_the_data_lack():
    assert class_coverage(torch.full((9,), 3), num_classes=10).kl.item() == pytest.approx(math.log(10))
    assert class_coverage(torch.tensor([0, 1]), num_classes=2, shares=torch.tensor([1.0, 0.0])).kl == math.inf
    assert class_coverage(torch.tensor([0]), num_classes=2, shares=torch.tensor([1.0, 0.0])).kl == 0


@pytest.mark.parametrize(
    ("labels", "changes", "kind", "words"),
    [
        (torch.tensor([0.0]), {}, TypeError, r"logits.argmax\(1\)"),
        (torch.tensor([True]), {}, TypeError, "whole numbers"),
        (torch.zeros(2, 3, dtype=torch.long), {}, ValueError, r"shape \[n\]"),
        (torch.zeros(0, dtype=torch.long), {}, ValueError, "at least 1"),
        (torch.tensor([10]), {}, ValueError, "from 0 to num_classes − 1 = 9, got 10 .*pass num_classes"),
        (torch.tensor([-1]), {}, ValueError, "got -1"),
        (torch.tensor([0]), {"shares": torch.ones(3)}, ValueError, "shares must be 10"),
        (torch.tensor([0]), {"shares": torch.zeros(10)}, ValueError, "positive sum"),
        (torch.tensor([0]), {"shares": -torch.ones(10)}, ValueError, "0 or more"),
        (
            torch.tensor([0]),
            {"shares": [0.1] * 10},
            TypeError,
            r"shares must .* got list; take labels.bincount",
        ),
        (
            torch.tensor([0]),
            {"shares": torch.ones(10) * 1j},
            TypeError,
            "shares must be .* got torch.complex64",
        ),
        (torch.tensor([0]), {"shares": torch.ones(10).to_sparse()}, TypeError, r"shares.to_dense\(\)"),
    ],
)
def test_class_coverage_refuses(labels, changes, kind, words):
    with pytest.raises(kind, match=words):
        class_coverage(labels, num_classes=10, **changes)
