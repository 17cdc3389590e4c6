"""The league's problems, its walk, its exact moments and its page. No peer is needed."""

import math
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

NAMES = (
    "league",
    "league_fits",
    "league_ours",
    "league_page",
    "league_peers",
    "league_problems",
    "league_walk",
)


@pytest.fixture(scope="module")
def bench():
    return SimpleNamespace(**{name: import_module(name) for name in NAMES})


@pytest.fixture(scope="module")
def few(bench):
    """Forty simulations."""
    return bench.league_problems.simulations(40, 0)


def logistic(bench, *, n=30):
    """One weight, thirty data, at the mode; the data do not separate."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, n, 1, generator=random, dtype=torch.float64)
    y = (x[..., 0] + torch.randn(1, n, generator=random, dtype=torch.float64) > 0).double()
    theta = torch.zeros(1, 1, dtype=torch.float64)
    told = {"sigma": 1.0, "precision": 1.0, "lr": 0.1, "slow": 1.0, "batch": 5, "small": 5}
    told |= {"draws": 3, "apart": 1.0, "burn": 1.0}
    p = bench.league_walk.Problem(x, y, True, mode=theta, **told)
    for _ in range(20):
        hessian = torch.autograd.functional.hessian(lambda t: p.joint(t, p.x, p.y).sum(), theta).view(1, 1)
        gradient = torch.autograd.functional.jacobian(lambda t: p.joint(t, p.x, p.y).sum(), theta)
        theta = theta - gradient / hessian
    return bench.league_problems.Case("toy", replace(p, mode=theta), hessian[None], hessian[None])


def test_modes_are_modes_and_curvatures_are_hessians(bench, few):
    p = few.problem
    theta = p.start()
    (gradient,) = torch.autograd.grad(p.joint(theta, p.x, p.y).sum(), theta)
    assert float(gradient.abs().max()) < 1e-12
    moved = theta.detach() + 0.1
    rise = p.joint(moved, p.x, p.y) - p.joint(theta, p.x, p.y)
    torch.testing.assert_close(rise.detach(), 0.5 * 0.01 * few.A.sum((1, 2)))


def test_gradients_are_those_of_the_losses(bench, few):
    for p in (few.problem, logistic(bench).problem):
        theta = p.start().detach() + 0.3
        for prior, loss in ((True, p.joint), (False, p.nll)):
            exact = torch.autograd.functional.jacobian(
                lambda t, loss=loss, p=p: loss(t, p.x, p.y).sum(), theta
            )
            torch.testing.assert_close(p.gradient(theta, p.x, p.y, prior=prior), exact)


def test_a_file_holds_the_whole_problem(bench, few, tmp_path):
    path = bench.league_walk.problem_file(tmp_path, "a")
    few.problem.save(path)
    back = bench.league_walk.Problem.load(path)
    for name, value in vars(few.problem).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(getattr(back, name), value)
        else:
            assert getattr(back, name) == value
            assert type(getattr(back, name)) is type(value)


def test_exact_moments_of_a_logistic_regression_on_a_grid(bench):
    case = logistic(bench)
    found = bench.league_problems.exact_moments(case)
    p, axis = case.problem, torch.linspace(-4, 8, 4001, dtype=torch.float64)[:, None]
    w = (-p.num_data * p.joint(axis, p.x, p.y)).softmax(0)
    mean = w @ axis[:, 0]
    std = (w @ (axis[:, 0] - mean).square()).sqrt()
    assert abs(float(found.mean - mean)) < 4 * float(found.mean_error)
    assert abs(float(found.std - std)) < 4 * float(found.std_error)
    assert float(found.std_error / std) < 0.005


def test_langevin_of_the_league_has_the_posterior_s_width(bench, few):
    few = replace(few, problem=replace(few.problem, apart=0.5, burn=3.0))
    found = bench.league_ours.langevin(few, 0)
    score = bench.league.simulated(few, {"draws": found.draws.numpy()})
    # Batches and steps add up to 5 + 3 % of the variance, draws of one chain that are near each other lack as much.
    assert abs(score["sd"] - 1) < 0.04 + 4 * score["sd_error"]
    steps = (3 + 63 * 0.5) * few.problem.slow / few.problem.lr
    assert found.passes == pytest.approx(steps * 50 / 100, rel=0.01)


def test_optimal_rates_of_peers_are_ours(bench, few):
    ours = torch.stack([h[0, 0] for h in bench.league_ours.plain_rates(few)])
    # Ours has C in expectation over the posterior, theirs at its mode: D/N apart.
    torch.testing.assert_close(bench.league_fits.optimal_rate(few.problem), ours, rtol=0.15, atol=0)


def test_a_long_chain_is_cut_and_says_so(bench, few, monkeypatch):
    monkeypatch.setattr(bench.league_walk, "MOST_STEPS", 200)
    p = few.problem
    found = bench.league_walk.walk(p, p.start(), lambda x, y: None, steps=1e3, seed=0)
    assert found.draws.shape == (40, 63, 3)
    assert found.apart == pytest.approx(1.5 * 200 / 99_500)
    assert math.isclose(found.passes, (63 * 4 + 11) * 0.5)


def test_the_page_sorts_contenders_by_what_they_pass(bench, few):
    good = {"p": 0.5, "coverage": 0.9, "coverage_error": 0.01, "sd": 1.0, "sd_error": 0.01}
    fine = {"low": 0.95, "high": 1.05, "mean": 1.0, "sd_error": 0.02, "shift": 0.1, "shift_error": 0.05}
    rest = {"passes": 10.0, "apart": math.nan}
    case = logistic(bench)
    bad = fine | {"high": 1.15}
    scores = {
        "ours-sgld": {"version": "a 1", "simulations": good | rest, "toy": fine | rest},
        "tu-sgld-tied": {"version": "b 2", "simulations": good | rest, "toy": bad | rest},
        "posteriors-sgld": {"version": "c 3", "simulations": good | rest, "toy": rest | {"diverged": 1.0}},
    }
    truths = {"toy": bench.league_problems.exact_moments(case)}
    cases = [few, case, replace(case, name="toy")]
    page = bench.league_page.page(scores, cases, truths, "a machine")
    assert "- **all three**: bayessgd SGLD (lr)." in page
    assert "torch-uncertainty SGLD (lr, noise 1/√N, decay τ/N); posteriors SGLD (lr, T = 1/N)." in page
    assert "| 0.950 – 1.150 | 1.000 | 0.020 | +0.10 ± 0.05 | no |" in page
