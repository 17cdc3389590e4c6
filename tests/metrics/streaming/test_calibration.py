import pytest
import torch

from metrics.predictions.calibration import calibration_error
from metrics.streaming import CalibrationError


def test_confidence_on_an_edge_falls_where_the_function_puts_it(dtype):
    """0.1, 0.2, … are other numbers in float32 than in float64: bins are found in the type that was fed."""
    confidence = torch.arange(5, 11, dtype=dtype) / 10
    probs, labels = torch.stack([confidence, 1 - confidence], 1), torch.tensor([0, 1, 0, 0, 1, 0])
    error = CalibrationError(bins=10)
    for p, y in zip(probs.split(1), labels.split(1), strict=True):
        error.update(p, y)
    want = calibration_error(probs, labels, bins=10)
    assert error.compute().item() == pytest.approx(want.item(), rel=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CalibrationError(bins=0), ValueError, "bins must be at least 1"),
        (lambda: CalibrationError(bins=2.0), TypeError, "bins must be an int"),
        (lambda: CalibrationError(norm="l3"), ValueError, 'norm must be "l1", "l2" or "max"'),
        (
            lambda: CalibrationError().update(torch.ones(1, 2), torch.tensor([0])),
            ValueError,
            "probs must sum to 1",
        ),
        (
            lambda: CalibrationError().update(torch.full((1, 2), 0.5), torch.tensor([2])),
            ValueError,
            "labels must be from 0 to 1",
        ),
    ],
)
def test_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call()
