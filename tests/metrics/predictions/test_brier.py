import pytest
import torch

from metrics.predictions.brier import brier_decomposition, brier_score

F64 = torch.float64
TERMS = ["reliability", "resolution", "uncertainty", "within_bin_variance", "within_bin_covariance"]


def predictions(gen, n=300, classes=3, dtype=F64):
    logits = 1.5 * torch.randn(n, classes, dtype=dtype, generator=gen)
    labels = torch.multinomial(logits.softmax(1), 1, generator=gen)[:, 0]
    return (1.5 * logits).softmax(1), labels


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("bins", [1, 5, 15])
def test_the_terms_add_up_to_the_score(gen, dtype, bins, adaptive):
    probs, labels = predictions(gen, dtype=dtype)
    result = brier_decomposition(probs, labels, bins=bins, adaptive=adaptive)
    # Five terms of at most 1, each rounded to `dtype`.
    torch.testing.assert_close(
        result.score, brier_score(probs, labels), rtol=0, atol=5 * torch.finfo(dtype).eps
    )
    assert all(getattr(result, term).dtype == dtype for term in TERMS)


def test_murphys_terms_of_repeated_forecasts():
    """Two forecasts, by hand: 0.8 four times (three come true), 0.4 six times (two come true)."""
    p = torch.tensor([0.8] * 4 + [0.4] * 6, dtype=F64)
    labels = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    result = brier_decomposition(torch.stack([1 - p, p], 1), labels, bins=10)
    # Each class gives the same, hence the factor 2.
    assert result.reliability.item() == pytest.approx(2 * (0.4 * 0.05**2 + 0.6 * (0.4 - 1 / 3) ** 2))
    assert result.resolution.item() == pytest.approx(2 * (0.4 * 0.25**2 + 0.6 * (1 / 3 - 0.5) ** 2))
    assert result.uncertainty.item() == pytest.approx(2 * 0.25)
    assert result.within_bin_variance.item() == pytest.approx(0, abs=1e-15)
    assert result.within_bin_covariance.item() == pytest.approx(0, abs=1e-15)


def test_equals_a_loop_over_classes_and_bins(gen):
    probs, labels = predictions(gen)
    want = dict.fromkeys(TERMS, 0.0)
    for k in range(3):
        p, h = probs[:, k], (labels == k).double()
        want["uncertainty"] += h.mean() * (1 - h.mean())
        for b in range(4):
            held = (p > b / 4) & (p <= (b + 1) / 4)
            if held.any():
                w, f, q = held.double().mean(), p[held].mean(), h[held].mean()
                want["reliability"] += w * (f - q) ** 2
                want["resolution"] += w * (q - h.mean()) ** 2
                want["within_bin_variance"] += w * (p[held] - f).square().mean()
                want["within_bin_covariance"] += 2 * w * ((p[held] - f) * (h[held] - q)).mean()
    result = brier_decomposition(probs, labels, bins=4)
    for term in TERMS:
        torch.testing.assert_close(getattr(result, term), want[term])


def test_the_stated_biases(gen):
    """Calibrated forecasts of two values, 0.3 and 0.8 with 15 points each: the exact biases, within 4 errors."""
    p = torch.tensor([0.3] * 15 + [0.8] * 15, dtype=F64)
    probs, q = torch.stack([1 - p, p], 1), 0.55
    draws = [
        brier_decomposition(probs, torch.bernoulli(p, generator=gen).long(), bins=10) for _ in range(1500)
    ]
    inside = 2 * (0.3 * 0.7 + 0.8 * 0.2) / 30  # Σ_b q_b(1 − q_b)/n over both classes
    # The sizes of the bins are fixed here: h̄ scatters by the mean of q_b(1 − q_b)/n, not by q(1 − q)/n.
    overall = 2 * (0.3 * 0.7 + 0.8 * 0.2) / 2 / 30
    want = {
        "reliability": inside,
        "resolution": 2 * 0.25**2 + inside - overall,
        "uncertainty": 2 * q * (1 - q) - overall,
    }
    for term, expected in want.items():
        values = torch.stack([getattr(draw, term) for draw in draws])
        assert abs(values.mean() - expected) < 4 * values.std() / 1500**0.5
        assert inside > 8 * values.std() / 1500**0.5


HALF, LABELS = torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("probs", "labels", "bins", "error", "message"),
    [
        (HALF * 2, LABELS, 15, ValueError, "probs must sum to 1"),
        (HALF, LABELS - 1, 15, ValueError, "labels must be from 0 to 1"),
        (HALF, LABELS.bool(), 15, TypeError, "labels must be int64"),
        (HALF, LABELS, 0, ValueError, "bins must be at least 1"),
        (HALF[0], LABELS, 15, ValueError, r"shape \[n, classes\]"),
    ],
)
def test_refusals(probs, labels, bins, error, message):
    with pytest.raises(error, match=message):
        brier_decomposition(probs, labels, bins=bins)
