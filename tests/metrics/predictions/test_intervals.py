import math

import numpy as np
import pytest
import torch
from scipy import stats

from metrics.predictions.intervals import interval_coverage, interval_score

F64 = torch.float64


@pytest.mark.parametrize("members", [2, 5, 19, 30])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_ends_are_numpys_weibull_quantiles(gen, members, level):
    samples = torch.randn(6, members, dtype=F64, generator=gen)
    result = interval_coverage(samples.T, torch.zeros(6, dtype=F64), level=level)
    tail = (1 - level) / 2
    want = np.quantile(samples.numpy(), [tail, 1 - tail], axis=1, method="weibull")
    torch.testing.assert_close(torch.stack([result.lower, result.upper]), torch.as_tensor(want))


@pytest.mark.parametrize(
    ("members", "level", "expected"), [(19, 0.9, 0.9), (9, 0.8, 0.8), (5, 0.9, 4 / 6), (3, 0.5, 0.5)]
)
def test_a_calibrated_ensemble_covers_what_it_says(gen, members, level, expected):
    """Sizes at which the ends are members themselves: then the law is exact, whatever the distribution."""
    n = 20000
    draws = torch.randn(n, members + 1, dtype=F64, generator=gen)
    result = interval_coverage(draws[:, :-1].T, draws[:, -1], level=level)
    assert result.expected == pytest.approx(expected)
    assert abs(result.coverage.item() - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_coverage_width_and_error_are_those_of_the_points(gen, dtype):
    samples, y = torch.randn(40, 50, dtype=dtype, generator=gen), torch.randn(50, dtype=dtype, generator=gen)
    result = interval_coverage(samples, y)
    inside = (result.lower <= y) & (y <= result.upper)
    assert torch.equal(result.inside, inside)
    eps = torch.finfo(dtype).eps
    assert result.coverage.item() == pytest.approx(inside.sum().item() / 50, rel=eps)
    assert result.width.item() == pytest.approx((result.upper - result.lower).mean().item(), rel=9 * eps)
    assert result.score.item() == pytest.approx(result.scores.mean().item(), rel=9 * eps)
    for value in (result.coverage, result.coverage_stderr, result.width, result.score, result.lower):
        assert value.dtype == dtype


def test_the_error_of_the_coverage_is_its_scatter(gen):
    """Over 400 repeats the standard deviation is known to 1/√800 = 3.5 %; the shrinkage of p̃ adds 4 % at n = 100."""
    draws = torch.randn(400, 100, 20, dtype=F64, generator=gen)
    results = [interval_coverage(d[:, :-1].T, d[:, -1], level=0.8) for d in draws]
    scatter = torch.stack([r.coverage for r in results]).std().item()
    claimed = torch.stack([r.coverage_stderr for r in results]).mean().item()
    assert claimed / scatter == pytest.approx(1, abs=4 * 0.035 + 0.04)
    all_inside = interval_coverage(torch.tensor([[-1.0], [1.0]]), torch.zeros(1), level=0.3)
    assert all_inside.coverage == 1
    assert all_inside.coverage_stderr > 0


def test_interval_score_charges_misses():
    lower, upper = torch.zeros(3, dtype=F64), torch.full((3,), 2.0, dtype=F64)
    y = torch.tensor([1.0, 2.5, -1.0], dtype=F64)
    got = interval_score(lower, upper, y, level=0.8)
    torch.testing.assert_close(got, torch.tensor([2, 2 + 10 * 0.5, 2 + 10 * 1.0], dtype=F64))


def test_the_true_quantiles_have_the_lowest_expected_score(gen):
    """E S of ±c under N(0, 1) is 2c + (4/α)(φ(c) − c(1 − Φ(c))), least at Φ(c) = 1 − α/2."""
    n, level = 20000, 0.8
    y, alpha = torch.randn(n, dtype=F64, generator=gen), 1 - level
    best = stats.norm.ppf(1 - alpha / 2)
    expected = {}
    for c in (0.7 * best, 0.9 * best, best, 1.1 * best, 1.4 * best):
        scores = interval_score(torch.full_like(y, -c), torch.full_like(y, c), y, level=level)
        expected[c] = 2 * c + 4 / alpha * (stats.norm.pdf(c) - c * stats.norm.sf(c))
        assert abs(scores.mean().item() - expected[c]) < 4 * scores.std().item() / n**0.5
    assert min(expected, key=lambda c: expected[c]) == best


def test_gradients(gen):
    samples, y = torch.randn(6, 3, dtype=F64, generator=gen), torch.randn(3, dtype=F64, generator=gen)
    both = (samples.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: interval_coverage(a, b, level=0.5).score, both)


ROWS, Y = torch.zeros(4, 3), torch.zeros(3)


@pytest.mark.parametrize(
    ("samples", "y", "level", "error", "message"),
    [
        (ROWS, Y, 90, ValueError, "level must be between 0 and 1, got 90"),
        (ROWS, Y, 0, ValueError, "level must be finite and above 0"),
        (ROWS, Y, 1.0, ValueError, "level must be between 0 and 1"),
        (ROWS, Y, "0.9", TypeError, "level must be a number"),
        (ROWS[:1], Y, 0.9, ValueError, "at least 2 samples"),
        (ROWS, Y[:2], 0.9, ValueError, r"\[2\] after the first dimension, got \[4, 3\]; predict the inputs"),
        (ROWS.T, Y, 0.9, ValueError, r"samples come first: pass samples.transpose\(0, 1\)"),
        (ROWS, Y.double(), 0.9, TypeError, "same dtype"),
        (ROWS[0], Y, 0.9, ValueError, r"shape \[samples, n, ...\]"),
        (ROWS, Y + torch.inf, 0.9, ValueError, "y must be finite"),
    ],
)
def test_refusals(samples, y, level, error, message):
    with pytest.raises(error, match=message):
        interval_coverage(samples, y, level=level)


@pytest.mark.parametrize(
    ("lower", "upper", "y", "error", "message"),
    [
        (Y, Y - 1, Y, ValueError, "upper must not be below lower"),
        (Y[:2], Y, Y, ValueError, r"lower must have one entry per outcome, \[3\], got \[2\]"),
        (Y, Y.double(), Y, TypeError, "upper and y must have the same dtype"),
        (Y, Y, Y[:, None], ValueError, r"lower must have shape \[3, 1\] as y"),
    ],
)
def test_refusals_of_the_score(lower, upper, y, error, message):
    with pytest.raises(error, match=message):
        interval_score(lower, upper, y, level=0.9)
