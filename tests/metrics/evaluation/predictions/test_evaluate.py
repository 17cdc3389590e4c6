import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from torch.distributions import Independent, MultivariateNormal, Normal, StudentT

import metrics
from metrics import evaluate_predictions
from metrics.estimate import with_error
from tests.metrics.evaluation.predictions.problems import classes, line, pair


def test_rows_of_classes_are_the_plain_functions():
    probs, labels = classes()
    found = evaluate_predictions(probs, labels).reports["predictions"]
    mean = probs.mean(0)
    terms = metrics.brier_decomposition(mean, labels)
    expected = {
        "nll": metrics.categorical_nll(mean, labels),
        "brier": metrics.brier_score(mean, labels),
        "brier_reliability": terms.reliability,
        "brier_resolution": terms.resolution,
        "brier_uncertainty": terms.uncertainty,
        "calibration_error": metrics.calibration_error(mean, labels),
        "classwise_calibration_error": metrics.classwise_calibration_error(mean, labels).mean(),
        "smooth_calibration_error": metrics.smooth_calibration_error(mean, labels),
        "aurc": metrics.risk_coverage(mean, labels).area,
        "predictive_entropy": metrics.predictive_entropy(probs).mean(),
        "mutual_information": metrics.mutual_information(probs).mean(),
    }
    for row, value in expected.items():
        assert found[row].value == pytest.approx(float(value), abs=1e-12), row
    assert found["error_auroc"].value == pytest.approx(metrics.error_detection_auroc(mean, labels).value)
    assert found["error_auroc"].stderr == pytest.approx(metrics.error_detection_auroc(mean, labels).stderr)
    assert found["aurc"].stderr == pytest.approx(float(metrics.risk_coverage(mean, labels).stderr))
    # Peers.
    assert found["nll"].value == pytest.approx(log_loss(labels, mean))
    assert found["accuracy"].value == pytest.approx(accuracy_score(labels, mean.argmax(1)))
    nll = metrics.categorical_nll(mean, labels, per_point=True)
    assert found["nll"].stderr == pytest.approx(float(nll.std() / 600**0.5))


def test_calibration_agrees_with_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    probs, labels = classes()
    found = evaluate_predictions(probs, labels).reports["predictions"]["calibration_error"]
    peer = torchmetrics.multiclass_calibration_error(
        probs.mean(0), labels, num_classes=4, n_bins=15, norm="l1"
    )
    assert found.value == pytest.approx(float(peer), abs=1e-6)


def test_floors_are_those_of_a_calibrated_model():
    probs, labels = classes()
    found = evaluate_predictions(probs, labels).reports["predictions"]
    draws = metrics.calibration_floor(probs.mean(0))
    own = found["calibration_error"]
    assert own.floor == pytest.approx(float(draws.mean()), abs=4 * float(draws.std()) / 10)
    assert own.floor_stderr == pytest.approx(float(draws.std()), rel=0.35)
    # A model that is calibrated shows its floors, within their scatter.
    good = probs.mean(0)
    label = torch.multinomial(good, 1, generator=torch.Generator().manual_seed(5))[:, 0]
    report = evaluate_predictions(good[None], label).reports["predictions"]
    for row in ("calibration_error", "classwise_calibration_error", "smooth_calibration_error"):
        assert abs(report[row].value - report[row].floor) < 3.5 * report[row].floor_stderr, row


def test_differences_are_paired():
    models, labels = pair()
    found = evaluate_predictions(models, labels)
    a, b = (
        metrics.categorical_nll(models[name].mean(0), labels, per_point=True) for name in ("good", "sure")
    )
    told = found.differences["sure"]["nll"]
    assert told.value == pytest.approx(float((b - a).mean()))
    assert told.stderr == pytest.approx(float((b - a).std() / 600**0.5))
    swapped = evaluate_predictions(models, labels, baseline="sure")
    assert swapped.differences["good"]["aurc"].value == pytest.approx(
        -found.differences["sure"]["aurc"].value
    )
    assert swapped.baseline == "sure"
    assert "minus sure, paired" in swapped.to_markdown()


def test_a_table_has_a_line_for_each_model_with_values_or_paired_differences():
    """Cells are a number with its error; a difference is bold where its interval leaves out 0."""
    models, labels = pair()
    found = evaluate_predictions(models, labels)
    head, _, good, sure, *_ = found.table("nll", "brier").splitlines()
    assert head == "| model | nll | brier |"
    for line_, name in ((good, "good"), (sure, "sure")):
        nll = found.reports[name]["nll"]
        assert line_.startswith(f"| {name} | {with_error(nll.value, nll.stderr)}")
    differences = found.table("nll", paired=True).splitlines()
    assert differences[0] == "| minus good | nll |"
    assert [each.split(" | ")[0] for each in differences[2:3]] == ["| sure"]
    e = found.differences["sure"]["nll"]
    assert e.interval()[0] > 0
    assert differences[2] == f"| sure | **{with_error(e.value, e.stderr)}** |"
    assert found.table().splitlines()[0].count("|") == len(found.measures()) + 2
    with pytest.raises(ValueError, match="paired differences need two models, got one"):
        evaluate_predictions(models["good"], labels).table("nll", paired=True)


def test_equal_models_do_not_differ():
    probs, labels = classes()
    told = evaluate_predictions({"a": probs, "b": probs.clone()}, labels).differences["b"]
    for row, e in told.items():
        assert e.value == 0, row
        # A share that agrees at every point still may differ at the next.
        assert (e.stderr > 0) == (row == "accuracy"), row


def test_outside_and_reference():
    models, labels = pair()
    random = torch.Generator().manual_seed(1)
    away = {
        name: torch.randn(20, 200, 4, generator=random, dtype=torch.float64).softmax(-1) for name in models
    }
    found = evaluate_predictions(models, labels, reference="good", chains=2, outside={"noise": away})
    report = found.reports["sure"]
    inside, outside = metrics.predictive_entropy(models["sure"]), metrics.predictive_entropy(away["sure"])
    peer = metrics.out_of_distribution_auroc(inside=inside, outside=outside)
    assert report["auroc, noise"].value == pytest.approx(peer.value)
    assert report["auroc, noise"].stderr == pytest.approx(peer.stderr)
    truth = np.r_[np.zeros(600), np.ones(200)]
    assert peer.value == pytest.approx(roc_auc_score(truth, torch.cat([inside, outside]).numpy()))
    fpr = metrics.false_positive_rate(inside=inside, outside=outside)
    assert report["fpr95, noise"].value == pytest.approx(float(fpr))
    good, sure = (models[name].mean(0) for name in ("good", "sure"))
    assert report["agreement"].value == pytest.approx(float(metrics.agreement(sure, good)))
    assert report["total_variation"].value == pytest.approx(float(metrics.total_variation(sure, good)))
    first, second = models["good"][:10].mean(0), models["good"][10:].mean(0)
    assert report["total_variation"].floor == pytest.approx(float(metrics.total_variation(first, second)))
    assert math.isnan(found.reports["good"]["agreement"].value)
    assert found.best("agreement") == "sure"
    assert json.loads(found.to_json())["reports"]["good"]["metrics"]["agreement"]["value"] is None


def test_agreement_and_variation_of_the_competition():
    # Their definitions (Wilson et al. 2022, section 3): the share of equal arg max, and ½ Σ|p − q|, means over inputs.
    probs = torch.tensor([[[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]]])
    reference = torch.tensor([[[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]]])
    report = evaluate_predictions(probs, torch.tensor([0, 1]), reference=reference).reports["predictions"]
    assert report["agreement"].value == 0.5
    assert report["total_variation"].value == pytest.approx(0.1)


def test_weights_count_as_copies():
    models, labels = pair(n=200)
    random = torch.Generator().manual_seed(0)
    copies = torch.randint(1, 4, (200,), generator=random)
    weighted = evaluate_predictions(models, labels, weights=copies.double())
    many = torch.repeat_interleave(torch.arange(200), copies)
    repeated = evaluate_predictions({k: v[:, many] for k, v in models.items()}, labels[many])
    for row in weighted.measures():
        # A copy is withheld by itself and a weight as a whole: the area differs by an order of 1/n.
        tolerance = 1 / 200 if row == "aurc" else 2e-6
        assert weighted.reports["sure"][row].value == pytest.approx(
            repeated.reports["sure"][row].value, abs=tolerance
        ), row


def test_ignored_points_and_groups():
    models, labels = pair(n=300)
    marked = labels.clone()
    marked[::3] = -100
    keep = marked != -100
    one = evaluate_predictions(models, marked, ignore_index=-100)
    other = evaluate_predictions({k: v[:, keep] for k, v in models.items()}, labels[keep])
    assert one.to_dict() == other.to_dict()
    found = evaluate_predictions(models, labels, groups=["east" if k % 2 else "west" for k in range(300)])
    east = evaluate_predictions({k: v[:, 1::2] for k, v in models.items()}, labels[1::2])
    assert found.groups["east"].to_dict() == east.to_dict()
    assert found.by_group("nll").splitlines()[2].startswith("| east |")
    assert "| 150 |" in found.by_group("nll")
    assert found.to_dict()["groups"] == {label: part.to_dict() for label, part in found.groups.items()}
    with pytest.raises(ValueError, match="row must be one of"):
        found.by_group("nil")
    with pytest.raises(ValueError, match="groups must be given for a table of groups"):
        one.by_group("nll")


def test_binary_multilabel_and_ordinal():
    random = torch.Generator().manual_seed(0)
    p = torch.rand(10, 200, generator=random, dtype=torch.float64)
    y = torch.rand(200, generator=random) < p.mean(0)
    one, two = evaluate_predictions(p, y), evaluate_predictions(torch.stack([1 - p, p], -1), y.long())
    assert one.to_dict() == two.to_dict()
    brier = brier_score_loss(y.numpy(), p.mean(0).numpy())
    assert one.reports["predictions"]["brier"].value == pytest.approx(2 * brier)

    q = torch.rand(10, 200, 3, generator=random, dtype=torch.float64)
    labels = torch.rand(200, 3, generator=random, dtype=torch.float64) < q.mean(0)
    report = evaluate_predictions(q, labels).reports["predictions"]
    mean = q.mean(0)
    nll = torch.nn.functional.binary_cross_entropy(mean, labels.double())
    assert report["nll"].value == pytest.approx(float(nll))
    assert report["accuracy"].value == pytest.approx(float(((mean > 0.5) == labels).double().mean()))
    assert report["exact_match"].value == pytest.approx(accuracy_score(labels.numpy(), (mean > 0.5).numpy()))
    errors = [
        metrics.classwise_calibration_error(torch.stack([1 - c, c], 1), y.long())[1]
        for c, y in zip(mean.unbind(1), labels.unbind(1), strict=True)
    ]
    assert report["labelwise_calibration_error"].value == pytest.approx(float(torch.stack(errors).mean()))


def test_labels_of_their_own_against_a_reference_and_beside_strangers():
    """Agreement is in all labels of a point at once; the total variation and the entropy are means over labels."""
    random = torch.Generator().manual_seed(0)
    p, r, far = (torch.rand(5, 100, 3, generator=random, dtype=torch.float64) for _ in range(3))
    y = torch.rand(100, 3, generator=random, dtype=torch.float64) < p.mean(0)
    report = evaluate_predictions(p, y, reference=r, outside={"far": far}).reports["predictions"]
    one, other = p.mean(0), r.mean(0)
    same = ((one > 0.5) == (other > 0.5)).all(1).double().mean()
    assert report["agreement"].value == pytest.approx(float(same))
    assert report["total_variation"].value == pytest.approx(float((one - other).abs().mean()))
    inside, outside = (torch.distributions.Bernoulli(q.mean(0)).entropy().mean(1).numpy() for q in (p, far))
    truth = np.r_[np.zeros(100), np.ones(100)]
    auroc = roc_auc_score(truth, np.r_[inside, outside])
    assert report["auroc, far"].value == pytest.approx(auroc)
    with pytest.raises(ValueError, match=r"must have y's 2 labels, got 3"):
        evaluate_predictions(p, y[:, :2])
    with pytest.raises(ValueError, match="must have the same labels, got 3 and 2"):
        evaluate_predictions(p, y, reference=r[:, :, :2])
    with pytest.raises(ValueError, match="y must hold 0 and 1 for every label, got 0 to 2"):
        evaluate_predictions(p, y.long() * 2)

    probs, grades = classes()
    ordered = evaluate_predictions(probs, grades, ordinal=True).reports["predictions"]
    assert ordered["rps"].value == pytest.approx(
        float(metrics.ranked_probability_score(probs.mean(0), grades))
    )


def test_one_gaussian_per_point():
    x, _, y = line()
    mean, std = torch.sin(2 * x), torch.full_like(x, 0.4)
    report = evaluate_predictions((mean, std), y).reports["predictions"]
    assert report["nll"].value == pytest.approx(float(metrics.gaussian_nll(mean, std, y)))
    assert report["crps"].value == pytest.approx(float(metrics.crps_gaussian(mean, std, y)))
    assert report["rmse"].value == pytest.approx(float((mean - y).square().mean().sqrt()))
    z = torch.special.ndtri(torch.tensor(0.95, dtype=torch.float64))
    assert report["width"].value == pytest.approx(float(2 * z * 0.4), rel=5e-3)
    inside = ((y - mean).abs() <= z * 0.4).double().mean()
    assert report["coverage"].value == pytest.approx(float(inside), abs=0.01)
    pit = torch.special.ndtr((y - mean) / std)
    assert report["quantile_calibration_error"].value == pytest.approx(
        float(metrics.quantile_calibration_error(pit)), abs=1e-12
    )


def test_the_same_mixture_told_three_ways():
    from bayessgd.likelihoods import Gaussian

    _, f, y = line()
    as_normal = evaluate_predictions(Normal(f, 0.3), y)
    as_outputs = evaluate_predictions(f[..., None], y[:, None], likelihood=Gaussian(0.3))
    for row in as_normal.measures():
        one, two = (c.reports["predictions"][row] for c in (as_normal, as_outputs))
        assert one.value == pytest.approx(two.value, abs=1e-12), row
    draws = f.repeat(200, 1) + 0.3 * torch.randn(
        6000, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    sampled = evaluate_predictions(draws, y).reports["predictions"]
    for row in ("crps", "rmse", "width", "interval_score"):
        assert sampled[row].value == pytest.approx(as_normal.reports["predictions"][row].value, rel=0.02), row
    density = Normal(f, 0.3).log_prob(y).exp().mean(0).log()
    assert as_normal.reports["predictions"]["nll"].value == pytest.approx(float(-density.mean()))


def test_crps_of_a_mixture_is_that_of_the_closed_form():
    # Grimit et al. (2006): Σ A(y − μ_i, σ) / S − ½ Σ A(μ_i − μ_j, √2 σ) / S².
    _, f, y = line(n=50)

    def a(mean, std):
        unit = Normal(torch.zeros((), dtype=torch.float64), 1.0)
        return 2 * std * unit.log_prob(mean / std).exp() + mean * (2 * unit.cdf(mean / std) - 1)

    exact = a(y - f, 0.3).mean(0) - 0.5 * a(f[:, None] - f[None], 0.3 * 2**0.5).mean((0, 1))
    found = evaluate_predictions(Normal(f, 0.3), y).reports["predictions"]["crps"]
    assert found.value == pytest.approx(float(exact.mean()), rel=2e-3)


def test_several_outputs():
    random = torch.Generator().manual_seed(0)
    f = torch.randn(15, 80, 2, generator=random, dtype=torch.float64)
    y = torch.randn(80, 2, generator=random, dtype=torch.float64)
    report = evaluate_predictions(Independent(Normal(f, 0.5), 1), y).reports["predictions"]
    density = Normal(f, 0.5).log_prob(y).sum(-1).exp().mean(0).log()
    assert report["nll"].value == pytest.approx(float(-density.mean()))
    draws = f + 0.5 * torch.randn(15, 80, 2, generator=random, dtype=torch.float64)
    sampled = evaluate_predictions(draws, y).reports["predictions"]
    assert sampled["energy_score"].value == pytest.approx(float(metrics.energy_score(draws, y, fair=True)))
    joint = MultivariateNormal(f.mean(0), torch.eye(2, dtype=torch.float64))
    told = evaluate_predictions(joint, y).reports["predictions"]
    assert told["nll"].value == pytest.approx(float(-joint.log_prob(y).mean()))


def test_distributions_without_quantiles_are_drawn():
    _, f, y = line()
    found = evaluate_predictions(StudentT(5.0, f.mean(0), 0.3), y).reports["predictions"]
    assert found["nll"].value == pytest.approx(float(-StudentT(5.0, f.mean(0), 0.3).log_prob(y).mean()))
    state = torch.random.get_rng_state()
    evaluate_predictions(StudentT(5.0, f.mean(0), 0.3), y)
    assert torch.equal(state, torch.random.get_rng_state())


def test_distances_of_regressions_to_the_reference():
    x, _, y = line()
    mean = torch.sin(2 * x)
    shift, std = 0.2, torch.full_like(x, 0.3)
    models = {"truth": (mean, std), "shifted": (mean + shift, std)}
    report = evaluate_predictions(models, y, reference="truth").reports["shifted"]
    assert report["w1"].value == pytest.approx(shift, rel=1e-6)
    # Two normals δ apart: TV = 2Φ(δ/2σ) − 1.
    exact = 2 * torch.special.ndtr(torch.tensor(shift / 0.6, dtype=torch.float64)) - 1
    assert report["total_variation"].value == pytest.approx(float(exact), abs=1e-3)
    one, two = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    peer = [
        float(metrics.wasserstein(a[:, None], b[:, None], p=1)) for a, b in zip(one.T, two[:4].T, strict=True)
    ]
    found = evaluate_predictions({"m": two[:4]}, y[:5], reference=one)
    assert found.reports["m"]["w1"].value == pytest.approx(sum(peer) / 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("trials", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_errors_are_the_scatter_over_test_sets(trials):
    # Every row of two models and of their difference: mean error told against the deviation over fresh sets.
    values, told = {}, {}
    for seed in range(trials):
        models, labels = pair(n=300, seed=seed)
        found = evaluate_predictions(models, labels)
        for row in found.measures():
            for kind, e in (("value", found.reports["sure"][row]), ("gap", found.differences["sure"][row])):
                values.setdefault((kind, row), []).append(e.value)
                told.setdefault((kind, row), []).append(e.stderr)
    # A deviation over so many sets is known to 1/√(2·trials − 2): 15 and 5 %. A factor of two shows.
    bound = math.exp(4 / math.sqrt(2 * trials - 2))
    for key, v in values.items():
        if key[1] == "brier_uncertainty" and key[0] == "gap":
            continue
        ratio = float(np.mean(told[key]) / np.std(v, ddof=1))
        assert 1 / bound < ratio < bound, (key, ratio)


def test_the_order_of_points_changes_nothing():
    models, labels = pair()
    order = torch.randperm(600, generator=torch.Generator().manual_seed(3))
    one = evaluate_predictions(models, labels)
    two = evaluate_predictions({k: v[:, order] for k, v in models.items()}, labels[order])
    for row in one.measures():
        assert one.reports["sure"][row].value == pytest.approx(two.reports["sure"][row].value, abs=1e-12)
        assert one.differences["sure"][row].stderr == pytest.approx(
            two.differences["sure"][row].stderr, rel=1e-9, abs=1e-14
        )


def test_arrays_and_single_precision():
    probs, labels = classes()
    exact = evaluate_predictions(probs, labels).reports["predictions"]
    array = evaluate_predictions(probs.float().numpy(), labels.numpy()).reports["predictions"]
    for row in ("nll", "brier", "aurc", "mutual_information"):
        assert array[row].value == pytest.approx(exact[row].value, abs=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert evaluate_predictions(probs, labels).reports["predictions"]["nll"] == exact["nll"]


def test_undefined_and_infinite_rows_are_told():
    probs = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [0.2, 0.8]]])
    found = evaluate_predictions({"m": probs}, torch.tensor([0, 0, 1]))
    assert math.isnan(found.reports["m"]["error_auroc"].value)
    assert "| error_auroc | — |" in found.to_markdown()
    assert "—: undefined" in found.to_markdown()
    wrong = evaluate_predictions({"m": probs}, torch.tensor([1, 0, 1]))
    assert wrong.reports["m"]["nll"].value == math.inf


REFUSED = [
    (lambda p, y: (p.log(), y), r"softmax\(-1\)", lambda p, y: (p.log().softmax(-1), y)),
    (
        lambda p, y: (p * 1.01, y),
        "renormalise",
        lambda p, y: (p * 1.01 / (p * 1.01).sum(-1, keepdim=True), y),
    ),
    (lambda p, y: (p, y + 1), "count classes from 0", lambda p, y: (p, y + 1 - 1)),
    (lambda p, y: (p[0], y), r"predictions\[None\]", lambda p, y: (p[0][None], y)),
    (lambda p, y: (p.transpose(0, 1), y), "pass it transposed", lambda p, y: (p, y)),
    (lambda p, y: (p, y[:-1]), "predict the same inputs", lambda p, y: (p[:, :-1], y[:-1])),
    (lambda p, y: (p, y.int()), r"y.long\(\)", lambda p, y: (p, y.int().long())),
    (lambda p, y: (p, y.double()), r"y.long\(\)", lambda p, y: (p, y.double().long())),
    (
        lambda p, y: (p.where(p > 0.01, torch.nan), y),
        "NaN or infinite",
        lambda p, y: (
            p.where(p > 0.01, torch.nan).nan_to_num(0.0) / p.where(p > 0.01, 0.0).sum(-1, keepdim=True),
            y,
        ),
    ),
]


@pytest.mark.parametrize(("broken", "match", "mended"), REFUSED)
def test_what_is_no_prediction_is_refused_with_the_remedy(broken, match, mended):
    probs, labels = classes(n=50, samples=7)
    labels[0], labels[1] = 0, 3
    with pytest.raises((TypeError, ValueError), match=match):
        evaluate_predictions(*broken(probs, labels))
    evaluate_predictions(*mended(probs, labels))


def test_other_refusals():
    models, labels = pair(n=50)
    with pytest.raises(ValueError, match="baseline must name one of"):
        evaluate_predictions(models, labels, baseline="best")
    with pytest.raises(ValueError, match="reference must name one of"):
        evaluate_predictions(models, labels, reference="NUTS")
    with pytest.raises(ValueError, match="must hold a prediction of every model"):
        evaluate_predictions(models, labels, outside={"far": models["good"]})
    with pytest.raises(ValueError, match="3 chains of one length"):
        evaluate_predictions(models, labels, reference="good", chains=3)
    with pytest.raises(ValueError, match="weights must have one number"):
        evaluate_predictions(models, labels, weights=-torch.ones(50))
    with pytest.raises(ValueError, match="groups must have one label per point"):
        evaluate_predictions(models, labels, groups=[1, 2])
    with pytest.raises(ValueError, match="at least one model"):
        evaluate_predictions({}, labels)
    with pytest.raises(ValueError, match="0 and 1 for every label"):
        evaluate_predictions(models["good"], torch.full((50, 4), 2))
    with pytest.raises(ValueError, match=r"sigmoid\(\)"):
        evaluate_predictions(4 * models["good"], torch.ones(50, 4, dtype=torch.int64))
    _, f, y = line(n=50)
    with pytest.raises(ValueError, match=r"pass predictions.transpose\(0, 1\)"):
        evaluate_predictions(f.T, y)
    with pytest.raises(ValueError, match="not logs or variances"):
        evaluate_predictions((f[0], -f[0].abs()), y)
    with pytest.raises(ValueError, match="outside must be None for regressions"):
        evaluate_predictions(f, y, outside={"far": f})
    with pytest.raises(ValueError, match="give y the shape of the network's output"):
        evaluate_predictions(f[..., None], y, likelihood=lambda o: Independent(Normal(o, 0.3), 1))
    with pytest.raises(ValueError, match="this picture is of classes"):
        evaluate_predictions(f, y).reliability()
    with pytest.raises(ValueError, match="rows must be among"):
        evaluate_predictions(f, y).table("nll")


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_absolute_error_is_that_of_the_median_as_numpy_has_it(count):
    draws = torch.randn(count, 50, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    found = evaluate_predictions(draws, torch.zeros(50, dtype=torch.float64)).reports["predictions"]["mae"]
    assert found.value == pytest.approx(np.abs(np.median(draws.numpy(), 0)).mean())
