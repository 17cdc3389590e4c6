"""Peers of the league that walk: torch-uncertainty's and posteriors' Langevin dynamics and SGHMC.

Elementwise optimizers step all chains as one tensor, which are then independent.
"""

import math
from collections.abc import Callable

import torch
from league_walk import Problem, Result, relaxation, walk
from peer_imports import without_compiled_torchvision
from torch import Tensor

__all__ = ["MOMENTUM", "posteriors_sghmc", "posteriors_sgld", "uncertainty_sghmc", "uncertainty_sgld"]

MOMENTUM = 0.9
"""Of SGHMC, ours and posteriors' where it is set to be the same chain."""


def by_optimizer(
    problem: Problem, seed: int, make: Callable, *, steps: float, prior: bool, warm_up: int = 0
) -> Result:
    """Walk with a torch optimizer on the mean loss; a prior that is a weight decay is not in the loss."""
    theta = problem.start()
    optimizer = make([theta])

    @torch.no_grad()
    def step(x: Tensor, y: Tensor) -> None:
        theta.grad = problem.gradient(theta, x, y, prior=prior)
        optimizer.step()

    pick = problem.picker(torch.Generator().manual_seed(seed + 1), problem.batch)
    for _ in range(warm_up):
        step(*pick())
    return walk(problem, theta, step, steps=steps, seed=seed)


def uncertainty_sgld(
    problem: Problem, seed: int, *, lr: float, noise_factor: float, weight_decay: float
) -> Result:
    without_compiled_torchvision()
    from torch_uncertainty.optim import SGLD

    def make(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return SGLD(parameters, lr=lr, noise_factor=noise_factor, weight_decay=weight_decay)

    return by_optimizer(problem, seed, make, steps=relaxation(problem, lr), prior=False)


def uncertainty_sghmc(
    problem: Problem, seed: int, *, lr: float, burn_in: int, noise_factor: float, weight_decay: float
) -> Result:
    """Its steps are lr²/√V̂, V̂ the mean squared gradient of batches: at the mode their variance C/S."""
    without_compiled_torchvision()
    from torch_uncertainty.optim import SGHMC

    def make(parameters: list[Tensor]) -> torch.optim.Optimizer:
        return SGHMC(
            parameters, lr=lr, burn_in_steps=burn_in, noise_factor=noise_factor, weight_decay=weight_decay
        )

    # `lr` has the noisiest weight's C/S in it; the steps of the others are longer.
    noise = math.sqrt(0.05 * 2 / problem.num_data / problem.lr)
    steps = relaxation(problem, lr**2 / noise, friction=0.05)
    return by_optimizer(problem, seed, make, steps=steps, prior=False, warm_up=burn_in)


def posteriors_chain(problem: Problem, seed: int, transform: Callable, *, steps: float) -> Result:
    """Walk with a transform of posteriors: its log posterior is the mean one, of all chains together."""

    def log_posterior(theta: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -problem.joint(theta, *batch).sum(), torch.tensor([])

    made = transform(log_posterior)
    theta = problem.mode.clone()
    state = made.init(theta)

    def step(x: Tensor, y: Tensor) -> None:
        made.update(state, (x, y), inplace=True)

    return walk(problem, state.params, step, steps=steps, seed=seed)


def posteriors_sgld(problem: Problem, seed: int, *, temperature: float | None) -> Result:
    import posteriors

    def transform(log_posterior: Callable) -> object:
        told = {} if temperature is None else {"temperature": temperature}
        return posteriors.sgmcmc.sgld.build(log_posterior, lr=problem.lr, **told)

    return posteriors_chain(problem, seed, transform, steps=relaxation(problem, problem.lr))


def posteriors_sghmc(
    problem: Problem, seed: int, *, temperature: float | None, alpha: float | None
) -> Result:
    """Its lr is the root of ours, and lr·α our 1 − m; velocities start at 0."""
    import posteriors

    lr = math.sqrt(problem.lr * (1 - MOMENTUM))

    def transform(log_posterior: Callable) -> object:
        told = {} if temperature is None else {"temperature": temperature}
        told |= {} if alpha is None else {"alpha": alpha}
        return posteriors.sgmcmc.sghmc.build(log_posterior, lr=lr, momenta=0.0, **told)

    friction = lr * (0.01 if alpha is None else alpha)
    return posteriors_chain(problem, seed, transform, steps=relaxation(problem, lr**2, friction))
