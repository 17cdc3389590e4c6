"""Evaluation of generators of classes, against closed forms: Gaussians by class, point masses, swapped labels."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import metrics
from metrics import classification_accuracy_score, evaluate_conditional, joint_cloud
from metrics.evaluation import Pair, standard_measures
from metrics.evaluation.conditional_report import mean_of_classes

QUIET = {"permutations": 0, "splits": 5, "progress": False}
PHI = NormalDist().cdf


def named(*names):
    return [each for each in standard_measures() if each.rows[0].name in names]


def classes(n, count):
    return torch.arange(n) % count


def masses(labels, gap=3.0):
    return gap * labels[:, None].double()


def test_each_class_has_its_own_distance_and_the_mean_counts_each_alike(gen):
    """N(μ_c + δ_c, 1) against N(μ_c, 1): the Fréchet distance is δ_c², whatever the shares of the classes."""
    shift = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    y = torch.cat([torch.full((n,), c) for c, n in enumerate((2000, 1000, 500))])
    real, made = (5.0 * y[:, None] + torch.randn(2, len(y), 1, dtype=torch.float64, generator=gen)).unbind()
    found = evaluate_conditional(
        made + shift[y][:, None],
        real,
        labels=y,
        reference_labels=y,
        measures=named("frechet_distance"),
        joint=named("frechet_distance"),
        classifier=LogisticRegression(),
        **QUIET,
    )
    for c in (1, 2):
        estimate = found.classes[c]["frechet_distance"]
        assert abs(estimate.value - float(shift[c] ** 2)) < 5 * estimate.stderr
    mean = found.mean["frechet_distance"]
    assert abs(mean.value - 10 / 3) < 5 * mean.stderr
    each = [found.classes[c]["frechet_distance"] for c in range(3)]
    assert mean.value == pytest.approx(sum(e.value for e in each) / 3)
    assert mean.stderr == pytest.approx(math.sqrt(sum(e.stderr**2 for e in each)) / 3)
    assert mean.sizes == (3500, 3500)


@pytest.mark.usefixtures("unchecked")
def test_the_interval_of_a_mean_of_squared_distances_is_moved_by_its_own_skewness(gen):
    """D_c ~ N(2, 1) in ten classes: the mean of D² is 5. The move of one class alone covers 73 % of 95."""
    draws, classes_ = 2000, 10
    d = 2 + torch.randn(draws, classes_, dtype=torch.float64, generator=gen)
    inside = 0
    for row in d.tolist():
        reports = [
            metrics.Report(
                {"T": metrics.Estimate(v * v, 2 * abs(v), "lower", "D²", (9, 9), root_variance=1.0)}
            )
            for v in row
        ]
        low, high = mean_of_classes(reports)["T"].interval()
        inside += low <= 5 <= high
    assert abs(inside / draws - 0.96) < 4 * math.sqrt(0.96 * 0.04 / draws)  # .9604 of 400 000 draws


@pytest.mark.usefixtures("unchecked")
def test_the_error_of_the_mean_is_its_spread():
    """Deviations from 2/3, the mean of δ², over their errors: variance 1 to 5 errors of the variance of 25 of them."""
    y, random = classes(300, 3), torch.Generator().manual_seed(1)
    shift = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)[y][:, None]
    scores = []
    for _ in range(25):
        made, real = torch.randn(2, 300, 1, dtype=torch.float64, generator=random)
        gap = metrics.measure("gap", lambda a, b: a.mean() - b.mean(), better="lower")
        found = evaluate_conditional(
            made + shift, real, labels=y, reference_labels=y, measures=[gap], joint=[gap], permutations=0,
            splits=20, progress=False, classifier=LogisticRegression(),
        ).mean["gap"]  # fmt: skip
        scores.append((found.value - 2 / 3) / found.stderr)
    assert abs(np.var(scores) - 1) < 5 * math.sqrt(2 / 25)
    assert abs(np.mean(scores)) < 5 / math.sqrt(25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_swapped_labels_are_seen_jointly_and_not_in_the_marginal(dtype):
    """Masses at 0 and r with the labels swapped; κ² = 2·(r/2)², so √2·κ = r and D² = 2r − √(r² + 2κ²)·1 = (2 − √2)·r.

    Of the pairs (a, e_0), (b, e_1) against (a, e_1), (b, e_0): E‖P − Q‖ = (√2κ + r)/2, E‖P − P'‖ = √(r² + 2κ²)/2 on
    either side. W₂² = r², by either plan.
    """
    y, r = classes(200, 2), 3.0
    x = masses(y, r).to(dtype)
    joint = named("energy_distance", "wasserstein")
    options = {"measures": named("energy_distance"), "joint": joint, "permutations": 99, "progress": False}
    swapped = evaluate_conditional(x, x, labels=1 - y, reference_labels=y, **options)
    assert swapped.kappa == pytest.approx(r / math.sqrt(2))
    assert swapped.joint["energy_distance"].value == pytest.approx(math.sqrt((2 - math.sqrt(2)) * r))
    assert swapped.joint["wasserstein"].value == pytest.approx(r)
    assert swapped.joint["energy_distance"].p_value == pytest.approx(0.01)
    assert swapped.joint["classification_accuracy"].value == 0
    assert metrics.evaluate(x, x, measures=joint, permutations=0)["energy_distance"].value == pytest.approx(
        0, abs=1e-6
    )
    right = evaluate_conditional(x, x, labels=y, reference_labels=y, **options)
    assert right.joint["energy_distance"].value == pytest.approx(0, abs=1e-6)
    assert right.joint["classification_accuracy"].value == 1
    assert right.joint["classification_accuracy"].stderr > 0


def test_labels_that_are_ignored_are_seen(gen):
    y = classes(400, 2)
    x, real = (4.0 * y[:, None] + torch.randn(2, 400, 1, generator=gen)).unbind()
    random = y[torch.randperm(400, generator=gen)]
    found = evaluate_conditional(
        x,
        real,
        labels=random,
        reference_labels=y,
        measures=named("mmd2"),
        joint=named("mmd2", "energy_distance", "nn_accuracy"),
        progress=False,
    )
    for name in ("mmd2", "energy_distance", "nn_accuracy"):
        assert found.joint[name].p_value == pytest.approx(1 / 200)
    assert metrics.evaluate(x, real, measures=named("mmd2"))["mmd2"].p_value > 0.01
    score = found.joint["classification_accuracy"]
    # Which class a classifier gives to points without any information is a coin by regions of x.
    assert score.value < 0.8
    assert found.mean["mmd2"].p_value is None


def test_the_pairs_are_those_of_the_conditional_sample_losses(gen):
    from gan import losses, networks
    from gan.game import Game
    from gan.settings import TrainingSettings
    from gan.sources import as_source

    x, y = torch.randn(30, 2, generator=gen), classes(30, 3)
    source = as_source(x, y, device=torch.device("cpu"), dtype=torch.float32, seed=0, workers=0)
    game = Game(
        networks.mlp_generator(2, num_classes=3), None, None, loss=losses.Energy(), penalties=(), source=source,
        settings=TrainingSettings(), random=gen, dtype=torch.float32, classes=3,
    )  # fmt: skip
    mine = joint_cloud(x, y, num_classes=3, kappa=game.kappa)
    torch.testing.assert_close(mine, game._with_class(x, y))
    wide = torch.randn(60, 2, generator=gen)
    found = evaluate_conditional(
        wide, wide, labels=classes(60, 2), reference_labels=classes(60, 2), joint=named("mmd2"), measures=named("mmd2"),
        **QUIET,
    )  # fmt: skip
    assert found.kappa == pytest.approx(float((2 * wide.double().var(0, unbiased=False).sum()).sqrt()))


def test_a_classifier_of_shifted_classes_has_the_accuracy_of_its_threshold(gen):
    """Real N(±1, 1), generated N(±1 + s, 1): the threshold is s, and ½[Φ(1 − s) + Φ(1 + s)] of the real are right."""
    n, s = 40_000, 1.0
    y = classes(n, 2)
    real, made = (2.0 * y[:, None] - 1 + torch.randn(2, n, 1, dtype=torch.float64, generator=gen)).unbind()
    score = classification_accuracy_score(made + s, y, real, y, classifier=LogisticRegression())
    wanted = (PHI(1 - s) + PHI(1 + s)) / 2
    # The threshold's own error moves the two shares against each other: the sum of their slopes at s is φ(2) − φ(0).
    assert abs(float(score.accuracy) - wanted) < 5 * math.sqrt(
        wanted * (1 - wanted) / n
    ) + 0.17 * 5 * 2 / math.sqrt(n)
    assert float(score.stderr) == pytest.approx(math.sqrt(wanted * (1 - wanted) / n), rel=0.02)
    for c, share in enumerate((PHI(1 + s), PHI(1 - s))):
        assert abs(float(score.per_class[c]) - share) < 10 * math.sqrt(share * (1 - share) / (n / 2)) + 0.01


def test_trained_on_the_generated_and_tested_on_the_real(gen):
    """Generated classes three times as wide: the real ones are told apart by Φ(1), generated ones would be by Φ(⅓)."""
    n = 20_000
    y = classes(n, 2)
    centre = 2.0 * y[:, None] - 1
    real, made = (centre + scale * torch.randn(n, 1, dtype=torch.float64, generator=gen) for scale in (1, 3))
    score = classification_accuracy_score(made, y, real, y)
    assert abs(float(score.accuracy) - PHI(1)) < 0.015 < PHI(1) - PHI(1 / 3)


def test_a_column_that_hardly_varies_among_the_samples_stays_small(gen):
    """A border of pixels at −1 ± 1e-5: standardised by itself it would drown the pixel that tells the classes apart."""
    y = classes(600, 2)
    made = torch.cat([2.0 * y[:, None] - 1, -1 + 1e-5 * torch.randn(600, 20, generator=gen)], 1)
    real = torch.cat([2.0 * y[:, None] - 1, -1 + 0.02 * torch.randn(600, 20, generator=gen)], 1)
    assert float(classification_accuracy_score(made, y, real, y).accuracy) > 0.98


def test_the_floor_is_that_of_training_points(gen):
    y = classes(120, 3)
    made, real, train = (3.0 * y[:, None] + torch.randn(3, 120, 1, generator=gen)).unbind()
    found = evaluate_conditional(
        made + 1, real, labels=y, reference_labels=y, train=train, train_labels=y, measures=named("energy_distance"),
        **QUIET,
    )  # fmt: skip
    floor = found.mean["energy_distance"].floor
    assert floor == pytest.approx(sum(found.classes[c]["energy_distance"].floor for c in range(3)) / 3)
    assert floor < found.mean["energy_distance"].value
    assert found.joint["classification_accuracy"].floor > 0.8
    assert found.joint["energy_distance"].floor < found.joint["energy_distance"].value
    table = found.to_markdown()
    assert "Mean over 3 classes" in table
    assert "| 2 | 40, 40 |" in table
    assert set(found.to_dict()) == {"classes", "mean", "joint", "kappa"}


def test_features_are_seen_by_whom_they_are_meant_for(gen):
    y = classes(80, 2)
    images = torch.rand(80, 1, 4, 4, generator=gen)
    seen = []

    def first_two(x):
        seen.append(tuple(x.shape))
        return x.flatten(1)[:, :2]

    options = {"labels": y, "reference_labels": y, "features": first_two, "joint": named("mmd2"), **QUIET}
    options["measures"] = named("frechet_distance")
    alone = evaluate_conditional(images, images, **options)
    assert alone.joint.features == "none"
    every = evaluate_conditional(images, images, features_for="all", **options)
    assert every.joint.features == every.mean.features == "first_two"
    assert every.joint.on_features == ("mmd2", "classification_accuracy")
    assert {shape[1:] for shape in seen} == {(1, 4, 4)}
    points = images.flatten(1)[:, :2].double()
    assert every.kappa == pytest.approx(float((2 * points.var(0, unbiased=False).sum()).sqrt()), rel=1e-6)


def test_arrays_and_whole_numbers_of_every_kind(gen):
    y, x = classes(60, 2), torch.randn(60, 2, generator=gen)
    options = {"measures": named("mmd2"), "joint": named("mmd2"), **QUIET}
    found = [
        evaluate_conditional(a, a, labels=b, reference_labels=b, **options).joint["mmd2"].value
        for a, b in ((x, y), (x.numpy(), y.numpy().astype(np.uint8)), (x, y.int()))
    ]
    assert found[0] == found[1] == found[2]


X, Y = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)), classes(60, 2)
FEW = torch.cat([torch.zeros(50, dtype=torch.long), torch.ones(10, dtype=torch.long)])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"labels": Y.float()},
            TypeError,
            r"labels must be whole numbers, got torch.float32; convert with .long\(\)",
        ),
        ({"labels": np.array(["a", "b"] * 30)}, TypeError, r"numpy.unique\(labels, return_inverse=True\)"),
        ({"labels": Y[:59]}, ValueError, r"labels must be \[60\], one a sample, got \[59\]"),
        ({"reference_labels": Y - 1}, ValueError, "reference_labels must be 0 or more, got -1"),
        ({"labels": FEW}, ValueError, r"got 50 and 30 of class 0|10 and 30 of class 1; .*classes=\[0\]"),
        ({"classes": [7]}, ValueError, r"0 and 0 of class 7.*classes=\[0, 1\]"),
        ({"classes": []}, ValueError, r"got no class.*classes=\[0, 1\]"),
        ({"labels": Y * 0, "classes": [0]}, ValueError, "two classes or more, got 0 alone"),
        ({"train": X}, ValueError, "train and train_labels must be given together"),
        (
            {"train": X[:50], "train_labels": Y[:50]},
            ValueError,
            "class 0: train must hold at least as many points",
        ),
        ({"kappa": 0.0}, ValueError, "kappa must be finite and above 0"),
        ({"classifier": "svm"}, TypeError, "classifier must have fit and predict, got str"),
        ({"samples": X.where(X < 1, torch.nan)}, ValueError, "class 0: samples must be finite"),
    ],
)
def test_refusals(change, error, message):
    given = {"samples": X, "reference": X, "labels": Y, "reference_labels": Y} | QUIET | change
    given |= {"measures": named("mmd2"), "joint": named("mmd2")}
    with pytest.raises(error, match=message):
        evaluate_conditional(**given)


def test_the_remedies_work():
    options = {"measures": named("mmd2"), "joint": named("mmd2"), **QUIET}
    names = np.array(["cat", "dog"] * 30)
    numbered = np.unique(names, return_inverse=True)[1]
    found = evaluate_conditional(X, X, labels=numbered, reference_labels=Y, **options)
    assert list(found.classes) == [0, 1]
    found = evaluate_conditional(X, X, labels=FEW, reference_labels=Y, classes=[0], **options)
    assert list(found.classes) == [0]


def test_pairs_beyond_the_classes_are_refused():
    with pytest.raises(ValueError, match="below num_classes = 2, got 2"):
        joint_cloud(X[:3], torch.arange(3), num_classes=2, kappa=1.0)


def test_a_pair_of_joint_clouds_is_what_any_function_sees():
    pair = Pair(*(joint_cloud(masses(Y), labels, num_classes=2, kappa=1.0) for labels in (Y, 1 - Y)))
    assert float(pair.xy.diagonal().unique()) == pytest.approx(math.sqrt(2))
