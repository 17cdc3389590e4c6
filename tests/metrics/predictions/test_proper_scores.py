import math

import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from sklearn.metrics import brier_score_loss, log_loss

from metrics.predictions import (
    brier_score,
    categorical_nll,
    categorical_nll_from_log_probs,
    crps_gaussian,
    gaussian_nll,
)

F64 = torch.float64
CATEGORICAL = [brier_score, categorical_nll]
GAUSSIAN = [crps_gaussian, gaussian_nll]


def predictions(gen, n=40, classes=4, dtype=F64):
    probs = torch.randn(n, classes, dtype=dtype, generator=gen).softmax(1)
    return probs, torch.randint(classes, (n,), generator=gen)


def forecasts(gen, n=40, dtype=F64):
    mean, std, y = torch.randn(3, n, dtype=dtype, generator=gen)
    return mean, std.exp(), y


def vector(*values, dtype=F64):
    return torch.tensor(values, dtype=dtype)


def test_published_values():
    """scoringrules' `crps_normal(0, 0.1, 0.4)`; uncertainty-toolbox's NLL and CRPS; half of the last printed digit."""
    assert crps_gaussian(vector(0.1), vector(0.4), vector(0.0)).item() == pytest.approx(
        0.10339992516, abs=5e-12
    )
    toolbox = vector(1, 2, 3), vector(0.1, 0.5, 1), vector(1.5, 3, 2)
    assert gaussian_nll(*toolbox).item() == pytest.approx(4.920361109, abs=5e-10)
    assert crps_gaussian(*toolbox).item() == pytest.approx(0.590806107, abs=5e-10)


def test_categorical_scores_equal_sklearns(gen):
    probs, labels = predictions(gen)
    want = log_loss(labels.numpy(), probs.numpy(), labels=range(4))
    assert categorical_nll(probs, labels).item() == pytest.approx(want, rel=1e-12)
    two = probs[:, :2] / probs[:, :2].sum(1, keepdim=True)
    # sklearn's is the (p − y)² of one class, half of the sum over both.
    want = 2 * brier_score_loss((labels % 2).numpy(), two[:, 1].numpy())
    assert brier_score(two, labels % 2).item() == pytest.approx(want, rel=1e-12)


def test_brier_is_the_sum_over_all_classes(gen):
    probs, labels = predictions(gen)
    want = [sum((p[k] - int(k == y)) ** 2 for k in range(4)) for p, y in zip(probs, labels, strict=True)]
    torch.testing.assert_close(brier_score(probs, labels, per_point=True), torch.stack(want))
    ends = torch.eye(2, dtype=F64)
    torch.testing.assert_close(brier_score(ends, torch.tensor([0, 0]), per_point=True), vector(0, 2))


def test_gaussian_nll_is_the_density(gen):
    mean, std, y = forecasts(gen)
    want = -torch.distributions.Normal(mean, std).log_prob(y)
    torch.testing.assert_close(gaussian_nll(mean, std, y, per_point=True), want)


@pytest.mark.parametrize(
    ("mean", "std", "y"), [(0.3, 2.0, -1.0), (0.0, 0.05, 0.4), (1.0, 1.0, 1.0), (0, 1, 9)]
)
def test_gaussian_crps_is_the_integral(mean, std, y):
    law = stats.norm(mean, std)
    below = quad(lambda t: law.cdf(t) ** 2, mean - 12 * std, y, points=[mean], limit=200)[0]
    above = quad(lambda t: law.sf(t) ** 2, y, max(y, mean) + 12 * std, points=[max(y, mean)], limit=200)[0]
    got = crps_gaussian(vector(mean), vector(std), vector(y)).item()
    assert got == pytest.approx(below + above, rel=1e-7)  # quad's own tolerance is 1.5e-8


@pytest.mark.parametrize(
    ("score", "divergence"),
    [
        (categorical_nll, lambda p, q: (q * (q / p).log()).sum()),
        (brier_score, lambda p, q: (p - q).square().sum()),
    ],
)
def test_a_wrong_law_costs_its_divergence_from_the_truth(gen, score, divergence):
    """Properness, with the amount: E S(P, y) − E S(Q, y) over y ~ Q, and the mean within 4 standard errors."""
    q, n = vector(0.5, 0.3, 0.2), 20000
    labels = torch.multinomial(q, n, replacement=True, generator=gen)
    truth = score(q.expand(n, 3), labels, per_point=True)
    for p in (vector(0.6, 0.3, 0.1), vector(0.2, 0.4, 0.4), vector(1, 1, 1) / 3):
        excess = score(p.expand(n, 3), labels, per_point=True) - truth
        se = excess.std() / n**0.5
        assert abs(excess.mean() - divergence(p, q)) < 4 * se
        assert divergence(p, q) > 8 * se


@pytest.mark.parametrize(("mean", "std"), [(0.5, 1.0), (0.0, 1.6), (0.0, 0.6), (-0.4, 0.8)])
def test_a_wrong_gaussian_costs_its_divergence_from_the_truth(gen, mean, std):
    n, wrong, right = 20000, stats.norm(mean, std), stats.norm()
    y = torch.randn(n, dtype=F64, generator=gen)
    zero, one = torch.zeros_like(y), torch.ones_like(y)
    cramer = quad(lambda t: (wrong.cdf(t) - right.cdf(t)) ** 2, -12, 12)[0]
    kl = math.log(std) + (1 + mean**2) / (2 * std**2) - 0.5
    for score, divergence in ((crps_gaussian, cramer), (gaussian_nll, kl)):
        excess = score(zero + mean, one * std, y, per_point=True) - score(zero, one, y, per_point=True)
        se = excess.std().item() / n**0.5
        assert abs(excess.mean().item() - divergence) < 4 * se
        assert divergence > 8 * se


def test_log_probs_do_not_underflow(gen, dtype):
    logits = torch.tensor([[0.0, 2000.0], [0.0, -2000.0]], dtype=dtype)
    labels = torch.tensor([0, 0])
    got = categorical_nll_from_log_probs(logits.log_softmax(1), labels, per_point=True)
    torch.testing.assert_close(got, vector(2000, 0, dtype=dtype))
    assert categorical_nll(logits.softmax(1), labels, per_point=True)[0] == torch.inf
    probs, labels = predictions(gen)
    torch.testing.assert_close(
        categorical_nll_from_log_probs(probs.log(), labels), categorical_nll(probs, labels)
    )


def test_per_point_scores_have_the_mean_and_the_type(gen, dtype):
    probs, labels = predictions(gen, dtype=dtype)
    gaussians = forecasts(gen, dtype=dtype)
    cases = [(score, (probs, labels)) for score in CATEGORICAL]
    cases += [(categorical_nll_from_log_probs, (probs.log(), labels))]
    cases += [(score, gaussians) for score in GAUSSIAN]
    for score, args in cases:
        points = score(*args, per_point=True)
        assert points.shape == (40,)
        assert points.dtype == score(*args).dtype == dtype
        # Rounding of each of the n points, against a mean that was rounded once.
        torch.testing.assert_close(score(*args), points.mean(), rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    probs, labels = predictions(gen, dtype=torch.float32)
    gaussians = forecasts(gen, dtype=torch.float32)
    eps = torch.finfo(torch.float32).eps
    for score in CATEGORICAL:
        want = score(probs.double(), labels, per_point=True)
        torch.testing.assert_close(score(probs, labels, per_point=True).double(), want, rtol=eps, atol=0)
    for score in GAUSSIAN:
        want = score(*(v.double() for v in gaussians), per_point=True)
        torch.testing.assert_close(score(*gaussians, per_point=True).double(), want, rtol=eps, atol=0)


def test_gradients(gen):
    probs, labels = predictions(gen, n=5)
    # gradcheck moves single entries by 1e-6, within what the check of the sums allows.
    for score in CATEGORICAL:
        assert torch.autograd.gradcheck(lambda p, s=score: s(p, labels), (probs.requires_grad_(),))
    gaussians = tuple(v.requires_grad_() for v in forecasts(gen, n=5))
    for score in GAUSSIAN:
        assert torch.autograd.gradcheck(score, gaussians)


HALF = torch.full((3, 2), 0.5)
LABELS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize("score", CATEGORICAL)
@pytest.mark.parametrize(
    ("probs", "labels", "error", "message"),
    [
        (HALF[:, :1], LABELS, ValueError, r"must have two classes or more.* torch.stack\(\[1 - p, p\], 1\)"),
        (torch.tensor([[1.5, -0.5]]), LABELS[:1], ValueError, "probs must not be negative"),
        (torch.randn(3, 2).log_softmax(1), LABELS, ValueError, r"take logits through .softmax"),
        (HALF * 1.001, LABELS, ValueError, "probs must sum to 1"),
        (HALF.half(), LABELS, TypeError, "float32 or float64"),
        (HALF.numpy(), LABELS, TypeError, "torch.Tensor"),
        (HALF[0], LABELS, ValueError, r"shape \[n, classes\]"),
        (torch.full((3, 2), torch.nan), LABELS, ValueError, "finite"),
        (HALF, LABELS.int(), TypeError, r"labels must be int64, got torch.int32; convert with labels.long"),
        (HALF, LABELS.float(), TypeError, "labels must be int64"),
        (HALF, [0, 1, 1], TypeError, "labels must be a torch.Tensor"),
        (HALF, LABELS[:2], ValueError, r"one entry per prediction, \[3\], got \[2\]"),
        (HALF, torch.eye(3, 2).long(), ValueError, "argmax"),
        (HALF, LABELS + 1, ValueError, "labels must be from 0 to 1, got 1 to 2"),
        (HALF, LABELS - 1, ValueError, "got -1 to 0"),
    ],
)
def test_categorical_refusals(score, probs, labels, error, message):
    with pytest.raises(error, match=message):
        score(probs, labels)


@pytest.mark.parametrize(
    ("log_probs", "message"),
    [(torch.zeros(3, 2), "log_probs must be normalised, got a log-sum of 0.693"), (HALF, "normalised")],
)
def test_refusals_of_log_probs(log_probs, message):
    with pytest.raises(ValueError, match=message):
        categorical_nll_from_log_probs(log_probs, LABELS)


THREE = torch.ones(3)


@pytest.mark.parametrize("score", GAUSSIAN)
@pytest.mark.parametrize(
    ("mean", "std", "y", "error", "message"),
    [
        (THREE, 0 * THREE, THREE, ValueError, "std must be above 0, got a minimum of 0"),
        (THREE, -THREE, THREE, ValueError, "std must be above 0"),
        (THREE[:1], THREE, THREE, ValueError, "mean must have one entry per outcome, 3, got 1"),
        (THREE, THREE[:2], THREE, ValueError, "std must have one entry per outcome"),
        (THREE[:, None], THREE, THREE, ValueError, r"mean must have shape \[n\]"),
        (THREE, THREE, THREE.double(), TypeError, "mean and y must have the same dtype"),
        (THREE, THREE, torch.inf * THREE, ValueError, "y must be finite"),
        (0.0, THREE, THREE, TypeError, "mean must be a torch.Tensor"),
    ],
)
def test_gaussian_refusals(score, mean, std, y, error, message):
    with pytest.raises(error, match=message):
        score(mean, std, y)
