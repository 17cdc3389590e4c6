"""The example end to end, small, and what its mixtures and its verdict are."""

import json
import math
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import gan
from bayessgd import Ensemble
from gan.penalties import R1, GradientPenalty
from tests.examples.running import run

ROOT = Path(__file__).parents[2]
WAYS = ["average", "SWAG mean", "SWAG", "SWAG, span", "snapshots", "SGHMC", "ensemble"]


@pytest.fixture(scope="module")
def example():
    """The example's modules, which are a folder of scripts and no package."""
    return SimpleNamespace(
        script=import_module("bayesian_gan"), posteriors=import_module("generator_posteriors")
    )


def test_the_comparison_as_a_user_runs_it(tmp_path):
    size = ("--steps", "40", "--members", "2", "--draws", "3")
    answer = run("bayesian_gan", *size, "--quiet", "--out", tmp_path)
    assert answer.returncode == 0, answer.stderr
    results, report = (
        json.loads((tmp_path / "results.json").read_text()),
        (tmp_path / "report.md").read_text(),
    )
    assert list(results["scores"]) == WAYS
    assert all(len(scores) == 3 for scores in results["scores"].values())
    assert list(results["gains"]) == WAYS[1:]
    assert set(results["gains"]["SWAG"]) == {"modes", "high quality", "reverse KL"}
    for name in ("scores.png", "samples.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
        assert f"({name})" in report
    assert "- ensemble: " in answer.stdout
    assert "pay" in answer.stdout


def test_digits_are_judged_for_copies_too(example):
    data = gan.data.digits()
    copies = example.script.judge(data.train, data)
    assert set(copies) == {"precision", "recall", "coverage", "1-NN", "nearer to training"}
    assert copies["nearer to training"] == 1
    assert copies["coverage"] > 0.9


@pytest.fixture
def plan(example):
    data = gan.data.ring(200)
    return example.posteriors.Plan(data, gan.recipe("js", like=data), 40, 2, 0.0)


def test_posteriors_of_one_run_share_their_mean_and_all_cost_the_same(example, plan):
    taken = []
    original = gan.GAN.fit

    def fit(self, *args, **kwargs):
        taken.append(kwargs["steps"])
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan.GAN, "fit", fit)
        _, found = example.posteriors.of_one_run(plan, 0)
        _, members = example.posteriors.ensemble(plan, 0)
        example.posteriors.average(plan, 0)
    # One run; SGHMC goes on from its first 24 steps; two members; the average.
    assert taken == [40, 16, 20, 20, 40]
    assert len(members) == 2
    assert len(found["snapshots"]) == len(found["SGHMC"]) == 16
    for name, mean in found["snapshots"].mean.items():
        torch.testing.assert_close(found["SWAG"].mean[name], mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found["SWAG mean"].mean[name], mean, rtol=1e-4, atol=1e-6)
    spread = found["SWAG, span"].marginal_variance, found["SWAG"].marginal_variance
    assert all(bool((v > 0).any()) for v in spread[0].values())
    whole = sum(float(v.sum()) for v in found["SWAG"].variance.values())
    low_rank = sum(float(v.sum()) for v in spread[0].values())
    # SWAG's covariance is half of the diagonal's and half of the span's.
    assert sum(float(v.sum()) for v in spread[1].values()) == pytest.approx(
        0.5 * (whole + low_rank), rel=1e-4
    )


def test_the_rate_falls_and_is_held(example):
    settings = example.posteriors.Held(learning_rate=1.0, final_learning_rate=0.2, held=0.5)
    assert settings.rate(0.0) == 1.0
    assert settings.rate(0.25) == pytest.approx(0.6 + 0.4 * math.cos(math.pi / 4))
    assert settings.rate(0.5) == settings.rate(1.0) == pytest.approx(0.6)


def test_the_critic_s_penalties_stay_where_they_have_decayed_to(example):
    assert example.posteriors._weighed(R1(2.0), 0.25) == R1(0.5)
    assert example.posteriors._weighed(GradientPenalty(3.0), 0.25) == GradientPenalty(3.0)


def test_a_mixture_gives_every_draw_its_part(example):
    net = nn.Linear(1, 1, bias=False)
    three = Ensemble({"weight": torch.tensor([[[1.0]], [[2.0]], [[3.0]]])})
    samples = example.posteriors.mixture(net, three, torch.arange(1.0, 8)[:, None], draws=3, seed=0)
    assert samples.flatten().tolist() == [1, 4, 9, 4, 10, 18, 7]
    # One draw of a posterior is one generator.
    one = example.posteriors.mixture(net, three, torch.ones(5, 1), draws=1, seed=0)
    assert len(one.unique()) == 1


def test_a_way_pays_where_its_gain_is_outside_the_interval(example):
    """Student's 97.5 % point with two degrees of freedom is 4.303."""
    single = [{"modes": 4.0, "reverse KL": 0.5}] * 3
    gained = [{"modes": m, "reverse KL": 0.5} for m in (5.0, 5.5, 6.0)]  # mean gain 1.5, error .5/√3 = .289
    spread = [{"modes": m, "reverse KL": 0.9} for m in (4.5, 5.5, 6.5)]  # mean gain 1.5, error .577
    found = example.script.Found({"average": single, "gained": gained, "spread": spread}, {})
    told = example.script.differences(found)
    gain, error, word = told["gained"]["modes"]
    assert (gain, word) == (1.5, "better")
    assert error == pytest.approx(0.5 / 3**0.5)
    assert told["gained"]["reverse KL"][2] == "same"
    assert told["spread"]["modes"][2] == "same"
    assert told["spread"]["reverse KL"][2] == "worse"
    assert example.script.verdict(told).splitlines() == [
        "- gained: pays (better in modes).",
        "- spread: does not pay (worse in reverse KL).",
    ]


def test_shares_are_judged_by_their_distance_from_a_half(example):
    assert example.script.merit("1-NN", 0.4) == pytest.approx(example.script.merit("1-NN", 0.6))
    assert example.script.merit("nearer to training", 0.5) > example.script.merit("nearer to training", 0.7)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--seeds", "2"), "--seeds must be at least 3, got 2"),
        (("--steps", "50"), "--steps must be at least 20 a member, 80, got 50"),
        (("--draws", "1"), "--draws must be at least 2"),
        (("--data", "mnist"), "mnist"),
        (("--temperature", "-1"), "--temperature must be finite and at least 0"),
        (("--out", __file__), "argument --out: results go to a folder, or one that can be made"),
    ],
)
def test_mistakes_are_refused_in_one_line(example, capsys, arguments, told):
    with pytest.raises(SystemExit) as leaving:
        example.script.main(list(arguments))
    answer = capsys.readouterr().err
    assert leaving.value.code == 2
    assert told in answer
    assert len(answer.splitlines()) == 1
