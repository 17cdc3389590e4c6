import pytest
import torch

from metrics import classwise_calibration_error
from metrics.predictions import IsotonicCalibration


def problem(n, seed):
    random = torch.Generator().manual_seed(seed)
    p = torch.rand(n, generator=random, dtype=torch.float64)
    labels = (torch.rand(n, generator=random, dtype=torch.float64) < p**3).long()
    return torch.stack([1 - p, p], 1), labels


def test_it_mends_what_no_temperature_can():
    probs, labels = problem(5000, 0)
    fresh, outcomes = problem(5000, 1)
    mapped = IsotonicCalibration().fit(probs, labels)(fresh)
    assert float(classwise_calibration_error(fresh, outcomes)[1]) > 0.1
    assert float(classwise_calibration_error(mapped, outcomes)[1]) < 0.03
    torch.testing.assert_close(mapped.sum(1), torch.ones(5000, dtype=torch.float64))
    # The true probabilities are p³; steps of 5000 points are some 0.05 wide.
    assert float((mapped[:, 1] - fresh[:, 1] ** 3).abs().mean()) < 0.03
    assert float(mapped.min()) > 0


def test_refusals():
    probs, labels = problem(50, 0)
    with pytest.raises(ValueError, match="call fit"):
        IsotonicCalibration()(probs)
    with pytest.raises(ValueError, match="2 classes that were fitted"):
        IsotonicCalibration().fit(probs, labels)(torch.full((3, 3), 1 / 3))
