import pytest
import torch
from scipy.optimize import minimize_scalar

from metrics import categorical_nll
from metrics.predictions import TemperatureScaling


def problem(n=500, seed=0, temperature=2.5):
    """Labels drawn at a temperature from logits whose softmax at 1 is what the model says."""
    random = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(n, 5, generator=random, dtype=torch.float64)
    labels = torch.multinomial((logits / temperature).softmax(1), 1, generator=random)[:, 0]
    return logits.softmax(1), labels


def test_the_temperature_is_that_of_a_general_minimiser():
    probs, labels = problem()
    scaling = TemperatureScaling().fit(probs, labels)

    def loss(t):
        return float(categorical_nll((probs.log() / t).softmax(1), labels))

    assert scaling.temperature == pytest.approx(
        minimize_scalar(loss, bounds=(0.1, 20), method="bounded").x, rel=1e-5
    )


def test_the_error_covers_the_truth():
    inside, ratio = [], []
    for seed in range(300):
        scaling = TemperatureScaling().fit(*problem(seed=seed))
        inside.append(abs(scaling.temperature - 2.5) < 1.96 * scaling.stderr)
        ratio.append((scaling.temperature, scaling.stderr))
    assert 0.91 < sum(inside) / 300 < 0.985
    found = torch.tensor(ratio)
    assert abs(float(found[:, 1].mean() / found[:, 0].std()) - 1) < 0.13


def test_samples_come_back_as_one_and_accuracy_stays():
    probs, labels = problem()
    samples = torch.stack([probs, probs.flip(0)]).float()
    scaling = TemperatureScaling().fit(samples, labels)
    mapped = scaling(samples)
    assert mapped.shape == (1, 500, 5)
    assert mapped.dtype == torch.float32
    assert torch.equal(mapped[0].argmax(1), samples.mean(0).argmax(1))


def test_certain_predictions_stay_finite():
    probs = torch.tensor([[1.0, 0.0]]).expand(10, 2)
    labels = torch.tensor([0] * 9 + [1])
    assert float(TemperatureScaling().fit(probs, labels)(probs)[0, 0]) == pytest.approx(0.9, abs=1e-5)


def test_refusals_and_their_remedies():
    probs, labels = problem()
    with pytest.raises(ValueError, match="call fit"):
        TemperatureScaling()(probs)
    with pytest.raises(ValueError, match="fit on more validation points"):
        TemperatureScaling().fit(probs, probs.argmax(1))
    with pytest.raises(ValueError, match="in the labels' order"):
        TemperatureScaling().fit(probs, probs.argmin(1))
    with pytest.raises(ValueError, match=r"softmax\(-1\)"):
        TemperatureScaling().fit(probs.log(), labels)
    TemperatureScaling().fit(probs.log().softmax(-1), labels)(probs)
