import itertools

import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from metrics import error_detection_auroc, false_positive_rate, risk_coverage


def predictions(n=400, seed=0, decimals=None):
    random = torch.Generator().manual_seed(seed)
    probs = (1.5 * torch.randn(n, 4, generator=random, dtype=torch.float64)).softmax(1)
    if decimals is not None:
        probs = (probs * 10**decimals).round() + 0.1
        probs = probs / probs.sum(1, keepdim=True)
    return probs, torch.multinomial(probs, 1, generator=random)[:, 0]


def test_the_area_is_the_mean_of_the_risks():
    probs, labels = predictions()
    order = probs.max(1).values.argsort(descending=True)
    wrong = (probs.argmax(1) != labels)[order].double()
    risk = wrong.cumsum(0) / torch.arange(1, 401)
    curve = risk_coverage(probs, labels)
    torch.testing.assert_close(curve.risk, risk)
    torch.testing.assert_close(curve.area, risk.mean())
    torch.testing.assert_close(curve.coverage, torch.arange(1, 401, dtype=torch.float64) / 400)


def test_ties_count_as_the_mean_over_their_orders():
    probs = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3], [0.7, 0.3], [0.6, 0.4]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 0, 1])
    wrong = [0.0, 1.0, 0.0, 0.0, 1.0]
    areas = []
    for order in itertools.permutations([1, 2, 3]):
        seen = torch.tensor([wrong[0], *(wrong[i] for i in order), wrong[4]])
        areas.append((seen.cumsum(0) / torch.arange(1, 6)).mean())
    assert float(risk_coverage(probs, labels).area) == pytest.approx(
        float(torch.stack(areas).mean()), abs=1e-7
    )
    shuffled = torch.tensor([3, 0, 4, 2, 1])
    again = risk_coverage(probs[shuffled], labels[shuffled]).area
    assert float(again) == pytest.approx(float(risk_coverage(probs, labels).area), abs=1e-12)


def test_the_error_of_the_area_is_its_scatter():
    values, told = [], []
    for seed in range(300):
        probs, labels = predictions(seed=seed)
        curve = risk_coverage(probs, labels)
        values.append(curve.area)
        told.append(curve.stderr)
    ratio = torch.stack(told).mean() / torch.stack(values).std()
    assert abs(float(ratio) - 1) < 0.13  # a deviation over 300 sets is known to 4 %: three of them


def test_the_error_of_few_data_is_that_of_their_influences_over_n_minus_one():
    """√(n/(n − 1) Σ (w_i IF_i)²), IF_i the slope of the area in the weight of datum i: for a mean s/√n."""
    confidence = torch.tensor([0.9, 0.8, 0.7, 0.6], dtype=torch.float64)
    loss, w = torch.tensor([0.0, 1.0, 0.0, 1.0]).double(), torch.full((4,), 0.25).double().requires_grad_()
    share = w / w.sum()
    area = (share * (share * loss).cumsum(0) / share.cumsum(0)).sum()
    (influence,) = torch.autograd.grad(area, w)
    probs = torch.stack([confidence, 1 - confidence], 1)
    curve = risk_coverage(probs, loss.long())
    assert float(curve.area) == pytest.approx(area.item(), rel=1e-12)
    want = (4 / 3 * (0.25 * influence).square().sum()).sqrt()
    assert float(curve.stderr) == pytest.approx(float(want), rel=1e-12)


def test_error_detection_agrees_with_sklearn_ties_included():
    for decimals in (None, 1):
        probs, labels = predictions(decimals=decimals)
        right = (probs.argmax(1) == labels).numpy()
        found = error_detection_auroc(probs, labels)
        assert found.value == pytest.approx(roc_auc_score(right, probs.max(1).values.numpy()), abs=1e-12)


def test_error_detection_refuses_what_has_no_errors():
    probs, labels = predictions()
    with pytest.raises(ValueError, match="at least 2 right and 2 wrong"):
        error_detection_auroc(probs, probs.argmax(1))
    error_detection_auroc(*predictions(n=500))  # more points
    assert labels.shape == (400,)


def test_false_positives_agree_with_the_roc_curve():
    random = torch.Generator().manual_seed(0)
    inside, outside = torch.randn(300, generator=random), torch.randn(200, generator=random) + 1
    found = false_positive_rate(inside=inside, outside=outside)
    # Inside is positive where its score, minus the uncertainty, is high.
    truth = torch.cat([torch.ones(300), torch.zeros(200)]).numpy()
    fpr, tpr, _ = roc_curve(truth, (-torch.cat([inside, outside])).numpy(), drop_intermediate=False)
    assert float(found) == pytest.approx(float(fpr[(tpr >= 0.95 - 1e-12).argmax()]), abs=1e-6)


def test_false_positives_of_one_distribution_are_the_recall():
    random = torch.Generator().manual_seed(0)
    inside, outside = torch.randn(20000, generator=random), torch.randn(20000, generator=random)
    found = false_positive_rate(inside=inside, outside=outside, recall=0.8)
    assert abs(float(found) - 0.8) < 4 * (2 * 0.16 / 20000) ** 0.5


def test_refusals():
    with pytest.raises(ValueError, match="recall must be between 0 and 1"):
        false_positive_rate(inside=torch.zeros(2), outside=torch.zeros(2), recall=1.0)
    with pytest.raises(ValueError, match="inside must be finite"):
        false_positive_rate(inside=torch.tensor([0.0, torch.nan]), outside=torch.zeros(2))
