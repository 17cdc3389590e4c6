"""The methods that the UCI benchmark compares, and their scores.

SGHMC goes first and brings the prior's precisions by evidence (`uci_sampling`). Under that prior networks from new
starts descend to modes: MAP and deep ensemble. SGD at a constant step around these gives the iterate average, SWAG,
MultiSWAG, and SWAG at the width that `bayessgd.calibrate` finds.

Scores are means over test data in the target's own unit s: log (1/M) Σᵢ N(y; mᵢ, σᵢ) − log s over M draws θᵢ.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import vmap
from uci_data import Split
from uci_network import LOOK, Network, Problem, Settings
from uci_sampling import SMALL_BATCH, Diverged, descend, sample, wander

from bayessgd import Chains, Ensemble, Mixture, calibrate, predict
from bayessgd.likelihoods import GaussianLogScale, GaussianPrior
from bayessgd.posteriors import LowRankGaussian, Posterior
from metrics import crps_ensemble

__all__ = ["METHODS", "evaluate", "posteriors", "run", "sampled", "score"]

METHODS = (
    "SGD (MAP)",
    "iterate average",
    "SWAG",
    "calibrated SWAG",
    "deep ensemble",
    "MultiSWAG",
    "SGHMC, 1 chain",
    "SGHMC",
)


def _member(law: LowRankGaussian, i: int) -> LowRankGaussian:
    """Return the Gaussian of one chain out of that of stacked chains."""
    rows = {name: t[:, i] for name, t in (law.deviations or {}).items()}
    mean, variance = ({name: t[i] for name, t in named.items()} for named in (law.mean, law.variance))
    return LowRankGaussian(mean, variance, rows, scale=law.scale)


def _first(draws: dict[str, Tensor], count: int = 1) -> Ensemble:
    return Ensemble({name: t[:count] for name, t in draws.items()})


def posteriors(problem: Problem, model: Network, seed: int) -> dict[str, Posterior]:
    """Return all of METHODS."""
    s = problem.settings
    mcmc, prior = sample(problem, model, seed)
    chains = Chains(model, s.members, seed=seed + 1000)
    descend(problem, chains, prior, s.mode_steps, SMALL_BATCH)
    modes = chains.posterior()
    swag, average = wander(problem, chains, prior, seed)
    law = swag.posterior()
    members = [_member(law, i) for i in range(s.members)]
    return {
        "SGD (MAP)": _first(modes.draws),
        "iterate average": _first({name: t[0] for name, t in average.posterior().draws.items()}),
        "SWAG": members[0],
        "calibrated SWAG": _calibrated(problem, model, members[0], prior, seed),
        "deep ensemble": modes,
        "MultiSWAG": Mixture(members),
        "SGHMC, 1 chain": _first(mcmc.draws, len(mcmc) // s.members),
        "SGHMC": mcmc,
    }


def _calibrated(
    problem: Problem, model: Network, law: LowRankGaussian, prior: GaussianPrior, seed: int
) -> LowRankGaussian:
    """Return SWAG at the width of the posterior, or as it is where its mean lies in no minimum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a search that ends early is still the width that is reported
        try:
            return calibrate(
                model,
                law,
                problem.x[:LOOK],
                problem.y[:LOOK],
                likelihood=GaussianLogScale(),
                prior=prior,
                num_data=len(problem.x),
                generator=torch.Generator().manual_seed(seed),
                max_iterations=15,
            ).posterior
        except ValueError:
            return law


def score(outputs: Tensor, y: Tensor, std: float, *, seed: int = 0) -> dict[str, float]:
    """Return log-likelihood, RMSE and CRPS of predictions `[draws, n, 2]` in the target's own unit.

    The CRPS is the fair one of at least 200 values drawn from the mixture.
    """
    log_p = vmap(GaussianLogScale().log_prob, (0, None))(outputs, y).double()
    mean, scale = outputs.double().unbind(-1)
    random = torch.Generator().manual_seed(seed)
    repeats = -(-200 // len(outputs))
    noise = torch.randn(repeats, *mean.shape, dtype=torch.float64, generator=random)
    drawn = (mean + scale.exp() * noise).flatten(0, 1)
    target = y[:, 0].double()
    return {
        "log_likelihood": float((log_p.logsumexp(0) - math.log(len(outputs))).mean()) - math.log(std),
        "rmse": float((mean.mean(0) - target).square().mean().sqrt()) * std,
        "crps": float(crps_ensemble(drawn, target, fair=True)) * std,
    }


def run(data: Split, hidden: int, settings: Settings, seed: int) -> dict[str, dict[str, float]]:
    """Return the scores of METHODS on a split's test part; a sampler that diverges is run again at half the step."""
    model = Network(data.x.shape[1], hidden, constant=settings.constant)
    found = _with_shorter_steps(data, settings, seed, lambda problem: posteriors(problem, model, seed))
    return {name: evaluate(model, law, data, settings) for name, law in found.items()}


def sampled(data: Split, hidden: int, settings: Settings, seed: int) -> dict[str, float]:
    """Return the scores of SGHMC alone, for tuning."""
    model = Network(data.x.shape[1], hidden, constant=settings.constant)
    found = _with_shorter_steps(data, settings, seed, lambda problem: {"": sample(problem, model, seed)[0]})
    return evaluate(model, found[""], data, settings)


def evaluate(model: Network, law: Posterior, data: Split, settings: Settings) -> dict[str, float]:
    """Return the scores of one posterior."""
    count = (
        len(law)
        if isinstance(law, Ensemble)
        else 30
        if isinstance(law, LowRankGaussian)
        else 10 * settings.members
    )
    generator = torch.Generator().manual_seed(0)
    outputs = predict(model, law, data.x_test, num_samples=count, generator=generator)
    return score(outputs, data.y_test, data.std)


def _with_shorter_steps(
    data: Split, settings: Settings, seed: int, fit: Callable[[Problem], dict[str, Posterior]]
) -> dict[str, Posterior]:
    for _ in range(5):
        try:
            return fit(Problem(data, settings, seed))
        except Diverged:
            settings = replace(settings, fraction=settings.fraction / 2)
    return fit(Problem(data, settings, seed))
