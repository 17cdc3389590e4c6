"""Eleven posteriors of one small network, each from the same few lines of library: what the notebook compares.

A *task* is a network, its data, a likelihood and a prior. `trained` brings a few networks to a minimum of the mean
negative log joint by SGD with momentum, all at once as stacked chains; the methods start from there. Every method gives
a `Fit`: a posterior, the number of draws to predict with, and its cost in passes over the data (gradients of single
data, divided by N), the training that it stands on included.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bayessgd import (
    SWAG,
    Chains,
    Ensemble,
    IterateAverage,
    LowRankGaussian,
    Mixture,
    Posterior,
    Trajectory,
    calibrate,
    principal_subspace,
    reference,
    snapshots,
    subspace_nuts,
)
from bayessgd.likelihoods import Likelihood, mean_negative_log_joint
from bayessgd.optim import SGHMC, SGLD, CyclicalSchedule
from bayessgd.priors import Prior

__all__ = ["Fit", "Task", "fits", "full", "trained"]


@dataclass(frozen=True)
class Task:
    """A small Bayesian regression or classification.

    Attributes:
        make: Makes the network.
        x: Training inputs [N, ...].
        y: Training targets [N, ...].
        likelihood: From the output to the law of the target.
        prior: The law of the weights.
        rate: SGD's learning rate, with momentum 0.9.
        batch: S.
        steps: Of the training.
    """

    make: Callable[[], nn.Module]
    x: Tensor
    y: Tensor
    likelihood: Likelihood
    prior: Prior
    rate: float
    batch: int
    steps: int

    @property
    def laws(self) -> dict[str, Any]:
        """Likelihood and prior, as keywords."""
        return {"likelihood": self.likelihood, "prior": self.prior}

    @property
    def loss(self) -> Callable[..., Tensor]:
        """The mean negative log joint of a batch."""
        return partial(
            mean_negative_log_joint, likelihood=self.likelihood, prior=self.prior, num_data=len(self.x)
        )

    def batches(self, chains: int, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch for each chain, iid with replacement as the theory has it."""
        pick = torch.randint(len(self.x), (chains, size), generator=random)
        return self.x[pick], self.y[pick]


@dataclass(frozen=True)
class Fit:
    """A posterior, how many draws to predict with, and its cost in passes over the data."""

    name: str
    posterior: Posterior
    draws: int
    passes: float


def trained(task: Task, members: int, *, seed: int) -> Chains:
    """Train some networks from scratch by SGD with momentum, its rate falling along a cosine."""
    chains = Chains(task.make(), members, seed=seed)
    optimizer = torch.optim.SGD(chains.parameters(), task.rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.steps)
    random = torch.Generator().manual_seed(seed)
    for _ in range(task.steps):
        _step(task, chains, optimizer, task.batch, random)
        schedule.step()
    return chains


def fits(task: Task, *, members: int = 5, seed: int = 0) -> dict[str, Fit]:
    """Fit every method but NUTS, which `full` does, by name; the first is plain SGD."""
    chains = trained(task, members, seed=seed)
    start = task.steps * task.batch / len(task.x)
    ensemble = chains.posterior()
    single = Ensemble({name: t[:1] for name, t in ensemble.draws.items()})
    found = [Fit("SGD", single, 1, start)]
    wandering = [_wander(task, chains.chain(i), seed=seed + 1 + i) for i in range(members)]
    further = start + wandering[0].passes
    first = wandering[0]
    found.append(Fit("iterate average", first.average, 1, further))
    found.append(Fit("SWAG", first.swag, 30, further))
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*directions of the span were dropped"
        )  # the notebook says so
        tuned = [
            calibrate(w.model, w.swag, task.x, task.y, **task.laws, generator=_generator(seed))
            for w in wandering
        ]
    # A Jacobian-vector product costs about what a gradient does, a pair of draws forward two thirds of it.
    each = further + tuned[0].directions + tuned[0].dropped + 20
    found.append(Fit("SWAG, calibrated", tuned[0].posterior, 30, each))
    found.append(Fit("MultiSWAG, calibrated", Mixture([t.posterior for t in tuned]), 50, members * each))
    found.append(Fit("deep ensemble", ensemble, members, members * start))
    found.append(_hamiltonian(task, ensemble, start, seed=seed))
    found.append(_langevin(task, chains, start, seed=seed))
    found.append(_cyclical(task, chains, start, seed=seed))
    found.append(_subspace(task, first, further, seed=seed))
    return {fit.name: fit for fit in found}


def full(
    task: Task, *, samples: int, chains: int = 2, depth: int = 7, seed: int = 0, cache: str | None = None
) -> Fit:
    """The reference: NUTS over all weights, from a trained network."""
    model = trained(task, 1, seed=seed + 99).chain(0)
    with warnings.catch_warnings():
        # A network's weights have symmetries, so that their R̂ says little: the notebook shows that of predictions.
        warnings.filterwarnings("ignore", message="NUTS ended")
        found = reference.nuts(
            model,
            task.x,
            task.y,
            likelihood=task.likelihood,
            prior=task.prior,
            num_samples=samples,
            num_warmup=samples,
            num_chains=chains,
            max_tree_depth=depth,
            seed=seed,
            cache=cache,
            progress=False,
        )
    cost = found.origin["gradient_evaluations"]
    return Fit("NUTS", found, len(found), float(cost) + task.steps * task.batch / len(task.x))


@dataclass(frozen=True)
class _Wandering:
    """A network after a while of SGD at a constant rate, and what the collectors made of it."""

    model: nn.Module
    average: Ensemble
    swag: LowRankGaussian
    path: Ensemble
    passes: float


def _wander(task: Task, model: nn.Module, *, seed: int) -> _Wandering:
    """SGD on, at a constant rate, with three collectors listening: 40 snapshots, an epoch or more apart."""
    optimizer = torch.optim.SGD(model.parameters(), task.rate / 4, momentum=0.9)
    every = max(10, math.ceil(len(task.x) / task.batch))
    steps = 45 * every
    average, swag, path = IterateAverage(model), SWAG(model), Trajectory(model)
    average.attach(optimizer, start=5 * every)
    swag.attach(optimizer, every=every, start=5 * every)
    path.attach(optimizer, every=every, start=5 * every)
    random = _generator(seed)
    for _ in range(steps):
        x, y = (t[0] for t in task.batches(1, task.batch, random))
        optimizer.zero_grad()
        task.loss(model, dict(model.named_parameters()), x, y).backward()
        optimizer.step()
    return _Wandering(
        model, average.posterior(), swag.posterior(), path.posterior(), steps * task.batch / len(task.x)
    )


def _hamiltonian(task: Task, ensemble: Ensemble, start: float, *, seed: int) -> Fit:
    """SGHMC snapshots: a chain on from each trained network, with SGD's own rate and twice its batch."""
    passes, draws = 2 * task.steps * task.batch / len(task.x), 20 * len(ensemble)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="not at equilibrium")  # in the notebook's few steps
        found = snapshots(
            task.make(),
            task.x,
            task.y,
            **task.laws,
            lr=task.rate,
            batch_size=min(len(task.x), 2 * task.batch),
            passes=passes,
            num_draws=draws,
            starts=ensemble,
            seed=seed,
            progress=False,
        )
    return Fit(f"SGHMC, {len(ensemble)} chains", found, len(found), len(ensemble) * (start + passes))


def _langevin(task: Task, chains: Chains, start: float, *, seed: int) -> Fit:
    """SGLD: sixteen chains from the trained networks, the last two thirds of them kept, thinned."""
    many = _copies(task, chains, 16, seed=seed)
    optimizer = SGLD(many.parameters(), task.rate / 2, num_data=len(task.x), generator=_generator(seed + 1))
    steps, size, random = task.steps, min(len(task.x), 4 * task.batch), _generator(seed)
    path = Trajectory(many)
    path.attach(optimizer, every=max(1, steps // 15), start=steps // 3)
    for _ in range(steps):
        _step(task, many, optimizer, size, random)
    return Fit("SGLD, 16 chains", _flat(path), 160, len(chains) * start + 16 * steps * size / len(task.x))


def _cyclical(task: Task, chains: Chains, start: float, *, seed: int) -> Fit:
    """Cyclical SGHMC: a chain from each trained network, four cycles each, draws from the end of every cycle."""
    many = _copies(task, chains, len(chains), seed=seed)
    optimizer = SGHMC(
        many.parameters(), task.rate / 4, num_data=len(task.x), momentum=0.9, generator=_generator(seed + 8)
    )
    steps, size, random = 2 * task.steps, min(len(task.x), 2 * task.batch), _generator(seed + 9)
    schedule = CyclicalSchedule(optimizer, num_steps=steps, num_cycles=4, exploration=0.6)
    path, late = Trajectory(many), 0
    for _ in range(steps):
        _step(task, many, optimizer, size, random)
        late = late + 1 if schedule.sampling else 0
        if late and late % max(1, task.steps // 25) == 0:
            path.update()
        schedule.step()
    draws = _flat(path)
    return Fit("cyclical SGHMC", draws, len(draws), len(many) * (start + steps * size / len(task.x)))


def _subspace(task: Task, wandering: _Wandering, passes: float, *, seed: int) -> Fit:
    """NUTS among the five leading principal components of SGD's snapshots."""
    size = sum(t.numel() for t in wandering.path.mean.values())
    space = principal_subspace(wandering.path, rank=min(5, size))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NUTS ended")
        found = subspace_nuts(
            wandering.model, space, task.x, task.y, **task.laws, num_samples=100, seed=seed, progress=False
        )
    return Fit("subspace NUTS", found, 100, passes + float(found.origin["gradient_evaluations"]))


def _copies(task: Task, chains: Chains, count: int, *, seed: int) -> Chains:
    """As many chains as asked for, at the states of the given ones in turn."""
    many = Chains(task.make(), count, seed=seed)
    own = dict(chains.named_parameters())
    with torch.no_grad():
        for name, p in many.named_parameters():
            p.copy_(own[name][torch.arange(count) % len(chains)])
    return many


def _step(
    task: Task, chains: Chains, optimizer: torch.optim.Optimizer, size: int, random: torch.Generator
) -> None:
    x, y = task.batches(len(chains), size, random)
    optimizer.zero_grad()
    chains.map(task.loss, x, y).sum().backward()
    nn.utils.clip_grad_norm_(chains.parameters(), 1e3)  # far above any gradient but those of a bad start
    optimizer.step()


def _flat(path: Trajectory) -> Ensemble:
    """The states of stacked chains [times, chains, ...] as an ensemble, chain after chain."""
    draws = path.posterior().draws
    chains = next(iter(draws.values())).shape[1]
    return Ensemble({name: t.transpose(0, 1).flatten(0, 1) for name, t in draws.items()}, chains=chains)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
