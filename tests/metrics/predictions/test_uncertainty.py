import math

import pytest
import torch
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from metrics.predictions.uncertainty import (
    agreement,
    categorical_kl,
    expected_entropy,
    mutual_information,
    out_of_distribution_auroc,
    predictive_entropy,
    total_variation,
)

F64 = torch.float64
POSTERIOR = [predictive_entropy, expected_entropy, mutual_information]


def posterior_probs(gen, samples=6, batch=20, classes=3, dtype=F64):
    return (2 * torch.randn(samples, batch, classes, dtype=dtype, generator=gen)).softmax(-1)


def test_entropies_are_scipys(gen):
    probs = posterior_probs(gen)
    want = stats.entropy(probs.mean(0).numpy(), axis=1)
    assert predictive_entropy(probs).tolist() == pytest.approx(want, rel=1e-12)
    want = stats.entropy(probs.numpy(), axis=2).mean(0)
    assert expected_entropy(probs).tolist() == pytest.approx(want, rel=1e-12)


def test_mutual_information_is_the_mean_kl_to_the_mean(gen):
    probs = posterior_probs(gen)
    mean = probs.mean(0)
    want = torch.stack([categorical_kl(p, mean / mean.sum(1, keepdim=True)) for p in probs]).mean(0)
    torch.testing.assert_close(mutual_information(probs), want)
    torch.testing.assert_close(mutual_information(probs) + expected_entropy(probs), predictive_entropy(probs))


def test_extremes_of_the_mutual_information(dtype):
    """ln K where each sample is sure of its own class; nothing where all agree, never below 0."""
    sure = torch.eye(3, dtype=dtype)[:, None]
    assert mutual_information(sure).item() == pytest.approx(math.log(3), rel=4 * torch.finfo(dtype).eps)
    assert expected_entropy(sure).item() == 0
    same = torch.tensor([0.1, 0.2, 0.7], dtype=dtype).expand(7, 5, 3)
    assert (mutual_information(same) >= 0).all()
    assert (mutual_information(same) < 1e-12).all()


def test_the_stated_bias(gen):
    """p_s ~ Dirichlet(α): Var p_k = m_k(1 − m_k)/(A + 1), so Σ_k Var/(2 S m_k) = (K − 1)/(2 S (A + 1)).

    The next order is smaller by a factor of about 1/(S·A·min m) = 1/80; 10 % is ample for it.
    """
    alpha = torch.tensor([10.0, 6.0, 4.0], dtype=F64)
    total, samples, batch = alpha.sum(), 20, 4000
    # Gammas of whole-number shape are sums of exponentials.
    draws = [
        -torch.rand(samples, batch, int(a), dtype=F64, generator=gen).log().sum(-1) for a in alpha.tolist()
    ]
    probs = torch.stack(draws, -1)
    probs = probs / probs.sum(-1, keepdim=True)
    m = alpha / total
    truth = -(m * m.log()).sum()
    values = predictive_entropy(probs)
    bias = 2 / (2 * samples * (total + 1))
    se = values.std() / batch**0.5
    assert abs(values.mean() - (truth - bias)) < 4 * se + 0.1 * bias
    assert bias > 2 * se


def test_kl_is_scipys(gen):
    p, q = posterior_probs(gen, samples=2)
    want = special.rel_entr(p.numpy(), q.numpy()).sum(1)
    assert categorical_kl(p, q).tolist() == pytest.approx(want, rel=1e-12)
    ends = torch.eye(2, dtype=F64)
    assert categorical_kl(ends, torch.full((2, 2), 0.5, dtype=F64)).tolist() == pytest.approx(
        [math.log(2)] * 2
    )
    assert categorical_kl(torch.full((2, 2), 0.5, dtype=F64), ends).tolist() == [torch.inf] * 2


def test_torchmetrics_documented_kl():
    uniform = torch.full((1, 3), 1 / 3, dtype=F64)
    assert categorical_kl(torch.tensor([[0.36, 0.48, 0.16]], dtype=F64), uniform).item() == pytest.approx(
        0.0853, abs=5e-5
    )


def test_agreement_and_total_variation_are_the_competitions(gen):
    p, q = posterior_probs(gen, samples=2)
    p, q = p.numpy(), q.numpy()
    same = (p.argmax(1) == q.argmax(1)).mean()
    variation = abs(p - q).sum(1).mean() / 2
    args = torch.as_tensor(p), torch.as_tensor(q)
    assert agreement(*args).item() == pytest.approx(same)
    assert total_variation(*args).item() == pytest.approx(variation, rel=1e-12)
    assert total_variation(torch.eye(2), torch.eye(2).flip(0)) == 1
    assert agreement(*args, per_point=True).shape == total_variation(*args, per_point=True).shape == (20,)
    assert agreement(*args, per_point=True).mean().item() == pytest.approx(same)
    assert total_variation(*args, per_point=True).mean().item() == pytest.approx(variation, rel=1e-12)


def test_float32_keeps_the_accuracy_of_its_inputs(gen):
    probs = posterior_probs(gen, dtype=torch.float32)
    eps = torch.finfo(torch.float32).eps
    cases = [(measure, (probs,)) for measure in POSTERIOR]
    cases += [(m, (probs[0], probs[1])) for m in (categorical_kl, agreement, total_variation)]
    for measure, args in cases:
        got, want = measure(*args), measure(*(a.double() for a in args))
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=eps, atol=1e-45)


def test_gradients(gen):
    probs = posterior_probs(gen, samples=3, batch=2).requires_grad_()
    for measure in POSTERIOR:
        assert torch.autograd.gradcheck(measure, (probs,))
    for measure in (categorical_kl, total_variation):
        assert torch.autograd.gradcheck(lambda x, f=measure: f(x[0], x[1]), (probs,))


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_is_sklearns_with_delongs_error(gen, ties):
    inside, outside = torch.randn(30, generator=gen), torch.randn(20, generator=gen) + 1
    if ties:
        inside, outside = inside.round(), outside.round()
    result = out_of_distribution_auroc(inside=inside, outside=outside)
    want = roc_auc_score([0] * 30 + [1] * 20, torch.cat([inside, outside]).numpy())
    assert result.value == pytest.approx(want, rel=1e-12)
    # DeLong's definition over all pairs.
    wins = (outside[:, None] > inside).double() + 0.5 * (outside[:, None] == inside).double()
    variance = wins.mean(1).var() / 20 + wins.mean(0).var() / 30
    assert result.stderr == pytest.approx(variance.sqrt().item(), rel=1e-12)
    assert result.sizes == (20, 30)
    assert result.better == "higher"
    low, high = out_of_distribution_auroc(
        inside=torch.arange(3.0), outside=torch.tensor([0.5, 9.0])
    ).interval()
    assert 0 <= low < high == 1  # value ± 1.96 errors goes to 1.6


def test_the_error_of_the_auroc_is_its_scatter(gen):
    """Two Gaussians a distance δ apart: the area is Φ(δ/√2)."""
    trials, delta = 400, 1.0
    results = [
        out_of_distribution_auroc(
            inside=torch.randn(60, dtype=F64, generator=gen),
            outside=torch.randn(40, dtype=F64, generator=gen) + delta,
        )
        for _ in range(trials)
    ]
    values = torch.tensor([r.value for r in results], dtype=F64)
    assert abs(values.mean() - stats.norm.cdf(delta / 2**0.5)) < 4 * values.std() / trials**0.5
    claimed = torch.tensor([r.stderr for r in results], dtype=F64).square().mean().sqrt()
    # A standard deviation from 400 trials is known to 1/√800 = 3.5 %; DeLong's variance is biased by O(1/n).
    assert (claimed / values.std()).item() == pytest.approx(1, abs=4 * 0.035 + 0.02)


@pytest.mark.parametrize("measure", POSTERIOR)
@pytest.mark.parametrize(
    ("probs", "error", "message"),
    [
        (torch.full((2, 3), 0.5), ValueError, r"shape \[samples, batch, classes\], got \[2, 3\]"),
        (torch.zeros(2, 3, 4), ValueError, "probs must sum to 1"),
        (torch.full((2, 3, 2), 0.5).half(), TypeError, "float32 or float64"),
        (torch.randn(2, 3, 2), ValueError, "probs must not be negative"),
        (torch.zeros(0, 3, 2), ValueError, "probs must not be empty"),
    ],
)
def test_refusals_of_posterior_predictions(measure, probs, error, message):
    with pytest.raises(error, match=message):
        measure(probs)


def test_mutual_information_refuses_a_single_sample():
    with pytest.raises(ValueError, match="at least 2 posterior samples"):
        mutual_information(torch.full((1, 3, 2), 0.5))


HALF = torch.full((3, 2), 0.5)


@pytest.mark.parametrize("measure", [agreement, total_variation, categorical_kl])
@pytest.mark.parametrize(
    ("p", "q", "error", "message"),
    [
        (HALF, HALF[:2], ValueError, r"the same shape, got \[3, 2\] and \[2, 2\]"),
        (HALF, HALF.double(), TypeError, "same dtype"),
        (HALF, HALF * 3, ValueError, "must sum to 1"),
        (HALF[0], HALF, ValueError, r"shape \[n, classes\]"),
        (HALF.tolist(), HALF, TypeError, "must be a torch.Tensor"),
    ],
)
def test_refusals_of_two_predictions(measure, p, q, error, message):
    with pytest.raises(error, match=message):
        measure(p, q)


SCORES = torch.zeros(4)


@pytest.mark.parametrize(
    ("inside", "outside", "error", "message"),
    [
        (SCORES[:1], SCORES, ValueError, "inside must hold at least 2 scores"),
        (SCORES, SCORES[:1], ValueError, "outside must hold at least 2 scores"),
        (SCORES[:, None], SCORES, ValueError, r"inside must have shape \[n\]"),
        (SCORES, SCORES.double(), TypeError, "same dtype"),
        (SCORES, SCORES + torch.nan, ValueError, "outside must be finite"),
    ],
)
def test_auroc_refusals(inside, outside, error, message):
    with pytest.raises(error, match=message):
        out_of_distribution_auroc(inside=inside, outside=outside)
