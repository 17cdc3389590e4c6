import math

import pytest
import torch

from metrics import calibration_error, smooth_calibration_error


def two(confidence, right):
    """Predictions with these confidences, right where told."""
    return torch.stack([confidence, 1 - confidence], 1), (~right).long()


def by_quadrature(confidence, right, sigma, cells=4000):
    """smECE_σ with images of the Gaussian at the reflections of every point."""
    t = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    total = torch.zeros(cells, dtype=torch.float64)
    for shift in range(-6, 7, 2):
        for sign in (1, -1):
            z = (t[:, None] - (sign * confidence + shift)) / sigma
            total += (torch.exp(-0.5 * z**2) / (sigma * math.sqrt(2 * math.pi))) @ (right - confidence)
    return float((total / len(confidence)).abs().mean())


def test_it_is_the_fixed_point_of_the_definition():
    random = torch.Generator().manual_seed(0)
    confidence = 0.5 + 0.5 * torch.rand(300, generator=random, dtype=torch.float64)
    right = torch.rand(300, generator=random, dtype=torch.float64) < confidence**2
    sigma = float(smooth_calibration_error(*two(confidence, right)))
    assert by_quadrature(confidence, right.double(), sigma) == pytest.approx(sigma, abs=2e-5)
    # Half or twice the width is no fixed point: the tolerance above sees it.
    assert abs(by_quadrature(confidence, right.double(), sigma / 2) - sigma / 2) > 1e-2


def test_one_confidence_has_its_gap():
    confidence = torch.full((100,), 0.8, dtype=torch.float64)
    right = torch.arange(100) < 60
    assert float(smooth_calibration_error(*two(confidence, right))) == pytest.approx(0.2, abs=1e-6)


def test_it_tells_what_a_bin_hides():
    # 0.61 is always right and 0.66 never: within one of fifteen bins the gaps cancel in part.
    confidence = torch.tensor([0.61, 0.66], dtype=torch.float64).repeat(50)
    right = torch.tensor([True, False]).repeat(50)
    probs, labels = two(confidence, right)
    assert float(calibration_error(probs, labels, bins=5)) < 0.15
    assert float(smooth_calibration_error(probs, labels)) > float(calibration_error(probs, labels, bins=5))


def test_confidences_of_exactly_one():
    probs = torch.tensor([[1.0, 0.0]]).expand(10, 2)
    labels = torch.tensor([0] * 9 + [1])
    assert float(smooth_calibration_error(probs, labels)) == pytest.approx(0.1, abs=1e-4)


def test_logits_are_refused():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"softmax\(-1\)"):
        smooth_calibration_error(logits, labels)
    smooth_calibration_error(logits.softmax(-1), labels)
