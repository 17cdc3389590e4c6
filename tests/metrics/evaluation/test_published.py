"""Published measures in `evaluate`: their numbers are the plain functions', in one pass, with errors that hold."""

import math

import pytest
import torch

import metrics
from metrics.evaluation.copying import copying_measures, feature_likelihood_measure
from metrics.evaluation.pair import Pair
from metrics.evaluation.published import inception_measure, published_measures
from metrics.kernels import Polynomial, sweep


@pytest.fixture(scope="module")
def clouds():
    random = torch.Generator().manual_seed(0)
    x, y, train = (torch.randn(n, 3, generator=random) for n in (150, 140, 160))
    return x + 0.4, y, train


def test_numbers_are_those_of_the_functions(clouds):
    x, y, _ = clouds
    report = metrics.evaluate(x, y, measures=published_measures(), permutations=19)
    want = {
        "kid": metrics.mmd2(x, y, kernel=Polynomial()),
        "kid_subsets": metrics.kernel_inception_distance(x, y, subset_size=140).mean,
        "cmmd": metrics.clip_mmd(x, y),
        "mind": metrics.monge_inception_distance(x, y),
        "frechet_infinity": metrics.frechet_distance_infinity(x, y).value,
        "classifier_accuracy": metrics.classifier_two_sample_test(x.double(), y.double()).accuracy,
    }
    for name, value in want.items():
        assert report[name].value == pytest.approx(value.item(), rel=1e-4), name
        assert report[name].stderr > 0
    assert report["kid"].stderr == pytest.approx(
        metrics.mmd2_variance(x, y, kernel=Polynomial()).sqrt().item(), rel=1e-4
    )
    assert report["kid_subsets"].stderr > report["kid"].stderr
    assert report["kid"].p_value == 0.05
    told = metrics.aggregated_mmd_test(x[:100].double(), y[:100].double())
    of = metrics.evaluate(x[:100], y[:100], measures=published_measures()[:1])["mmd2_aggregated"]
    assert of.p_value == told.p_value.item()
    assert of.value == pytest.approx(
        metrics.mmd2(x[:100].double(), y[:100].double(), kernel=told.kernel).item(), rel=1e-6
    )
    assert report["classifier_accuracy"].p_value < 0.05


def test_all_sums_over_pairs_are_one_pass(clouds, monkeypatch):
    x, y, _ = clouds
    passes = []
    real = sweep.sweep
    monkeypatch.setattr(
        "metrics.evaluation.shared.sweep", lambda *a, **k: passes.append(len(a[2])) or real(*a, **k)
    )
    measures = [*metrics.standard_measures()[3:5], *published_measures()[1:4]]
    metrics.evaluate(x, y, measures=measures, permutations=9)
    assert passes == [4]  # the median's, −r, KID's and CMMD's kernels


def test_copies_of_the_training_data_are_told_and_have_no_floor(clouds):
    _, y, train = clouds
    measures = [
        *copying_measures(train),
        feature_likelihood_measure(train),
        *metrics.standard_measures()[4:5],
    ]
    honest = metrics.evaluate(clouds[0] - 0.4, y, measures=measures, train=train)
    copied = metrics.evaluate(train[:140] + 1e-3, y, measures=measures, train=train)
    assert honest["nearer_train"].floor is None
    assert honest["energy_distance"].floor is not None
    assert honest["nearer_train"].p_value > 0.01
    assert copied["nearer_train"].value == pytest.approx(300 / 160, rel=0.02)
    assert copied["authenticity"].value < 0.05 < 0.3 < honest["authenticity"].value
    for name in ("nearer_train", "data_copying"):
        assert copied[name].p_value < 1e-6
    assert copied["feature_likelihood"].value > 100 > honest["feature_likelihood"].value
    rows = ["nearer_train", "authenticity", "data_copying", "feature_likelihood", "energy_distance"]
    assert list(honest.estimates) == rows


def test_no_tests_without_permutations(clouds):
    x, y, train = clouds
    measures = [*copying_measures(train), feature_likelihood_measure(train)]
    report = metrics.evaluate(x, y, measures=measures, permutations=0)
    assert all(e.p_value is None for e in report.estimates.values())


def test_copies_of_pictures_whose_corners_are_always_black_are_told():
    """FLD divides by each column's deviation, and has a measure of its own, so that it does not stop the others."""
    split = metrics.load_digits_split()
    x, y, train = split.held_x[:150], split.held_x[150:300], split.train_x[:150]
    report = metrics.evaluate(x, y, measures=copying_measures(train), permutations=0)
    assert all(math.isfinite(e.value) and math.isfinite(e.stderr) for e in report.estimates.values())
    with pytest.raises(
        ValueError, match=r"held_out must vary in every column, got .* constant ones; leave them"
    ):
        metrics.evaluate(x, y, measures=[feature_likelihood_measure(train)], permutations=0)


def test_the_inception_score_of_digits_is_that_of_their_classes():
    split = metrics.load_digits_split()
    measure = inception_measure(metrics.digits_classifier())
    report = metrics.evaluate(split.held_x, split.train_x, measures=[measure])
    assert 8.5 < report["inception_score"].value < 10
    one = split.held_x[split.held_y == 3]
    assert metrics.evaluate(one, split.train_x, measures=[measure])["inception_score"].value < 1.5


def test_the_error_of_the_classifiers_accuracy_is_binomial():
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    (measure,) = (m for m in published_measures() if m.rows[0].name == "classifier_accuracy")
    value, stderr = measure.with_stderr(Pair(x + 0.5, -x))
    p = float(value)
    assert float(stderr) == pytest.approx((p * (1 - p) / 400) ** 0.5, rel=0.03)


def test_refusals():
    with pytest.raises(ValueError, match="train must"):
        copying_measures(torch.zeros(1, 2))
