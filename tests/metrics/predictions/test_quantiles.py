import math

import pytest
import torch

from metrics import pit_values, quantile_calibration_error


def test_ranks_of_exchangeable_outcomes_are_uniform():
    random = torch.Generator().manual_seed(0)
    everything = torch.randn(20, 5000, generator=random)
    pit = pit_values(everything[1:], everything[0])
    assert set((pit * 40 - 1).round().long().remainder(2).tolist()) == {0}  # (k + ½)/20
    counts = torch.histc(pit, 20, 0, 1)
    assert float(((counts - 250).square() / 250).sum()) < 43.8  # χ² with 19 degrees of freedom, 0.1 %


def test_ties_count_half():
    assert float(pit_values(torch.zeros(3, 1), torch.zeros(1))) == pytest.approx(0.5)


def test_a_shifted_prediction_has_the_error_of_the_closed_form():
    # F(y) of N(0, 1) predictions with y ~ N(δ, 1): P(F(y) ≤ q) = Φ(Φ⁻¹(q) − δ).
    random = torch.Generator().manual_seed(0)
    pit = torch.special.ndtr(torch.randn(200_000, generator=random, dtype=torch.float64) + 0.5)
    q = torch.arange(1, 100, dtype=torch.float64) / 100
    exact = (torch.special.ndtr(torch.special.ndtri(q) - 0.5) - q).abs().mean()
    assert float(quantile_calibration_error(pit)) == pytest.approx(float(exact), abs=4 * 0.5 / 200_000**0.5)


def test_calibrated_predictions_score_what_the_docstring_says():
    random = torch.Generator().manual_seed(0)
    n = 400
    found = [float(quantile_calibration_error(torch.rand(n, generator=random))) for _ in range(400)]
    told = math.sqrt(2 / (math.pi * n)) * math.pi / 8
    assert sum(found) / 400 == pytest.approx(told, rel=0.08)


def test_samples_are_no_pit():
    samples, y = torch.randn(20, 30, generator=torch.Generator().manual_seed(0)), torch.zeros(30)
    with pytest.raises(ValueError, match="from 0 to 1"):
        quantile_calibration_error(samples)
    quantile_calibration_error(pit_values(samples, y))
