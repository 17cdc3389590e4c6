"""What is seen through a map: a row for each sample, whatever mode a network was left in, and nothing else changed."""

import pytest
import torch
from torch import nn

import metrics
from metrics.features import features_of

CHOSEN = [m for m in metrics.standard_measures() if m.rows[0].name in ("energy_distance", "frechet_distance")]


@pytest.fixture
def clouds(gen):
    x, y = torch.randn(2, 40, 3, generator=gen)
    return x, y + 1


def evaluated(x, y, **changes):
    options = {"measures": CHOSEN, "permutations": 0, "splits": 2, "progress": False} | changes
    return metrics.evaluate(x, y, **options)


def test_a_network_in_training_mode_is_seen_as_in_evaluation(clouds):
    """Batch normalisation by each cloud's own statistics would put both means to 0: what the shift of 1 is, is gone."""
    norm = nn.BatchNorm1d(3, affine=False, eps=0.0)  # running mean 0 and variance 1: it changes nothing
    net = nn.Sequential(norm, nn.Dropout(0.5)).train()
    plain, through = evaluated(*clouds), evaluated(*clouds, features=net, features_for="all")
    for name in plain.estimates:
        assert through[name].value == pytest.approx(plain[name].value, rel=1e-6)
    assert torch.equal(features_of(clouds[0], net), clouds[0])
    labels = torch.arange(40) % 2
    report = metrics.evaluate_conditional(
        *clouds, labels=labels, reference_labels=labels, measures=CHOSEN, joint=CHOSEN, features=net,
        features_for="all", permutations=0, splits=2, progress=False,
    )  # fmt: skip
    pairs = [metrics.joint_cloud(x, labels, num_classes=2, kappa=report.kappa) for x in clouds]
    assert report.joint["energy_distance"].value == pytest.approx(
        float(metrics.energy_distance(*pairs)), rel=1e-6
    )
    assert norm.running_mean.abs().max() == 0
    assert net.training
    assert norm.training


@pytest.mark.parametrize(
    ("features", "kind", "told"),
    [
        (lambda x: x[:10], ValueError, r"a row for each of 40 samples, got shape \[10, 3\]; return \[n, k\]"),
        (lambda x: x[:, 0], ValueError, r"a row for each of 40 samples, got shape \[40\]; return \[n, k\]"),
        (lambda x: x / 0, ValueError, r"features\(x\) must be finite, got 120 NaN"),
        (nn.Linear(3, 2).double(), ValueError, "features cannot take samples of torch.float32 .*; convert"),
        (nn.Linear(5, 2), ValueError, r"features cannot take samples of torch.float32 \[40, 3\]"),
        ("inception", TypeError, "features must be a function of samples, got str"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_feature_map_is_refused(clouds, features, kind, told):
    with pytest.raises(kind, match=told):
        evaluated(*clouds, features=features)


def test_a_map_of_batches_gives_a_row_for_each_sample(clouds):
    with pytest.raises(ValueError, match=r"map\(x\) must have a row for each of 8 samples, got shape \[3\]"):
        features_of(clouds[0], lambda x: x.mean(0), batch_size=8)


@pytest.mark.usefixtures("unchecked")
def test_a_floor_is_a_report(clouds):
    report = evaluated(*clouds)
    with pytest.raises(TypeError, match="floor must be a Report, got dict; pass what evaluate returned"):
        evaluated(*clouds, floor=report.to_dict())
    assert evaluated(*clouds, floor=report)["energy_distance"].floor == report["energy_distance"].value


def test_a_function_that_writes_into_its_clouds_changes_nothing_else(clouds):
    x, y = clouds
    before = x.clone()
    mine = metrics.measure("mine", lambda a, b: a.zero_().sum(), better="lower")
    report = evaluated(x, y, measures=[mine, *CHOSEN])
    assert torch.equal(x, before)
    assert report["energy_distance"].value == evaluated(x, y)["energy_distance"].value


def test_refusals_of_classes_name_a_step_that_can_be_taken(clouds):
    labels, options = torch.arange(40) % 5, {"permutations": 0, "splits": 2, "progress": False}
    told = "8 and 8 of class 4; give more of them$"
    with pytest.raises(ValueError, match=told):
        metrics.evaluate_conditional(*clouds, labels=labels, reference_labels=labels, **options)
    labels, still = torch.arange(40) % 2, [torch.zeros(40, 3)] * 2
    with pytest.raises(ValueError, match=r"kappa must be given where .* got 0; pass kappa=1.0"):
        metrics.evaluate_conditional(
            *still, labels=labels, reference_labels=labels, measures=CHOSEN, **options
        )


@pytest.mark.usefixtures("unchecked")
def test_pictures_are_flattened_and_their_shape_told_as_the_refusal_says(gen):
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten())
    pictures = torch.rand(2, 30, 1, 8, 8, generator=gen)
    told = (
        r"flatten every point with x.flatten\(1\), and tell .*LayerFeatures\(module, '1', shape=\(1, 8, 8\)\)"
    )
    with pytest.raises(ValueError, match=told):
        evaluated(*pictures, features=metrics.LayerFeatures(net, "1"))
    layer = metrics.LayerFeatures(net, "1", shape=(1, 8, 8))
    found = evaluated(*pictures.flatten(2), features=layer)["frechet_distance"].value
    x, y = (net[:2](each).flatten(1).detach() for each in pictures)
    assert found == pytest.approx(float(metrics.frechet_distance(x, y)), rel=1e-5)
