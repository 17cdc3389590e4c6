import math

import pytest
import torch
from matplotlib.figure import Figure

from metrics.predictions.calibration import (
    calibration_error,
    calibration_floor,
    classwise_calibration_error,
    reliability_diagram,
)

F64 = torch.float64


def predictions(gen, n=200, classes=4, dtype=F64, sharpness=1.0):
    """Labels drawn from softmax(z); probabilities softmax(sharpness·z): calibrated at sharpness 1."""
    logits = 1.5 * torch.randn(n, classes, dtype=dtype, generator=gen)
    labels = torch.multinomial(logits.softmax(1), 1, generator=gen)[:, 0]
    return (sharpness * logits).softmax(1), labels


def slow_error(forecasts, outcomes, bins, norm):
    """The definition, bin by bin."""
    gaps, weights = [], []
    for b in range(bins):
        held = [i for i, c in enumerate(forecasts) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if held:
            confidence = sum(forecasts[i] for i in held) / len(held)
            gaps.append(abs(confidence - sum(outcomes[i] for i in held) / len(held)))
            weights.append(len(held) / len(forecasts))
    if norm == "max":
        return max(gaps)
    power = 1 if norm == "l1" else 2
    return sum(w * g**power for w, g in zip(weights, gaps, strict=True)) ** (1 / power)


@pytest.mark.parametrize(("norm", "want"), [("l1", 0.2900), ("l2", 0.2918), ("max", 0.3167)])
def test_torchmetrics_documented_binary_values(norm, want, dtype):
    """Its binary error looks at the probability of class 1 and not at the predicted class."""
    p = torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75], dtype=dtype)
    labels = torch.tensor([0, 0, 1, 1, 1])
    got = classwise_calibration_error(torch.stack([1 - p, p], 1), labels, bins=2, norm=norm)
    assert got[1].item() == pytest.approx(want, abs=5e-5)
    top = calibration_error(torch.stack([1 - p, p], 1), labels, bins=2, norm=norm)
    # All right with mean confidence 0.71, in one bin: another number.
    assert top.item() == pytest.approx(0.29, abs=1e-6)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("bins", [1, 4, 15])
def test_equals_the_definition(gen, norm, bins):
    probs, labels = predictions(gen, sharpness=2.0)
    confidence, predicted = probs.max(1)
    want = slow_error(confidence.tolist(), (predicted == labels).tolist(), bins, norm)
    assert calibration_error(probs, labels, bins=bins, norm=norm).item() == pytest.approx(want, rel=1e-12)
    got = classwise_calibration_error(probs, labels, bins=bins, norm=norm)
    want = [slow_error(probs[:, k].tolist(), (labels == k).tolist(), bins, norm) for k in range(4)]
    assert got.tolist() == pytest.approx(want, rel=1e-12)


def test_confidence_of_exactly_one_counts(dtype):
    probs = torch.eye(2, dtype=dtype)[[0, 0, 1, 1]]
    labels = torch.tensor([0, 1, 0, 1])
    diagram = reliability_diagram(probs, labels, bins=15)
    assert diagram.count.tolist() == [0] * 14 + [4]
    assert diagram.confidence[-1] == 1
    assert diagram.accuracy[-1] == 0.5
    for adaptive in (False, True):
        assert calibration_error(probs, labels, adaptive=adaptive).item() == 0.5


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_diagram_has_the_error(gen, dtype, norm, adaptive):
    probs, labels = predictions(gen, dtype=dtype, sharpness=3.0)
    diagram = reliability_diagram(probs, labels, bins=10, adaptive=adaptive)
    want = calibration_error(probs, labels, bins=10, norm=norm, adaptive=adaptive)
    assert diagram.error(norm).dtype == want.dtype == diagram.confidence.dtype == dtype
    # The diagram's columns are rounded to `dtype` once more.
    torch.testing.assert_close(
        diagram.error(norm), want, rtol=1e-4 if dtype == torch.float32 else 1e-12, atol=0
    )
    assert diagram.count.sum() == 200
    assert torch.equal(diagram.confidence.isnan(), diagram.count == 0)
    some = diagram.count > 0
    assert (diagram.stderr[some] > 0).all()
    assert (diagram.confidence[some] <= diagram.edges[1:][some]).all()
    assert (diagram.confidence[some] >= diagram.edges[:-1][some]).all()


def test_known_miscalibration(gen):
    """Confidence 0.9 with accuracy 0.6: 0.3 within four binomial standard errors."""
    n = 4000
    probs = torch.tensor([[0.9, 0.1]], dtype=F64).expand(n, 2)
    labels = (torch.rand(n, generator=gen) > 0.6).long()
    for norm in ("l1", "l2", "max"):
        got = calibration_error(probs, labels, norm=norm).item()
        assert abs(got - 0.3) < 4 * math.sqrt(0.6 * 0.4 / n)


def test_any_order_and_any_names_of_classes(gen):
    probs, labels = predictions(gen)
    order, names = torch.randperm(200, generator=gen), torch.randperm(4, generator=gen)
    for adaptive in (False, True):
        want = calibration_error(probs, labels, adaptive=adaptive)
        got = calibration_error(probs[order][:, names], names.argsort()[labels[order]], adaptive=adaptive)
        torch.testing.assert_close(got, want)


def test_a_tie_predicts_the_first_class():
    assert calibration_error(torch.full((2, 4), 0.25), torch.tensor([0, 3]), bins=1) == 0.25


def test_the_floor_is_the_error_of_a_calibrated_model(gen):
    """Measured on labels that really come from the predictions, many times over, against the resampled confidences."""
    probs, _ = predictions(gen, n=150)
    for adaptive in (False, True):
        real = [
            calibration_error(probs, torch.multinomial(probs, 1, generator=gen)[:, 0], adaptive=adaptive)
            for _ in range(300)
        ]
        want = torch.stack(real)
        floor = calibration_floor(probs, adaptive=adaptive, repeats=300)
        se = (want.var() / 300 + floor.var() / 300).sqrt()
        assert abs(floor.mean() - want.mean()) < 4 * se
        # A standard deviation from 300 draws is known to 1/√600 = 4 %, a ratio of two to 6 %.
        assert (floor.std() / want.std()).item() == pytest.approx(1, abs=4 * 0.06)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_the_floor_of_one_bin_is_a_folded_normal(norm):
    """|mean of n Bernoulli(0.7) − 0.7|: mean √(2 · 0.21/(πn)), second moment 0.21/n, for every norm of one bin."""
    n, repeats = 1000, 2000
    probs = torch.tensor([[0.7, 0.3]], dtype=F64).expand(n, 2)
    floor = calibration_floor(probs, bins=1, norm=norm, repeats=repeats)
    want = math.sqrt(2 * 0.21 / (math.pi * n))
    assert abs(floor.mean().item() - want) < 4 * floor.std().item() / math.sqrt(repeats)
    # χ²₁ has a relative standard deviation of √2.
    assert floor.square().mean().item() == pytest.approx(0.21 / n, rel=4 * math.sqrt(2 / repeats))


def test_the_floor_tells_calibrated_from_not(gen):
    for sharpness, calibrated in ((1.0, True), (2.0, False)):
        probs, labels = predictions(gen, n=2000, sharpness=sharpness)
        measured = calibration_error(probs, labels)
        p_value = (calibration_floor(probs) >= measured).double().mean().item()
        assert (p_value > 0.01) == calibrated


def test_the_floor_repeats_by_its_seed(gen, dtype):
    probs = predictions(gen, dtype=dtype)[0]
    first = calibration_floor(probs, repeats=5)
    assert first.dtype == dtype
    assert torch.equal(first, calibration_floor(probs, repeats=5))
    other = calibration_floor(probs, repeats=5, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(first, other)


@pytest.mark.parametrize("adaptive", [False, True])
def test_plot(gen, adaptive):
    figure = reliability_diagram(*predictions(gen), bins=8, adaptive=adaptive).plot()
    assert isinstance(figure, Figure)
    upper, lower = figure.axes
    assert upper.get_ylabel() == "accuracy"
    assert lower.get_xlabel() == "confidence"
    assert "n = 200" in upper.get_title()
    figure.canvas.draw()


HALF, LABELS = torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])
BAD = [
    (HALF * 2, LABELS, {}, ValueError, "probs must sum to 1"),
    (HALF, LABELS + 1, {}, ValueError, "labels must be from 0 to 1"),
    (HALF, LABELS.int(), {}, TypeError, "labels must be int64"),
    (HALF, LABELS, {"bins": 0}, ValueError, "bins must be at least 1, got 0"),
    (HALF, LABELS, {"bins": 2.0}, TypeError, "bins must be an int"),
    (HALF[:0], LABELS[:0], {}, ValueError, "probs must not be empty"),
]


@pytest.mark.parametrize("measure", [calibration_error, classwise_calibration_error, reliability_diagram])
@pytest.mark.parametrize(("probs", "labels", "options", "error", "message"), BAD)
def test_refusals(measure, probs, labels, options, error, message):
    with pytest.raises(error, match=message):
        measure(probs, labels, **options)


@pytest.mark.parametrize(
    ("probs", "options", "error", "message"),
    [
        (HALF * 2, {}, ValueError, "probs must sum to 1"),
        (HALF, {"bins": 0}, ValueError, "bins must be at least 1"),
        (HALF, {"repeats": 0}, ValueError, "repeats must be at least 1"),
        (HALF, {"norm": "L1"}, ValueError, 'norm must be "l1", "l2" or "max"'),
    ],
)
def test_refusals_of_the_floor(probs, options, error, message):
    with pytest.raises(error, match=message):
        calibration_floor(probs, **options)


def test_refuses_an_unknown_norm():
    for measure in (calibration_error, classwise_calibration_error):
        with pytest.raises(ValueError, match='norm must be "l1", "l2" or "max", got 1'):
            measure(HALF, LABELS, norm=1)
    with pytest.raises(ValueError, match="norm must be"):
        reliability_diagram(HALF, LABELS).error("linf")
