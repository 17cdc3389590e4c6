"""Errors and floors: the jackknife against brute-force replication, the floor against its own sizes, the refusals."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

import metrics
from metrics.evaluation.jackknife import degrees_of_freedom
from metrics.evaluation.measures import Measure, ReportRow, memorisation_measure, mode_measure
from metrics.evaluation.pair import some_rows
from metrics.evaluation.standard import standard_measures
from metrics.kernels.kernel import Gaussian, median_heuristic

QUICK = {"splits": 3, "permutations": 9}


def clouds(seed, n=120, m=100, d=2, shift=0.7):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=random)
    return x + shift, torch.randn(m, d, dtype=torch.float64, generator=random)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("sizes", "trials"),
    [
        ((60, 120), 30),
        pytest.param((80, 80), 60, marks=pytest.mark.slow),
        pytest.param((60, 120), 60, marks=pytest.mark.slow),
    ],
)
def test_standard_errors_agree_with_fresh_samples(sizes, trials):
    """The errors against the spread over 60 (30) fresh pairs of clouds, for every standard number.

    The spread has a relative error of 1/√(2·59) = 9 %, the root mean square of 60 errors from 3 splits 1/√(2·180) =
    5 %. Beyond that the errors may be some percent too large: clouds this small do not quite spread as large ones do.
    """
    measures = standard_measures(projections=32)
    values, errors = [], []
    for seed in range(trials):
        report = metrics.evaluate(*clouds(seed, *sizes), measures=measures, **QUICK)
        values.append([e.value for e in report.estimates.values()])
        errors.append([e.stderr for e in report.estimates.values()])
    spread = torch.tensor(values).std(0)
    told = torch.tensor(errors).square().mean(0).sqrt()
    ratio = dict(zip(report.estimates, (told / spread).tolist(), strict=True))
    noise = 4 * math.hypot(1 / math.sqrt(2 * trials), 1 / math.sqrt(6 * trials))
    assert all(math.exp(-noise) < r < 1.15 + noise for r in ratio.values()), ratio


def test_the_floor_has_the_sizes_of_the_samples_and_is_measured_on_training_points():
    x, y = clouds(0, n=60, m=80)
    train = torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    seen = []

    def record(pair):
        seen.append((len(pair.x), len(pair.y)))
        return pair.x.mean()[None]

    measure = Measure((ReportRow("mean", "lower", "mean of x"),), record)
    estimate = metrics.evaluate(x, y, measures=[measure], train=train)["mean"]
    halves = (30, 40)
    assert seen == ([halves] * 80 + [(60, 80)]) * 2  # the floor's and the value's own
    assert estimate.sizes == (60, 80)
    assert estimate.floor != estimate.value
    assert abs(estimate.floor) < 4 / math.sqrt(60 * 2)
    assert abs(estimate.value - 0.7) < 4 / math.sqrt(60 * 2)


def test_a_floor_that_was_measured_before_is_the_same_floor():
    x, y = clouds(0)
    truth = torch.cat([y.flip(0) + 0.01, y[:20] - 0.01])
    measured = metrics.evaluate(truth, y, **QUICK)
    report = metrics.evaluate(x, y, floor=measured, **QUICK)
    assert report["wasserstein"].floor == measured["wasserstein"].value
    assert report["wasserstein"].floor_stderr == measured["wasserstein"].stderr
    assert report["wasserstein"].value == metrics.evaluate(x, y, **QUICK)["wasserstein"].value


def test_a_perfect_model_scores_the_floor():
    random = torch.Generator().manual_seed(3)
    truth = torch.randn(600, 3, generator=random)
    report = metrics.evaluate(truth[:200], truth[200:400], train=truth[400:])
    for name, e in report.estimates.items():
        assert abs(e.value - e.floor) < 5 * math.hypot(e.stderr, e.floor_stderr) + 1e-9, name


def test_the_same_call_gives_the_same_numbers_and_leaves_the_global_seed_alone():
    x, y = clouds(1)
    state = torch.get_rng_state()
    first, again = (metrics.evaluate(x, y, train=y.repeat(2, 1) + 0.1, **QUICK).to_dict() for _ in range(2))
    assert first == again
    assert torch.equal(state, torch.get_rng_state())


def test_features_change_the_frechet_distance_alone_and_are_named():
    x, y = clouds(2)

    def doubled(cloud):
        return 2 * cloud

    plain, seen = metrics.evaluate(x, y, **QUICK), metrics.evaluate(x, y, features=doubled, **QUICK)
    assert seen["frechet_distance"].value == pytest.approx(4 * plain["frechet_distance"].value)
    assert seen["wasserstein"] == plain["wasserstein"]
    assert seen.features == "doubled"
    with pytest.raises(ValueError, match="same features"):
        metrics.Comparison({"a": plain, "b": seen})


def test_tests_are_made_of_the_samples_alone_and_only_where_asked():
    x, y = clouds(2, shift=1.5)
    report = metrics.evaluate(x, y, train=y.repeat(2, 1) + 0.01, splits=3)
    tested = {name for name, e in report.estimates.items() if e.p_value is not None}
    assert tested == {"mmd2", "energy_distance", "frechet_distance", "nn_accuracy"}
    assert {report[name].p_value for name in tested} == {1 / 200}
    without = metrics.evaluate(x, y, splits=3, permutations=0)
    assert all(e.p_value is None for e in without.estimates.values())
    assert without["recall"].stderr == metrics.evaluate(x, y, **QUICK)["recall"].stderr


def test_errors_with_a_formula_have_no_degrees_of_freedom_to_lose():
    x, y = clouds(2)
    report = metrics.evaluate(x, y, splits=7, permutations=0)
    resampled = {name for name, e in report.estimates.items() if e.dof == degrees_of_freedom(7)}
    neighbours = {"precision", "recall", "density", "coverage", "nn_accuracy"}
    assert resampled == neighbours
    assert all(e.dof == math.inf for name, e in report.estimates.items() if name not in resampled)


def test_a_share_of_which_all_halves_agree_is_not_certain():
    """Far apart all is 0 or 1: the error is Agresti and Coull's of as many independent points, not 0."""
    x, y = clouds(2, n=60, m=80, shift=50.0)
    report = metrics.evaluate(x, y, permutations=0)
    share = 2 / 64
    assert report["precision"].value == 0
    assert report["precision"].stderr == pytest.approx(math.sqrt(share * (1 - share) / 64))
    assert report["precision"].interval()[0] == 0
    assert report["nn_accuracy"].value == 1
    assert report["nn_accuracy"].stderr == pytest.approx(report["precision"].stderr)
    assert report["density"].stderr == 0  # a mean count: no share


def test_no_matrix_of_all_pairs_is_kept(monkeypatch):
    """But one for exact transport, on at most 3000 points."""
    calls = []

    def counted(a, b):
        calls.append((len(a), len(b)))
        return torch.cdist(a, b)

    for where in ("pair.distances", "standard.product_distances"):
        monkeypatch.setattr(f"metrics.evaluation.{where}", counted)
    metrics.evaluate(*clouds(2), **QUICK)
    assert calls == [(120, 100)]


def test_what_grows_fast_is_measured_on_a_random_subset_and_says_so():
    x, y = clouds(2)
    few = [replace(m, most=40) if m.rows[0].name == "wasserstein" else m for m in standard_measures()]
    report = metrics.evaluate(x, y, measures=few, train=y.repeat(2, 1) + 0.1, **QUICK)
    e = report["wasserstein"]
    assert (e.sizes, report["mmd2"].sizes) == ((40, 40), (120, 100))
    assert e.convention == "exact W_2; random subsets of 40 and 40 points"
    assert e.floor is not None
    assert e.value == float(metrics.wasserstein(some_rows(x, 40, 0), some_rows(y, 40, 1)))
    assert "wasserstein: on random subsets, 40 of 120 and 40 of 100 points" in report.to_markdown()
    assert report.to_dict()["notes"] == list(report.notes)
    own = metrics.measure("points", lambda a, b: float(len(a) + len(b)), better="lower", most=30)
    assert metrics.evaluate(x, y, measures=[own], **QUICK)["points"].value == 60


def test_memory_bounds_exact_transport_and_refuses_matrices_that_do_not_fit():
    x, y = clouds(2, n=400, m=300)
    report = metrics.evaluate(x, y, measures=standard_measures()[:1], memory=64 * 200**2, **QUICK)
    assert 150 < report["wasserstein"].sizes[0] <= 200
    own = Measure((ReportRow("mean", "lower", "mean distance"),), lambda pair: pair.xy.mean()[None])
    needed = 8 * 400**2
    kept = metrics.evaluate(x, y, measures=[own], memory=needed, **QUICK)
    assert kept["mean"].value == pytest.approx(float(torch.cdist(x, y).mean()))
    with pytest.raises(
        ValueError, match=r"1,280,000 bytes for 400 and 300 points, got 1,279,999; raise memory="
    ):
        metrics.evaluate(x, y, measures=[own], memory=needed - 1, **QUICK)
    # Obeying the message's other remedy.
    small = metrics.evaluate(x, y, measures=[replace(own, most=200)], memory=needed - 1, **QUICK)
    assert small["mean"].sizes == (200, 200)


def test_a_budget_leaves_out_what_would_not_fit_and_says_so():
    x, y = clouds(2)
    slow = replace(metrics.measure("slow", lambda a, b: 0.0, better="lower"), seconds=lambda work: 1e6)
    quick = metrics.measure("quick", lambda a, b: 1.0, better="lower")
    report = metrics.evaluate(x, y, measures=[slow, quick], budget=100, train=y.repeat(2, 1), **QUICK)
    assert list(report.estimates) == ["quick"]
    assert report["quick"].floor == 1
    assert "the budget of 100 s has 1e+02 s left" in report.left_out["slow"]
    assert "Left out: slow would take about" in report.to_markdown()
    assert report.to_dict()["left_out"] == report.left_out
    with pytest.raises(ValueError, match=r"budget must be enough for one measure.*got 1; raise it"):
        metrics.evaluate(x, y, measures=[slow], budget=1, **QUICK)
    without = metrics.evaluate(x, y, measures=[slow, quick], **QUICK)
    assert not without.left_out


def test_a_budget_that_is_spent_ends_the_call(monkeypatch):
    answers = iter([False, True, True])
    monkeypatch.setattr("metrics.evaluation.measuring.Spent.over", lambda spent: next(answers))
    measures = [metrics.measure(name, lambda a, b: 1.0, better="lower") for name in "abcd"]
    report = metrics.evaluate(*clouds(2), measures=measures, budget=2, **QUICK)
    assert list(report.estimates) == ["a", "b"]
    assert report.left_out == dict.fromkeys("cd", "the budget of 2 s was spent")


@pytest.mark.parametrize("name", ["memory", "budget"])
def test_refusals_of_bounds(name):
    with pytest.raises(ValueError, match=f"{name} must be finite and above 0"):
        metrics.evaluate(*clouds(2), **{name: 0})


def test_the_bar_names_the_measure_at_work(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(tqdm, "set_description", lambda bar, told: seen.append(told))
    metrics.evaluate(*clouds(2), measures={"gap": lambda a, b: (a.mean() - b.mean()).abs()}, **QUICK)
    assert seen == ["evaluate, about 0.0 s and 0.0 GB: gap"]
    assert capsys.readouterr().err == ""  # no terminal


def test_plain_functions_can_be_measures():
    x, y = clouds(3)
    report = metrics.evaluate(x, y, measures={"gap": lambda a, b: (a.mean() - b.mean()).abs()})
    assert report["gap"].value == pytest.approx(float((x.mean() - y.mean()).abs()))


def test_a_function_may_give_any_number_and_say_which_is_better():
    x, y = clouds(3)
    gap = float((x.mean() - y.mean()).abs())
    kinds = {"float": float, "numpy": np.float32, "one entry": lambda v: torch.tensor([v])}
    measures = [
        metrics.measure(name, lambda a, b, kind=kind: kind((a.mean() - b.mean()).abs().item()), better=0.7)
        for name, kind in kinds.items()
    ]
    report = metrics.evaluate(x, y, measures=measures, **QUICK)
    assert [e.value for e in report.estimates.values()] == pytest.approx([gap] * 3)
    assert report["float"].better == 0.7


@pytest.mark.parametrize("better", ["big", None, torch.nan])
def test_refusals_of_what_is_better(better):
    with pytest.raises(ValueError, match="better must be"):
        metrics.measure("gap", max, better=better)


def test_all_measures_but_those_of_places_may_look_through_the_features():
    x, y = clouds(2)
    centres = torch.zeros(1, 2, dtype=torch.float64)

    def third(cloud):
        return torch.cat([3 * cloud, torch.zeros_like(cloud[:, :1])], 1)

    measures = [*standard_measures(), mode_measure(centres, 1.0)]
    plain = metrics.evaluate(x, y, measures=measures, **QUICK)
    seen = metrics.evaluate(x, y, measures=measures, features=third, features_for="all", **QUICK)
    for name in ("wasserstein", "energy_distance"):
        factor = 3 if name == "wasserstein" else 3**0.5
        assert seen[name].value == pytest.approx(factor * plain[name].value)
    assert seen["frechet_distance"].value == pytest.approx(9 * plain["frechet_distance"].value)
    assert seen["modes"].value == plain["modes"].value
    assert plain.on_features == ()
    assert set(plain.estimates) - set(seen.on_features) == {"modes", "high_quality", "reverse_kl"}
    assert "Through the features (third): wasserstein, sinkhorn" in seen.to_markdown()
    alone = metrics.evaluate(x, y, measures=measures, features=third, **QUICK)
    assert alone.on_features == ("frechet_distance",)
    assert alone.to_dict()["on_features"] == ["frechet_distance"]
    with pytest.raises(ValueError, match="same measures through the features"):
        metrics.Comparison({"a": seen, "b": alone})


def test_a_floor_of_other_sizes_is_refused_and_other_sizes_are_not_ranked():
    x, y = clouds(0, n=120, m=100)
    floor = metrics.evaluate(*clouds(1, n=120, m=100), **QUICK)
    large, small = metrics.evaluate(x, y, floor=floor, **QUICK), metrics.evaluate(x[:60], y, **QUICK)
    with pytest.raises(
        ValueError, match=r"same sizes, 60 samples and 100 .* got 120 and 100; evaluate 60 true"
    ):
        metrics.evaluate(x[:60], y, floor=floor, **QUICK)
    comparison = metrics.Comparison({"n = 120": large, "n = 60": small})
    assert comparison.best("wasserstein") is None
    assert "*" not in comparison.to_text()
    assert "**" not in comparison.to_markdown()
    assert "No best is marked where the sizes differ (60 samples against 100 and 120" in comparison.to_text()
    assert "*" in metrics.Comparison({"a": large, "b": floor}).to_text()


def numpy_of(x):
    return x.numpy()


def read_only(x):
    array = x.numpy().astype(">f8")[::-1]
    array.flags.writeable = False
    return array


class Foreign:
    """An array of a library that torch has not heard of."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **settings):
        return self.tensor.__dlpack__(**settings)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


@pytest.mark.parametrize("array", [numpy_of, read_only, Foreign])
def test_arrays_are_taken_as_they_are(array):
    x, y = clouds(4)
    want = metrics.evaluate(x.flip(0) if array is read_only else x, y, train=y.repeat(2, 1) + 1, **QUICK)
    got = metrics.evaluate(array(x), numpy_of(y), train=numpy_of(y.repeat(2, 1) + 1), **QUICK)
    assert got.to_dict() == want.to_dict()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half):
    x, y = (cloud.to(half) for cloud in clouds(4))
    want = metrics.evaluate(x.float(), y.float(), **QUICK)
    assert metrics.evaluate(x, y, **QUICK).to_dict() == want.to_dict()


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_images_are_flattened_and_reach_the_features_as_they_are(gen, kind):
    x, y = torch.randint(256, (2, 40, 3, 4, 4), generator=gen).to(kind)
    seen = []

    def pixels(images):
        seen.append((images.dtype, images.shape[1:]))
        return images.half().mean(1)

    got = metrics.evaluate(x, y, features=pixels, train=torch.cat([x, y]), **QUICK)
    assert set(seen) == {(kind, (3, 4, 4))}
    want = metrics.evaluate(x.float().flatten(1), y.float().flatten(1), **QUICK)
    assert got["wasserstein"].value == want["wasserstein"].value
    features = (images.half().mean(1).float().flatten(1) for images in (x, y))
    assert got["frechet_distance"].value == pytest.approx(
        float(metrics.frechet_distance(*features)), rel=1e-6
    )


def test_the_numbers_are_those_of_the_plain_functions():
    x, y = clouds(4)
    report = metrics.evaluate(x, y, **QUICK)
    median = median_heuristic(y)
    kernel = Gaussian(tuple(scale * median for scale in (0.25, 0.5, 1.0, 2.0, 4.0)))
    prdc = metrics.precision_recall_density_coverage(real=y, fake=x)
    expected = {
        "wasserstein": metrics.wasserstein(x, y),
        "sinkhorn_divergence": metrics.sinkhorn_divergence(x, y),
        "sliced_wasserstein": metrics.sliced_wasserstein(x, y),
        "mmd2": metrics.mmd2(x, y, kernel=kernel),
        "energy_distance": metrics.energy_distance(x, y),
        "frechet_distance": metrics.frechet_distance(x, y),
        "precision": prdc.precision,
        "recall": prdc.recall,
        "density": prdc.density,
        "coverage": prdc.coverage,
        "nn_accuracy": metrics.nearest_neighbour_accuracy(x, y),
    }
    assert list(report.estimates) == list(expected)
    for name, value in expected.items():
        assert report[name].value == pytest.approx(float(value), rel=1e-9), name


def test_mode_measure_counts_modes():
    centres = torch.tensor([[0.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    x, y = clouds(5, shift=0.0)
    report = metrics.evaluate(x, y, measures=[mode_measure(centres, 1.0)])
    assert report["modes"].value == 1
    assert report["high_quality"].value > 0.9


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"samples": torch.zeros(50)}, ValueError, r"samples must have shape \[n, d\]"),
        ({"samples": torch.zeros(50, 3)}, ValueError, "same number of columns"),
        ({"samples": torch.zeros(10, 2)}, ValueError, "samples must hold at least 20"),
        ({"reference": torch.zeros(10, 2)}, ValueError, "reference must hold at least 20"),
        ({"train": torch.zeros(10, 2)}, ValueError, "train must hold at least 20"),
        ({"train": torch.zeros(50, 2), "floor": metrics.Report({})}, ValueError, "train and floor"),
        ({"floor": metrics.Report({})}, ValueError, "floor must hold the same measures"),
        ({"floor": metrics.Report({}, "other")}, ValueError, "same features"),
        ({"train": torch.randn(30, 2)}, ValueError, r"as many points as samples, 50, got 30.*samples\[:30\]"),
        ({"features_for": "mmd"}, ValueError, "features_for must be"),
        ({"features_for": "all"}, ValueError, "features must be given"),
        ({"samples": torch.zeros(50, 2).byte()}, TypeError, "must both be uint8 or both be floats"),
        ({"measures": []}, ValueError, "measures must not be empty"),
        ({"measures": "wasserstein"}, TypeError, r"if 'wasserstein' in \[row.name for row in m.rows\]\]"),
        ({"measures": ["mmd2"]}, TypeError, r"got 'mmd2'; names are for the command line: pass \[m for m"),
        ({"measures": [metrics.wasserstein]}, TypeError, r"measures=\{'wasserstein': wasserstein\}"),
        ({"measures": standard_measures()[0]}, TypeError, r"pass \[measure\]"),
        ({"measures": 3}, TypeError, "measures must be a list of measures or a mapping, got int"),
        ({"measures": [*standard_measures(), *standard_measures()]}, ValueError, "more than once"),
        ({"measures": {"gap": lambda x, y: x - y}}, ValueError, r"gap must give one number.*by .mean"),
        ({"splits": 1}, ValueError, "splits must be at least 2"),
        ({"permutations": -1}, ValueError, "permutations must be at least 0"),
        ({"permutations": 9.0}, TypeError, "permutations must be an int"),
        ({"samples": torch.full((50, 2), torch.nan)}, ValueError, "must be finite"),
        ({"samples": [[1.0, 2.0]] * 50}, TypeError, "samples must be a tensor or an array, got list"),
        ({"samples": torch.zeros(50, 2, dtype=torch.int64)}, TypeError, "float32 or float64"),
    ],
)
def test_refusals(arguments, error, message):
    good = {"samples": torch.randn(50, 2), "reference": torch.randn(50, 2)}
    with pytest.raises(error, match=message):
        metrics.evaluate(**(good | arguments))


def test_a_report_becomes_json_markdown_and_a_figure(tmp_path):
    x, y = clouds(6)
    report = metrics.evaluate(x, y, train=y.repeat(2, 1) + 0.01, **QUICK)
    back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert back["metrics"]["wasserstein"]["value"] == report["wasserstein"].value
    assert report.to_markdown().count("\n") == len(report.estimates) + 1
    assert back["metrics"]["energy_distance"]["p_value"] == report["energy_distance"].p_value
    assert back["metrics"]["recall"]["dof"] == degrees_of_freedom(3)
    report.plot().savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_memorisation_measure_tells_a_copier(gen):
    train, held, fresh = torch.randn(3, 60, 3, generator=gen)
    measures = [memorisation_measure(train)]
    copier = metrics.evaluate(train + 1e-4, held, measures=measures)["nearer_train"]
    honest = metrics.evaluate(fresh, held, measures=measures)["nearer_train"]
    assert copier.value == 1
    assert abs(honest.value - 0.5) < 3 * honest.stderr
    floored = metrics.evaluate(fresh, held, measures=measures, train=train)["nearer_train"]
    assert floored.floor is None, "training points are their own nearest"
    found = metrics.neighbours.memorisation(fresh, train=train, held_out=held)
    assert honest.value == pytest.approx(float(found.nearer_train))
    with pytest.raises(ValueError, match="take a random part"):
        metrics.evaluate(fresh, held, measures=[memorisation_measure(train[:50])])
