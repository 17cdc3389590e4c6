"""What enters: numbers of every library, and remedies that are the right next step, tested by obeying them."""

import re

import numpy as np
import pytest
import torch

import metrics
from metrics.inputs import check_count, check_fraction, check_number, check_positive
from metrics.kernels import Gaussian, RationalQuadratic
from metrics.predictions import calibration_error

COUNTS = [5, np.int64(5), np.uint8(5), torch.tensor(5), torch.tensor(5, dtype=torch.int32)]
NUMBERS = [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5), torch.tensor(0.5).half()]


@pytest.mark.parametrize("value", [*COUNTS, np.array(5)], ids=lambda v: type(v).__name__)
def test_counts_of_every_library(value):
    assert check_count(value, "k") == 5
    assert type(check_count(value, "k")) is int
    assert check_positive(value, "k") == 5.0


@pytest.mark.parametrize("value", [*NUMBERS, np.array(0.5)], ids=lambda v: type(v).__name__)
def test_numbers_of_every_library(value):
    assert type(check_fraction(value, "level")) is float
    assert check_positive(value, "level") == 0.5
    assert check_number(value, "level") == 0.5
    assert check_number(-(10**400), "level") < 0


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), 2.0, np.float32(2), torch.tensor(2.0), "2", None]
)
def test_what_is_no_count_is_refused(value):
    with pytest.raises(TypeError, match="k must be an int, got"):
        check_count(value, "k")


@pytest.mark.parametrize("value", [torch.ones(2), np.ones(2)])
def test_several_numbers_are_refused(value):
    with pytest.raises(TypeError, match=r"eps must be a number, got \w+ of shape \[2\]; pass one number"):
        check_positive(value, "eps")


def test_a_number_that_wants_a_gradient_is_refused_and_detached_it_is_one():
    eps = torch.tensor(0.5, requires_grad=True)
    with pytest.raises(ValueError, match=r"pass eps.detach\(\)"):
        check_positive(eps, "eps")
    assert check_positive(eps.detach(), "eps") == 0.5


def test_measures_take_them(gen):
    x, y = torch.randn(2, 30, 2, generator=gen).unbind()
    probs, labels = torch.rand(30, 3, generator=gen).softmax(1), torch.randint(3, (30,), generator=gen)
    for k in COUNTS[1:]:
        assert metrics.knn_kl(x, y, k=k) == metrics.knn_kl(x, y, k=5)
        assert calibration_error(probs, labels, bins=k) == calibration_error(probs, labels, bins=5)
        found = metrics.precision_recall_density_coverage(real=x, fake=y, k=k)
        assert found == metrics.precision_recall_density_coverage(real=x, fake=y)
    for b in NUMBERS[1:]:
        assert repr(Gaussian(b)) == "Gaussian(bandwidth=0.5)"
        assert metrics.mmd2(x, y, kernel=Gaussian(b)) == metrics.mmd2(x, y, kernel=Gaussian(0.5))
        assert RationalQuadratic(lengthscale=b) == RationalQuadratic(lengthscale=0.5)


def predictions():
    logits = torch.randn(4000, 10, generator=torch.Generator().manual_seed(1)) * 4
    return logits, torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(2))[:, 0]


def obeyed(probs, labels):
    """The calibration error after the refusals' remedies, the expressions that end their messages, were followed."""
    for _ in range(3):
        try:
            return calibration_error(probs, labels)
        except (TypeError, ValueError) as refusal:
            told = str(refusal)
        known = {"probs": probs, "labels": labels, "torch": torch}
        if step := re.search(r"p = (.+), (torch\.stack\(.*\))$", told):
            probs = eval(step[2], {}, known | {"p": eval(step[1], {}, known)})
        elif step := re.search(r"(?:with|renormalise,|renormalise with) (probs.*)$", told):
            probs = eval(step[1], {}, known)
        else:
            labels = eval(re.search(r"(labels[.\[].*)$", told)[1], {}, known)
    raise AssertionError(told)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_refusals_of_half_precision_lead_to_the_right_number(half):
    """Rounded probabilities miss the right error by their rounding alone, far below the .57 of a second softmax."""
    logits, labels = predictions()
    right = calibration_error(logits.softmax(-1), labels)
    probs = logits.to(half).softmax(-1)
    with pytest.raises(
        TypeError, match=r"logits.float\(\).softmax\(-1\), or renormalise, probs.float\(\) / probs"
    ):
        calibration_error(probs, labels)
    # bfloat16 rounds a logit and a probability by 2⁻⁹ of itself; logits up to 16 move a probability by up to 2⁻⁵/4.
    torch.testing.assert_close(obeyed(probs, labels), right, rtol=0, atol=2**-7)
    torch.testing.assert_close(obeyed(probs.float(), labels), right, rtol=0, atol=2**-7)


def test_refusals_of_binary_probabilities_lead_to_two_classes(gen):
    p = torch.rand(400, generator=gen)
    labels = (torch.rand(400, generator=gen) < p).long()
    right = calibration_error(torch.stack([1 - p, p], 1), labels)
    assert obeyed(p, labels) == right
    assert obeyed(p[:, None], labels) == right
    assert obeyed(p, labels[:, None]) == right
    torch.testing.assert_close(obeyed(p.logit(), labels), right, rtol=0, atol=1e-6)
    torch.testing.assert_close(obeyed(p.logit()[:, None], labels), right, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"two classes or more.* a softmax over one column is 1 everywhere"):
        calibration_error(p[:, None].softmax(-1), labels)


def test_refusals_of_samples_of_predictions_lead_to_their_mean(gen):
    probs, labels = torch.randn(30, 50, 5, generator=gen).softmax(-1), torch.randint(5, (50,), generator=gen)
    assert obeyed(probs, labels) == calibration_error(probs.mean(0), labels)
    with pytest.raises(ValueError, match=r"a single prediction is probs\[None\]"):
        metrics.predictive_entropy(probs[0])
    assert metrics.predictive_entropy(probs[0][None]).shape == (50,)


def test_a_cloud_of_images_is_refused_and_flattened_it_is_a_cloud():
    images = torch.zeros(4, 1, 2, 2)
    with pytest.raises(ValueError, match=r"flatten every point with x.flatten\(1\)"):
        metrics.energy_distance(images, images)
    assert metrics.energy_distance(images.flatten(1), images.flatten(1)) == 0


@pytest.mark.usefixtures("unchecked")
def test_three_dimensions_are_grey_pictures_or_a_batch_of_problems(gen):
    x, y = torch.randn(2, 3, 20, 2, generator=gen)
    with pytest.raises(
        ValueError,
        match=r"of pictures flatten each with x.flatten\(1\); of a batch of problems make one call for each",
    ):
        metrics.frechet_distance(x, y)
    assert metrics.frechet_distance(x.flatten(1), y.flatten(1)).shape == ()
    assert torch.stack([metrics.frechet_distance(a, b) for a, b in zip(x, y, strict=True)]).shape == (3,)


@pytest.mark.usefixtures("unchecked")
def test_one_cloud_beside_a_batch_is_made_a_batch(gen):
    x, y = torch.randn(3, 20, 2, generator=gen), torch.randn(15, 2, generator=gen)
    with pytest.raises(ValueError, match=r"y must have shape \[b, m, d\].*a single one is y\[None\]"):
        metrics.sinkhorn_divergence(x, y)
    with pytest.raises(ValueError, match=r"repeat a single cloud with .expand\(3, -1, -1\)"):
        metrics.sinkhorn_divergence(y[None], x)
    assert metrics.sinkhorn_divergence(x, y[None].expand(3, -1, -1)).shape == (3,)
