"""The benchmarks of samplers: their exact moments, their errors, their control variate, and small runs of each."""

import math
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from bayessgd import theory
from bayessgd.likelihoods import Bernoulli, Gaussian, GaussianLogScale, mean_negative_log_joint
from bayessgd.params import flatten, unflatten
from bayessgd.priors import GaussianPrior

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("BAYESSGD_DATA", ROOT.parent / "shared" / "data"))
NAMES = (
    "sampling",
    "agreement",
    "large_data",
    "large_data_problems",
    "posteriordb",
    "posteriordb_data",
    "sbc",
    "sbc_samplers",
)


@pytest.fixture(scope="module")
def bench():
    """The benchmarks' modules, which are a folder of scripts and no package."""
    return SimpleNamespace(**{name: import_module(name) for name in NAMES})


def regression(bench, n: int, p: int, *, kind: str = "linear", seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, dtype=torch.float64, generator=random)
    y = x.sum(1, keepdim=True) + torch.randn(n, 1, dtype=torch.float64, generator=random)
    model = nn.Linear(p, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    if kind == "logistic":
        return bench.sampling.Problem("toy", model, x, (y > 0).double(), Bernoulli(), GaussianPrior(1.0))
    if kind == "scale":
        model = bench.posteriordb_data.least_squares(x, y)
        return bench.sampling.Problem("toy", model, x, y, GaussianLogScale(), GaussianPrior(1.0))
    return bench.sampling.Problem("toy", model, x, y, Gaussian(1.0), GaussianPrior(1.0))


def on_a_grid(problem, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of two parameters by brute force: 201 × 201 points."""
    axis = torch.linspace(low, high, 201, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)

    def loss(flat):
        laws = {"likelihood": problem.likelihood, "prior": problem.prior, "num_data": len(problem)}
        named = unflatten(flat, problem.like)
        return mean_negative_log_joint(problem.model, named, problem.x, problem.y, **laws)

    losses = torch.vmap(loss, chunk_size=2**13)(points)
    w = torch.softmax(-len(problem) * losses, 0)[:, None]
    mean = (w * points).sum(0)
    return mean.numpy(), (w * (points - mean).square()).sum(0).sqrt().numpy()


@pytest.mark.parametrize(("kind", "p"), [("scale", 1), ("logistic", 2)])
def test_exact_moments_against_brute_force(bench, kind, p):
    problem = regression(bench, 40, p, kind=kind)
    at = bench.sampling.optimum(problem)
    if kind == "logistic":
        # Forty data are far from Laplace's approximation: more nodes than Skin needs.
        found = bench.large_data_problems.product_moments(at, nodes=15)
    else:
        found = bench.large_data_problems.exact(at)
    mean, std = on_a_grid(problem, -1.0, 5.0)
    # The brute-force rule's own error, on a grid of spacing .03, is below 1e-6.
    assert found.mean.numpy() == pytest.approx(mean, abs=1e-4)
    assert found.std.numpy() == pytest.approx(std, rel=1e-3)


def test_the_optimum_of_a_linear_model_is_ridge_regression(bench):
    problem = regression(bench, 40, 3)
    at = bench.sampling.optimum(problem)
    x, y = problem.x, problem.y[:, 0]
    precision = x.T @ x + torch.eye(3, dtype=torch.float64)
    assert torch.allclose(flatten(problem.like), torch.linalg.solve(precision, x.T @ y))
    assert torch.allclose(40 * at.A, precision)
    known = theory.LinearRegression(x, y, noise_precision=1.0, prior_precision=1.0)
    assert torch.allclose(at.C, known.noise(torch.zeros(3, 3, dtype=torch.float64)))
    assert torch.allclose(at.root @ at.root.T, torch.linalg.inv(precision))
    # One step of 3 + 1 passes to the optimum of a quadratic, and another that finds nothing left.
    assert at.passes == 8


def test_errors_of_moments_are_those_of_autoregressive_chains(bench):
    random, rho = np.random.default_rng(0), 0.6
    noise = math.sqrt(1 - rho**2) * random.normal(size=(400, 1000))
    noise[:, 0] /= math.sqrt(1 - rho**2)
    chains = noise.copy()
    for t in range(1, 1000):
        chains[:, t] = rho * chains[:, t - 1] + noise[:, t]
    found = bench.agreement.moments(torch.tensor(3 * chains)[..., None])
    n = 400_000
    # τ of the draws is (1 + ρ)/(1 − ρ) = 4, of their squares (1 + ρ²)/(1 − ρ²); 3 % is the scatter of the estimates.
    assert float(found.mean_error) == pytest.approx(3 * math.sqrt(4 / n), rel=0.03)
    squares = (1 + rho**2) / (1 - rho**2)
    assert float(found.std_error) == pytest.approx(3 * math.sqrt(squares / (2 * n)), rel=0.03)
    assert found.effective == pytest.approx((n / 4, n / squares), rel=0.06)
    truth = bench.agreement.Moments.exact(torch.tensor([1.0]).double(), torch.tensor([2.0]).double())
    agreement = bench.agreement.compare(found, truth)
    # Four standard errors.
    assert float(agreement.shifts) == pytest.approx(-0.5, abs=4 * float(agreement.shift_errors))
    assert float(agreement.ratios) == pytest.approx(1.5, abs=4 * float(agreement.ratio_errors))
    assert agreement.worst_shift() == f"{float(agreement.shifts):+.3f} ± {float(found.mean_error) / 2:.3f}"


def test_the_control_variate_samples_the_posterior_at_its_price(bench):
    problem = regression(bench, 500, 2)
    at = bench.sampling.optimum(problem)
    run = bench.large_data.by_control_variate(at, draws=40)
    truth = bench.agreement.Moments.exact(flatten(problem.like), at.root.square().sum(1).sqrt())
    agreement = bench.agreement.compare(bench.agreement.moments(run.draws), truth)
    # Four standard errors.
    assert bool((agreement.shifts.abs() < 4 * agreement.shift_errors).all())
    assert bool(((agreement.ratios - 1).abs() < 4 * agreement.ratio_errors).all())
    assert run.draws.shape == (25, 40, 2)
    # 120 steps of 25 chains, two gradients for each of 100 data; C̃ from p + 1 passes, the mode's gradient from one.
    assert run.passes == 120 * 25 * 200 / 500 + 4


def test_plain_batches_and_windows_have_the_widths_of_the_theory(bench):
    problem = regression(bench, 2000, 2)
    at = bench.sampling.optimum(problem)
    for sampler, draws in bench.large_data.plain(at, bench.large_data.Effort(200, 40, 4, 4)):
        run = bench.sampling.iterates(at, sampler, draws=draws, num_chains=50)
        assert run.draws.shape == (50, draws, 2)
        assert run.passes == (sampler.burn_in + draws * sampler.thin) * 200 * 50 / 2000
        cov = at.root @ at.root.T
        if sampler.window:
            cov = theory.iterate_average_covariance(
                at.A, at.C, num_iterates=10, batch_size=200, preconditioner=sampler.preconditioner
            )
        truth = bench.agreement.Moments.exact(flatten(problem.like), cov.diagonal().sqrt())
        agreement = bench.agreement.compare(bench.agreement.moments(run.draws), truth)
        # C is taken at the mode and not over the posterior, p/N = .1 %; five standard errors.
        assert bool(((agreement.ratios - 1).abs() < 5 * agreement.ratio_errors).all()), sampler.name
        assert bool((agreement.shifts.abs() < 5 * agreement.shift_errors).all()), sampler.name


def test_ranks_of_draws_from_the_truths_own_law_are_uniform(bench, gen):
    truth = torch.randn(600, 3, generator=gen)
    draws = torch.randn(600, 63, 3, generator=gen)
    fair = bench.sbc.judge("fair", truth, draws)
    assert fair.p_value > 0.01
    # ± four standard errors of 1800 trials.
    assert fair.coverage == pytest.approx(0.9, abs=4 * 0.0071)
    narrow = bench.sbc.judge("narrow", truth, 0.8 * draws)
    assert narrow.p_value < 1e-3
    inside = 2 * stats.norm.cdf(0.8 * stats.norm.ppf(0.95)) - 1
    assert narrow.coverage == pytest.approx(inside, abs=0.04)
    figure = bench.sbc.draw([fair, narrow])
    assert sum(ax.get_visible() for ax in figure.axes) == 2


def test_every_sampler_of_the_calibration_runs(bench, monkeypatch):
    monkeypatch.setattr(bench.sbc_samplers, "DRAWS", 4)
    data = bench.sbc_samplers.simulate(3, 0)
    for sampler in bench.sbc_samplers.samplers(data):
        short = replace(sampler, thin=1, window=sampler.window and 1)
        draws = bench.sbc_samplers.run(data, short, 1)
        assert draws.shape == (3, 4, 3), sampler.name
        assert bool(draws.isfinite().all()), sampler.name


@pytest.mark.skipif(
    not DATA.is_dir() and not os.environ.get("CI"), reason="BAYESSGD_DATA names no folder of data"
)
def test_posteriordbs_regressions_and_their_reference(bench):
    found = bench.posteriordb_data.regressions(DATA / "posteriordb")
    assert len(found) == 11
    for known in found:
        p = known.problem
        assert known.draws.shape == (10, 1000, p.x.shape[1] + 1)
        # Least squares is the posterior's mean but for the prior; a coefficient in the wrong place is far off.
        mean, std = known.draws.flatten(0, 1).mean(0), known.draws.flatten(0, 1).std(0)
        start = bench.posteriordb_data.natural(p.model, flatten(p.like))
        assert bool(((start - mean).abs() < std).all()), p.name
    last = found[-1]
    at, names = bench.sampling.optimum(last.problem), ["SGD at mode", "SGD exact", "corrected", "IASG"]
    assert [sampler.name for sampler, _ in bench.posteriordb.samplers(at, last.regression)] == names
    # Half of the reference as a sampler: within five standard errors, and at the floor.
    run = bench.sampling.Run(last.draws[:5], 1.0)
    score = bench.posteriordb.score(run, last.draws[5:])
    assert bool((score.agreement.shifts.abs() < 5 * score.agreement.shift_errors).all())
    assert 0.3 < score.sliced / score.floor < 1.7
    assert bench.posteriordb.line("x", "y", score, run=run).count("|") == len(bench.posteriordb.COLUMNS) + 1
    schools = bench.posteriordb_data.eight_schools(DATA / "posteriordb")
    assert schools.draws.shape == (10, 1000, 10)
