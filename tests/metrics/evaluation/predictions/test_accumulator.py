import pytest
import torch
from safetensors.torch import load, save

from metrics import PredictionAccumulator, evaluate_predictions
from tests.metrics.evaluation.predictions.problems import line, pair


def told(comparison):
    rows = [e for report in comparison.reports.values() for e in report.estimates.values()]
    rows += [e for found in comparison.differences.values() for e in found.values()]
    return torch.tensor([n for e in rows for n in (e.value, e.stderr, *e.interval())], dtype=torch.float64)


def test_groups_weights_strangers_and_ignored_points_in_pieces():
    models, labels = pair(n=200)
    random = torch.Generator().manual_seed(0)
    away = {name: p[:, torch.randperm(200, generator=random)[:90]] for name, p in models.items()}
    weights = torch.rand(200, generator=random, dtype=torch.float64)
    groups = torch.randint(3, (200,), generator=random)
    labels[5] = -1
    whole = evaluate_predictions(
        models, labels, outside={"far": away}, weights=weights, groups=groups, ignore_index=-1
    )
    one, two = (PredictionAccumulator(ignore_index=-1) for _ in range(2))
    for part, accumulator in ((slice(0, 70), one), (slice(70, 71), two), (slice(71, 200), two)):
        batch = {name: p[:, part] for name, p in models.items()}
        # Strangers come with the first batch of either.
        half = slice(0, 40) if accumulator is one else slice(40, 90)
        strangers = {"far": {k: p[:, half] for k, p in away.items()}} if part.start in (0, 70) else None
        accumulator.update(batch, labels[part], outside=strangers, weights=weights[part], groups=groups[part])
    found = one.merge(two).compute()
    torch.testing.assert_close(told(found), told(whole), rtol=1e-10, atol=1e-10)
    for label, part in whole.groups.items():
        torch.testing.assert_close(told(found.groups[label]), told(part), rtol=1e-10, atol=1e-10)


def test_a_state_is_written_and_read():
    models, labels = pair(n=100)
    first, rest = ({k: p[:, part] for k, p in models.items()} for part in (slice(0, 60), slice(60, 100)))
    accumulator = PredictionAccumulator()
    accumulator.update(first, labels[:60])
    again = PredictionAccumulator()
    again.load_state_dict(load(save(accumulator.state_dict())))
    again.update(rest, labels[60:])
    assert torch.equal(told(again.compute()), told(evaluate_predictions(models, labels)))


def test_regression_with_densities():
    _, f, y = line(n=120)
    whole = evaluate_predictions(
        torch.distributions.Normal(f, 0.3), y, reference=torch.distributions.Normal(f[:9], 0.4)
    )
    accumulator = PredictionAccumulator()
    for part in torch.arange(120).split(50):
        accumulator.update(
            torch.distributions.Normal(f[:, part], 0.3),
            y[part],
            reference=torch.distributions.Normal(f[:9, part], 0.4),
        )
    torch.testing.assert_close(told(accumulator.compute()), told(whole), rtol=1e-10, atol=1e-10)


def test_refusals():
    models, labels = pair(n=40)
    accumulator = PredictionAccumulator()
    with pytest.raises(ValueError, match=r"call update\(predictions, y\)"):
        accumulator.compute()
    accumulator.update(models, labels)
    with pytest.raises(ValueError, match="same models and arguments"):
        accumulator.update({"good": models["good"]}, labels)
    with pytest.raises(ValueError, match="as many samples of good"):
        accumulator.update({name: p[:5] for name, p in models.items()}, labels)
    with pytest.raises(TypeError, match="number their labels"):
        accumulator.update(models, labels, groups=[0.5] * 40)
    before = told(accumulator.compute())
    with pytest.raises(ValueError, match="other must have the settings"):
        accumulator.merge(PredictionAccumulator(bins=5))
    assert torch.equal(told(accumulator.compute()), before)
