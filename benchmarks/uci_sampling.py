"""How the UCI benchmark's networks move: down to modes, around them, and through the posterior.

`sample` is SGHMC from short runs of Adam. While the first part of the chain burns in, the step follows the largest
curvature, which grows as σ falls; from then on it is constant, or falls as a half cosine. Its length differs between
tensors by the size of Adam's gradients, which is a constant mass matrix. Meanwhile `EmpiricalBayes` moves the prior's
precisions by the iterates of all chains of the split: evidence, of training data alone.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from uci_network import Network, Problem

from bayessgd import SWAG, Chains, EmpiricalBayes, Ensemble, IterateAverage, Trajectory
from bayessgd.likelihoods import GaussianPrior
from bayessgd.optim import SGHMC

__all__ = ["SMALL_BATCH", "Diverged", "Stiffness", "descend", "sample", "wander"]

SMALL_BATCH = 100
"""Data per step of what is not SGHMC."""
NULL = 0.5 * math.log(2 * math.pi) + 0.5
"""The mean loss of N(0, 1) for standardised targets: a chain far above it has left the stable range of steps."""


class Diverged(RuntimeError):
    """Chains whose step was too long."""


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
        Diverged: A chain's loss on a batch is no number, or a nat above that of a constant.
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
            finite = all(bool(p.isfinite().all()) for p in chains.parameters())
            if not (finite and bool((losses < NULL + 1).all())):
                raise Diverged(f"a chain's loss is {float(losses.detach().max()):.3g}")
            evidence.update()
            prior = evidence.prior
    draws = path.posterior().draws
    return Ensemble({k: t.transpose(0, 1).flatten(0, 1) for k, t in draws.items()}, chains=s.members), prior


def wander(problem: Problem, chains: Chains, prior: GaussianPrior, seed: int) -> tuple[SWAG, IterateAverage]:
    """Run SGD at a constant step from where the chains are; 20 snapshots, and the mean of all iterates.

    Away from the modes the curvature may be larger: where a chain escapes, all go back and take a third of the step.

    Raises:
        Diverged: Ten times in a row.
    """
    s, start = problem.settings, {name: p.detach().clone() for name, p in chains.named_parameters()}
    top = Stiffness(chains, [1.0] * len(start), seed)
    lr = 1.0 / top(lambda: problem.loss(chains, prior, look=True), 10)
    burn_in = s.wander_steps // 6
    for _ in range(10):
        optimizer = torch.optim.SGD(chains.parameters(), lr=lr, momentum=0.9)
        swag, average = SWAG(chains, rank=20), IterateAverage(chains)
        swag.attach(optimizer, every=(s.wander_steps - burn_in) // 20, start=burn_in)
        average.attach(optimizer, start=burn_in)
        for _ in range(s.wander_steps):
            optimizer.zero_grad()
            problem.loss(chains, prior, batch=SMALL_BATCH).sum().backward()
            optimizer.step()
        if all(bool(p.isfinite().all()) for p in chains.parameters()):
            return swag, average
        lr /= 3
        with torch.no_grad():
            for name, p in chains.named_parameters():
                p.copy_(start[name])
    raise Diverged("SGD around the modes escapes at any step")
