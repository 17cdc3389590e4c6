r"""Posteriors of one split, every one by many networks at once.

The network is f(x) = (m, log σ), one hidden layer of ReLUs with two heads; y ~ N(m, σ²), with σ a function of x or
one number for all. The priors are N(0, 1/λ) with one λ for each tensor, found by evidence on the training data alone:

    1. `sample`: SGHMC in `members` chains from short Adam runs. The first part of the chain is burn-in, in which the
       step follows the largest curvature (it grows as σ falls); meanwhile and ever after `EmpiricalBayes` moves λ. The
       length of the step differs from tensor to tensor, by the size of Adam's gradients: a constant mass matrix.
    2. `descend`: networks from new starts down to the posterior's mode under that λ: MAP, deep ensemble.
    3. `wander`: SGD at a constant step from there: iterate average, SWAG, MultiSWAG, and SWAG at the width that
       `bayessgd.calibrate` finds.

Scores are means over test data, in the target's own unit s: log (1/M) Σᵢ N(y; mᵢ, σᵢ) − log s over M draws θᵢ.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import vmap
from uci_data import Split

from bayessgd import (
    SWAG,
    Chains,
    EmpiricalBayes,
    Ensemble,
    IterateAverage,
    Mixture,
    Trajectory,
    calibrate,
    predict,
)
from bayessgd.likelihoods import GaussianLogScale, GaussianPrior, mean_negative_log_joint
from bayessgd.optim import SGHMC
from bayessgd.posteriors import LowRankGaussian, Posterior
from metrics import crps_ensemble

__all__ = ["METHODS", "Diverged", "Network", "Settings", "run", "score"]

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
LOOK = 1000
"""How many training data the largest curvature and the width of SWAG are taken from."""
SMALL_BATCH = 100
"""Data per step of what is not SGHMC."""
NULL = 0.5 * math.log(2 * math.pi) + 0.5
"""The mean loss of N(0, 1) for standardised targets: a chain above it has left the stable range of steps."""


class Diverged(RuntimeError):
    """Chains whose step was too long."""


class Network(nn.Module):
    """One hidden layer and two heads, so that mean and log scale have priors of their own.

    Args:
        inputs: Features.
        hidden: Hidden units.
        constant: One σ for all data in place of a head.
    """

    def __init__(self, inputs: int, hidden: int, *, constant: bool) -> None:
        super().__init__()
        self.hidden, self.mean = nn.Linear(inputs, hidden), nn.Linear(hidden, 1)
        self.scale = Constant() if constant else nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[n, 2]`, mean and log scale."""
        h = self.hidden(x).relu()
        return torch.cat([self.mean(h), self.scale(h)], -1)

    def first_precisions(self) -> dict[str, float]:
        """Return λ to start from: activations, mean and log scale of order one over standardised inputs."""
        d, h = self.hidden.in_features, self.hidden.out_features
        named = {"hidden.weight": d, "hidden.bias": d, "mean.weight": h / 4, "mean.bias": 1}
        rest = (
            {"scale.value": 0.25}
            if isinstance(self.scale, Constant)
            else {"scale.weight": h / 2, "scale.bias": 1}
        )
        return {name: float(value) for name, value in (named | rest).items()}


class Constant(nn.Module):
    """One learned log σ, e^{−1} at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew."""
        nn.init.constant_(self.value, -1.0)

    def forward(self, h: Tensor) -> Tensor:
        """Return `[n, 1]`."""
        return self.value.expand(len(h), 1)


@dataclass(frozen=True)
class Settings:
    """What a set is run with.

    Attributes:
        constant: One σ for all data.
        members: Networks at once.
        batch: Data per step and chain, drawn with replacement; all of them where there are no more.
        warm_up: Steps of Adam before SGHMC.
        steps: Steps of SGHMC.
        fraction: Its step length over the largest stable one.
        momentum: Its momentum.
        anneal: Let the step fall as a half cosine and draw in the last 30 %; else draw after the first third.
        draws: Draws per chain.
        mode_steps: Steps of Adam to the modes.
        wander_steps: Steps of SGD around them.
    """

    constant: bool = False
    members: int = 8
    batch: int = 1000
    warm_up: int = 200
    steps: int = 1200
    fraction: float = 0.3
    momentum: float = 0.99
    anneal: bool = False
    draws: int = 50
    mode_steps: int = 400
    wander_steps: int = 240

    @property
    def burn_in(self) -> int:
        """Steps before the first draw."""
        return int(self.steps * (0.7 if self.anneal else 1 / 3))


class Problem:
    """A split's training data, with the loss and the batches that all phases share."""

    def __init__(self, data: Split, settings: Settings, seed: int) -> None:
        self.x, self.y, self.settings = data.x, data.y, settings
        self._random = torch.Generator().manual_seed(seed)

    def loss(
        self, chains: Chains, prior: GaussianPrior, *, look: bool = False, batch: int | None = None
    ) -> Tensor:
        """Return the mean negative log joint of each chain, on a batch of its own or on the first LOOK data."""
        n, size = len(self.x), self.settings.batch if batch is None else batch
        law = {"likelihood": GaussianLogScale(), "prior": prior, "num_data": n}
        fn = partial(mean_negative_log_joint, **law)
        if look or size >= n:
            some = slice(LOOK if look else n)
            return chains.map(fn, self.x[some], self.y[some], shared=True)
        pick = torch.randint(n, (chains.num_chains, size), generator=self._random)
        return chains.map(fn, self.x[pick], self.y[pick])


def descend(
    problem: Problem, chains: Chains, prior: GaussianPrior, steps: int, batch: int | None = None
) -> torch.optim.Adam:
    """Train by Adam with a learning rate that falls as a half cosine; return the optimizer."""
    optimizer = torch.optim.Adam(chains.parameters(), lr=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        problem.loss(chains, prior, batch=batch).sum().backward()
        optimizer.step()
        schedule.step()
    return optimizer


class Stiffness:
    """The largest eigenvalue over chains of D^½AD^½, D one number for each tensor, by power iteration.

    The vectors are kept, so that the eigenvalue of a slowly moving A costs two products a time.
    """

    def __init__(self, chains: Chains, scales: list[float], seed: int) -> None:
        self.chains, self.roots = chains, [s**0.5 for s in scales]
        random = torch.Generator().manual_seed(seed)
        self.vectors = [torch.randn(p.shape, generator=random) for p in chains.parameters()]

    def __call__(self, loss: Callable[[], Tensor], iterations: int) -> float:
        """Return it after so many products."""
        params, value = list(self.chains.parameters()), torch.tensor(math.nan)
        for _ in range(iterations):
            unit = self.vectors
            gradient = torch.autograd.grad(loss().sum(), params, create_graph=True)
            along = sum((g * v).sum() * r for g, v, r in zip(gradient, unit, self.roots, strict=True))
            product = torch.autograd.grad(torch.as_tensor(along), params)
            image = [r * h for h, r in zip(product, self.roots, strict=True)]
            value = _norm(image)
            self.vectors = [(t.mT / value).mT if t.ndim == 2 else t / value[:, None, None] for t in image]
        return float(value.max())


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack([t.flatten(1).square().sum(1) for t in tensors]).sum(0).sqrt()


def sample(problem: Problem, model: Network, seed: int) -> tuple[Ensemble, GaussianPrior]:
    """Return SGHMC's draws, chain after chain, and the prior that evidence found on the way.

    Raises:
        Diverged: A chain's loss is no number, or above that of a constant.
    """
    s, first = problem.settings, GaussianPrior(model.first_precisions())
    chains = Chains(model, s.members, seed=seed)
    adam = descend(problem, chains, first, s.warm_up)
    scales = [1 / float(adam.state[p]["exp_avg_sq"].mean().sqrt()) for p in chains.parameters()]
    stiffness = Stiffness(chains, scales, seed)
    evidence = EmpiricalBayes(chains, per_tensor=True)
    prior, limit = first, 2 * (1 + s.momentum) / stiffness(lambda: problem.loss(chains, first, look=True), 10)
    optimizer = SGHMC(
        [{"params": [p]} for p in chains.parameters()],
        1.0,
        num_data=len(problem.x),
        momentum=s.momentum,
        generator=torch.Generator().manual_seed(seed),
    )
    path = Trajectory(chains)
    path.attach(optimizer, every=max(1, (s.steps - s.burn_in) // s.draws), start=s.burn_in)
    for k in range(s.steps):
        if k and k % 25 == 0 and k <= s.burn_in:
            now = prior
            limit = 2 * (1 + s.momentum) / stiffness(lambda now=now: problem.loss(chains, now, look=True), 2)
        # Not to zero: the last draws should move too.
        share = max(0.03, 0.5 + 0.5 * math.cos(math.pi * k / s.steps)) if s.anneal else 1.0
        for group, scale in zip(optimizer.param_groups, scales, strict=True):
            group["lr"] = s.fraction * share * limit * scale
        optimizer.zero_grad()
        losses = problem.loss(chains, prior)
        losses.sum().backward()
        optimizer.step()
        if k % 5 == 0 and k >= s.steps // 10:
            if not bool((losses < NULL + 1).all()):
                raise Diverged(f"a chain's loss is {float(losses.detach().max()):.3g}")
            evidence.update()
            prior = evidence.prior
    draws = path.posterior().draws
    return Ensemble({k: t.transpose(0, 1).flatten(0, 1) for k, t in draws.items()}, chains=s.members), prior


def wander(problem: Problem, chains: Chains, prior: GaussianPrior, seed: int) -> tuple[SWAG, IterateAverage]:
    """Run SGD at a constant step from where the chains are; 20 snapshots, and the mean of all iterates."""
    s = problem.settings
    top = Stiffness(chains, [1.0] * len(list(chains.parameters())), seed)
    lr = 1.0 / top(lambda: problem.loss(chains, prior, look=True), 10)
    optimizer = torch.optim.SGD(chains.parameters(), lr=lr, momentum=0.9)
    swag, average = SWAG(chains, rank=20), IterateAverage(chains)
    start = s.wander_steps // 6
    swag.attach(optimizer, every=(s.wander_steps - start) // 20, start=start)
    average.attach(optimizer, start=start)
    for _ in range(s.wander_steps):
        optimizer.zero_grad()
        problem.loss(chains, prior, batch=SMALL_BATCH).sum().backward()
        optimizer.step()
    return swag, average


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a search that ends early is still the width that is reported
        calibrated = calibrate(
            model,
            members[0],
            problem.x[:LOOK],
            problem.y[:LOOK],
            likelihood=GaussianLogScale(),
            prior=prior,
            num_data=len(problem.x),
            generator=torch.Generator().manual_seed(seed),
            max_iterations=15,
        ).posterior
    return {
        "SGD (MAP)": _first(modes.draws),
        "iterate average": _first({name: t[0] for name, t in average.posterior().draws.items()}),
        "SWAG": members[0],
        "calibrated SWAG": calibrated,
        "deep ensemble": modes,
        "MultiSWAG": Mixture(members),
        "SGHMC, 1 chain": _first(mcmc.draws, len(mcmc) // s.members),
        "SGHMC": mcmc,
    }


def score(outputs: Tensor, y: Tensor, std: float, *, seed: int = 0) -> dict[str, float]:
    """Return log-likelihood, RMSE and CRPS of predictions `[draws, n, 2]` in the target's own unit.

    The CRPS is the fair one of at least 200 values drawn from the mixture.
    """
    log_p = vmap(GaussianLogScale().log_prob, (0, None))(outputs, y).double()
    mean, scale = outputs.double().unbind(-1)
    random = torch.Generator().manual_seed(seed)
    repeats = -(-200 // len(outputs))
    noise = torch.randn(repeats, *mean.shape, dtype=torch.float64, generator=random)
    drawn = (mean + scale.exp() * noise).flatten(0, 1).T
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
