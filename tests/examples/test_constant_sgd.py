"""The example end to end, its algebra against autograd and scikit-learn, and its samplers against their theory."""

import json
import os
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from bayessgd import Chains, theory
from tests.examples.running import run

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("BAYESSGD_DATA", ROOT.parent / "shared" / "data"))
SAMPLERS = (
    "SGD",
    "SGD-d",
    "SGD-f",
    "SGLD",
    "SGFS-d",
    "SGFS-f",
    "SGD-d optimal",
    "SGD-f exact",
    "corrected",
    "IASG",
    "IASG-f",
)
EMBEDDED = ("diabetes", "breast-cancer")


@pytest.fixture(scope="module")
def mandt():
    """The example's modules, which are a folder of scripts and no package."""
    names = ("data", "methods", "simulation", "figures")
    return SimpleNamespace(
        main=import_module("constant_sgd").main, **{name: import_module(f"mandt_{name}") for name in names}
    )


@pytest.fixture(scope="module", params=EMBEDDED)
def problem(request, mandt):
    return mandt.methods.Problem(mandt.data.load(request.param, None))


@pytest.fixture(scope="module")
def diabetes(mandt):
    return mandt.methods.Problem(mandt.data.load("diabetes", None))


def kl(problem, cov):
    return float(theory.kl_to_posterior(cov, problem.A, num_data=problem.num_data))


def test_the_embedded_data_as_a_user_runs_it(tmp_path):
    answer = run("constant_sgd", "--quiet", "--steps", "200", "--chains", "25", "--out", tmp_path)
    assert answer.returncode == 0, answer.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    report = (tmp_path / "report.md").read_text()
    assert list(results["data"]) == list(EMBEDDED)
    for name, told in results["data"].items():
        assert tuple(told["samplers"]) == SAMPLERS
        for sampler in told["samplers"].values():
            assert sampler["stderr"] > 0
            assert sampler["continuous"] >= 0
            assert sampler["paper"] is None
        assert (tmp_path / f"iterates-{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"(iterates-{name}.png)" in report
    assert (tmp_path / "divergences.png").read_bytes()[:4] == b"\x89PNG"
    for sampler in SAMPLERS:
        assert sampler in answer.stdout
        assert f"| {sampler} " in report


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(mandt, tmp_path):
    def numbers(seed):
        size = ["--data", "diabetes", "--steps", "200", "--chains", "20", "--quiet", "--seed", str(seed)]
        assert mandt.main([*size, "--out", str(tmp_path)]) == 0
        return json.loads((tmp_path / "results.json").read_text())["data"]

    first = numbers(3)
    assert numbers(3) == first
    assert numbers(4) != first


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--data", "moons"), "moons"),
        (("--data", "wine"), "--data-dir"),
        (("--data", "wine", "--data-dir", "nowhere"), "winequality-white.csv.gz"),
        (("--steps", "10"), "--steps must be at least 200"),
        (("--chains", "1"), "--chains must be at least 20"),
        (("--seed", "-1"), "--seed"),
        (("--start", "zero"), "zero"),
    ],
)
def test_mistakes_are_refused_in_one_line(mandt, capsys, arguments, told):
    try:
        code = mandt.main(list(arguments))
    except SystemExit as leaving:
        code = leaving.code
    answer = capsys.readouterr().err
    assert code == 2
    assert told in answer
    assert len(answer.splitlines()) == 1


def test_a_table_of_another_shape_is_refused(mandt, tmp_path):
    (tmp_path / "wine").mkdir()
    (tmp_path / "wine" / "winequality-white.csv.gz").write_text("a;b\n1;2\n3;4\n")
    with pytest.raises((ValueError, OSError)):
        mandt.data.load("wine", tmp_path)


def test_the_optimum_is_scikit_learns(problem):
    x, y = problem.task.x.numpy(), problem.task.y[:, 0].numpy()
    if problem.task.logistic:
        found = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(x, y).coef_[0]
    else:
        found = Ridge(alpha=problem.scale**2, fit_intercept=False).fit(x, y).coef_
    # Its logistic solver stops at a gradient of 1e-10 of the summed loss, whose least curvature is the prior's, 1.
    torch.testing.assert_close(problem.optimum, torch.tensor(found), rtol=1e-6, atol=1e-6)


def test_curvature_and_noise_are_the_closed_forms(problem):
    x, y, n = problem.task.x, problem.task.y, problem.num_data
    output = x @ problem.optimum[:, None]
    mean = output.sigmoid() if problem.task.logistic else output
    weight = mean * (1 - mean) if problem.task.logistic else torch.ones_like(mean)
    A = (x * weight).mT @ x / problem.scale**2 / n + torch.eye(problem.dim, dtype=x.dtype) / n
    gradients = (mean - y) / problem.scale**2 * x
    centred = gradients - gradients.mean(0)
    torch.testing.assert_close(problem.A, A, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(problem.C, centred.mT @ centred / n, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_autograds(problem, gen):
    chains = Chains(problem.model, 3, jitter=0.3)
    (weight,) = chains.parameters()
    rows = torch.randint(problem.num_data, (3, 7), generator=gen)
    x, y = problem.task.x[rows], problem.task.y[rows]
    chains.map(problem.loss, x, y).sum().backward()
    both = torch.stack([weight.detach()[:, 0], 2 * weight.detach()[:, 0]], 2)
    found = problem.gradient(both, x, y)
    assert weight.grad is not None
    torch.testing.assert_close(found[..., 0], weight.grad[:, 0], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found[..., 0], found[..., 1])


def test_what_theory_promises(mandt, problem):
    found = {m.name: m for m in mandt.methods.methods(problem)}
    assert tuple(found) == SAMPLERS
    after = {name: kl(problem, m.samples) for name, m in found.items()}
    # 1e-8 is the bound; what is left is the rounding of float64 matrices of condition number 1e4.
    assert after["SGD-f exact"] < 1e-8
    assert after["corrected"] < 1e-8
    assert after["SGD-f exact"] < after["SGD-f"] < 2
    assert after["SGD-d optimal"] <= min(after["SGD"], after["SGD-d"])
    # The paper's theorem: in continuous time the full preconditioners leave nothing.
    assert kl(problem, found["SGD-f"].limit) < 1e-8
    assert kl(problem, found["SGFS-f"].limit) < 1e-8
    sizes = {"batch_size": problem.task.batch_size, "discrete": False}
    rate = theory.optimal_learning_rate(problem.C, num_data=problem.num_data, batch_size=sizes["batch_size"])
    near = [
        theory.stationary_covariance(problem.A, problem.C, preconditioner=f * rate, **sizes)
        for f in (0.9, 1.1)
    ]
    assert kl(problem, found["SGD"].limit) < min(kl(problem, cov) for cov in near)


def test_moments_leave_out_one_group_of_chains_at_a_time(mandt, diabetes, gen):
    method = mandt.methods.methods(diabetes)[0]
    start = torch.randn(120, diabetes.dim, dtype=torch.float64, generator=gen)
    run = mandt.simulation.Run(diabetes, method, start, burn_in=0, seed=0)
    for _ in range(mandt.simulation.EVERY):
        run.step(torch.zeros_like(start))
    offset, cov = run.moments()
    assert len(cov) == mandt.simulation.GROUPS + 1
    group = torch.arange(120) * mandt.simulation.GROUPS // 120
    for index, kept in ((0, group >= 0), (1, group != 0), (18, group != 17)):
        torch.testing.assert_close(offset[index], start[kept].mean(0))
        torch.testing.assert_close(cov[index], torch.cov(start[kept].mT, correction=0))


def test_the_jackknife_takes_off_the_bias_of_an_estimated_divergence(mandt, diabetes, gen):
    """Draws of the posterior itself: the plain estimate is D(D+3)/(4n) too high, the jackknife's is not."""
    method = next(m for m in mandt.methods.methods(diabetes) if m.name == "SGD-f exact")
    factor = torch.linalg.cholesky(torch.linalg.inv(diabetes.num_data * diabetes.A))
    values, errors = [], []
    for _ in range(20):
        start = torch.randn(500, diabetes.dim, dtype=torch.float64, generator=gen) @ factor.mT
        run = mandt.simulation.Run(diabetes, method, start, burn_in=0, seed=0)
        for _ in range(mandt.simulation.EVERY):
            run.step(torch.zeros_like(start))
        outcome = run.judge()
        values.append(outcome.simulated)
        errors.append(outcome.stderr)
    bias = 10 * 13 / (4 * 500)
    mean, spread = torch.tensor(values).mean(), torch.tensor(values).std()
    assert abs(float(mean)) < 4 * float(spread) / 20**0.5
    assert float(spread) < bias / 3
    # The jackknife's own error is conservative at a minimum of the divergence, where it is of second order.
    assert torch.tensor(errors).mean() > spread / 2


def simulate(mandt, problem, names, **sizes):
    found = [m for m in mandt.methods.methods(problem) if m.name in names]
    outcomes = mandt.simulation.simulate(problem, found, seed=0, bar=False, **sizes)
    return {outcome.method.name: outcome for outcome in outcomes}


def test_fast_samplers_reach_the_predicted_law_from_the_optimum(mandt, diabetes):
    """Nothing of the prediction enters: the chains start without spread, and forget that in 16 steps or fewer."""
    names = ("SGD-f", "SGFS-f", "SGD-f exact", "corrected", "IASG-f")
    found = simulate(mandt, diabetes, names, chains=400, steps=600, at_optimum=True)
    assert set(found) == set(names)
    for outcome in found.values():
        assert outcome.relaxations > 30
        assert abs(outcome.simulated - outcome.discrete) < 4 * outcome.stderr + 1e-3
        # The squared error has the mean noise², and about D²/2 = 50 terms of unequal weight: 2.5 is far out.
        assert outcome.covariance_error < 2.5 * outcome.covariance_noise
        assert outcome.covariance_error < 0.03
    assert found["SGD-f exact"].simulated < 0.05
    assert found["corrected"].simulated < 0.05
    assert found["SGD-f exact"].simulated + 4 * found["SGD-f exact"].stderr < found["SGD-f"].simulated


def test_all_samplers_stay_in_the_predicted_law(mandt, diabetes):
    found = simulate(mandt, diabetes, SAMPLERS, chains=400, steps=800, at_optimum=False)
    for outcome in found.values():
        assert abs(outcome.simulated - outcome.discrete) < 4 * outcome.stderr + 1e-3
        assert outcome.covariance_error < 2.5 * outcome.covariance_noise


@pytest.mark.parametrize("name", ["wine", pytest.param("skin", marks=pytest.mark.slow), "protein"])
def test_the_papers_table(mandt, name):
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not in {DATA}; name the folder that holds it in BAYESSGD_DATA")
    problem = mandt.methods.Problem(mandt.data.load(name, DATA))
    found = {m.name: m for m in mandt.methods.methods(problem)}
    after = {sampler: kl(problem, m.samples) for sampler, m in found.items()}
    order = ("SGLD", "SGFS-d", "SGD-d", "SGD")
    assert max(after["SGD-f"], after["SGFS-f"]) < after["SGLD"]
    assert sorted(order, key=after.__getitem__) == list(order)
    assert after["SGD-f exact"] < 1e-8
    assert after["corrected"] < 1e-8
    assert after["SGD-f exact"] < after["SGD-f"] < 2
    assert after["SGD-d optimal"] <= after["SGD"]
    if name == "wine":
        paper = mandt.data.PAPER["wine"]
        for sampler in ("SGD", "SGD-d", "SGFS-d"):
            assert kl(problem, found[sampler].limit) == pytest.approx(paper[sampler], rel=0.06)
    if name == "protein":
        assert after["SGD"] < 15, "no stationary law is 1000 nats away"
        rate = float(theory.optimal_learning_rate(problem.C, num_data=problem.num_data, batch_size=100))
        decay = torch.eye(8, dtype=torch.float64) - rate * problem.A
        left = torch.linalg.matrix_power(decay, 10_000) @ problem.optimum
        divergence = partial(
            theory.kl_to_posterior, found["SGD"].samples, problem.A, num_data=problem.num_data
        )
        assert float(divergence(offset=left)) == pytest.approx(1200, rel=0.03)


def test_the_pair_of_parameters_in_the_picture(mandt):
    cov = torch.tensor([[1.0, 0.1, -1.6], [0.1, 1.0, 0.3], [-1.6, 0.3, 4.0]])
    assert mandt.figures.most_correlated(cov) == (0, 2)
