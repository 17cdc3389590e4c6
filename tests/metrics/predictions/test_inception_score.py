"""The Inception score against torch-fidelity's numbers, closed forms and its own spread."""

import math

import pytest
import torch

from metrics.predictions import inception_score
from tests.metrics.kernels.test_inception_distance import waves


def test_is_torch_fidelitys_number():
    """torch-fidelity 0.4.0, isc_features_to_metric on logits, not shuffled; of all and in four splits."""
    probs = (3 * waves()[0]).softmax(1)
    found = inception_score(probs, splits=4, shuffle=False)
    assert (found.mean.item(), found.std.item()) == pytest.approx(SPLIT, rel=1e-10)
    assert found.value.item() == pytest.approx(WHOLE, rel=1e-10)


@pytest.mark.parametrize("classes", [2, 10])
def test_counts_classes(classes, dtype):
    sure = torch.eye(classes, dtype=dtype).repeat(20, 1)
    assert inception_score(sure).value.item() == pytest.approx(classes, rel=1e-6)
    alike = torch.full((20, classes), 1 / classes, dtype=dtype)
    found = inception_score(alike)
    assert found.value.item() == pytest.approx(1, rel=1e-6)
    assert found.stderr.item() == pytest.approx(0, abs=1e-6)


def test_of_two_kinds_of_images_in_closed_form():
    """H of the mean less the mean of H."""
    probs = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64).repeat(30, 1)
    want = math.exp(_entropy((0.6, 0.4)) - (_entropy((0.9, 0.1)) + _entropy((0.3, 0.7))) / 2)
    assert inception_score(probs).value.item() == pytest.approx(want, rel=1e-12)


def test_the_error_is_the_spread_over_fresh_images_and_the_order_is_drawn():
    """200 sets of 300 images: the spread has a relative error of 5 %."""
    values, errors = [], []
    for seed in range(200):
        random = torch.Generator().manual_seed(seed)
        probs = (2 * torch.randn(300, 4, dtype=torch.float64, generator=random) + torch.arange(4)).softmax(1)
        found = inception_score(probs)
        values.append(found.value)
        errors.append(found.stderr)
    ratio = torch.stack(errors).square().mean().sqrt() / torch.stack(values).std()
    assert abs(ratio - 1) < 4 * 0.05 + 0.03, ratio
    classes = torch.eye(5).repeat_interleave(40, 0)
    assert inception_score(classes, shuffle=False, splits=5).mean == 1
    assert inception_score(classes, splits=5).mean > 4


def test_a_probability_whose_mean_is_below_the_least_number_adds_nothing():
    """Its share of KL is p ln(p/p̄) = p ln 2, and no logarithm of 0."""
    probs = torch.tensor([[1.0, 5e-324], [1.0, 0.0]], dtype=torch.float64)
    found = inception_score(probs, splits=1)
    assert (found.value, found.stderr, found.mean) == (1, 0, 1)


def test_refusals():
    probs = torch.full((5, 2), 0.5)
    with pytest.raises(ValueError, match="splits must be below 6"):
        inception_score(probs, splits=6)
    with pytest.raises(ValueError, match=r"take logits through .softmax"):
        inception_score(4 * probs)
    with pytest.raises(ValueError, match="probs must hold at least two images, got 1"):
        inception_score(probs[:1])


def _entropy(p):
    return -sum(q * math.log(q) for q in p)


SPLIT, WHOLE = (1.9378254230027658, 0.06191943211277396), 2.0541554860578226
