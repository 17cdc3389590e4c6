"""Peers of `league.py`, each run by an interpreter of its own: `PYTHON league_peers.py NAMES --cases CASES --work DIR`.

Every contender is written as its package's documentation says; where a row is called *defaults*, what the package
leaves to its default stays there. Elementwise optimizers step all chains as one tensor, which are then independent.
"""

import argparse
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from league_walk import Problem, Result, kept_file, problem_file, relaxation, walk
from peer_imports import named, without_compiled_torchvision
from torch import Tensor, nn

MOMENTUM = 0.9
"""Of SGHMC, ours and posteriors' where it is set to be the same chain."""
STEPS = 6000
"""Of variational methods."""
SNAPSHOTS = 100
"""Of SWAG at the optimal rate."""


def by_optimizer(
    problem: Problem, seed: int, make: Callable, *, steps: float, prior: bool, warm_up: int = 0
) -> Result:
    """Walk with a torch optimizer on the mean loss; a prior that is a weight decay is not in the loss."""
    theta = problem.start()
    optimizer = make([theta])
    loss = problem.joint if prior else problem.nll

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        loss(theta, x, y).sum().backward()
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


def uncertainty_swag(problem: Problem, seed: int, *, recipe: bool, scale: float) -> Result:
    """By its recipe, or of SGD at the optimal rate; a SWAG for each chain."""
    without_compiled_torchvision()
    from torch_uncertainty.methods import SWAG

    nets = [nn.Linear(problem.mode.shape[1], 1, bias=False).double() for _ in range(problem.chains)]
    swags = [SWAG(net, cycle_start=0, cycle_length=1, scale=scale, num_estimators=0) for net in nets]

    def update(theta: Tensor, epoch: int) -> None:
        for net, swag, own in zip(nets, swags, theta.detach(), strict=True):
            net.weight.data.copy_(own)
            swag.update_wrapper(epoch)

    passes = recipe_sgd(problem, seed, update) if recipe else optimal_sgd(problem, seed, update)
    draws = [[swag.sample(scale).weight.detach()[0] for _ in range(problem.draws)] for swag in swags]
    return Result(torch.stack([torch.stack(of_one) for of_one in draws]), passes)


def recipe_sgd(problem: Problem, seed: int, update: Callable[[Tensor, int], None]) -> float:
    """75 passes, shuffled; after ten a snapshot every five, at lr .01, Nesterov's momentum .9, weight decay 5e-4."""
    random = torch.Generator().manual_seed(seed)
    theta, n, chains = problem.start(), problem.num_data, problem.chains
    x, y = (t.expand(chains, *t.shape[1:]) for t in (problem.x, problem.y))
    optimizer = torch.optim.SGD([theta], lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for epoch in range(1, 76):
        order = torch.rand(chains, n, generator=random).argsort(1)
        for rows in order.split(problem.batch, 1):
            optimizer.zero_grad()
            each = torch.arange(chains)[:, None]
            problem.nll(theta, x[each, rows], y[each, rows]).sum().backward()
            optimizer.step()
        if epoch > 10 and epoch % 5 == 0:
            update(theta, epoch)
    return 75.0


def optimal_sgd(problem: Problem, seed: int, update: Callable[[Tensor, int], None]) -> float:
    """SGD at 2(S/N)·D/Tr C, a snapshot every relaxation time; Tr C at the mode, of each chain's data."""
    theta, n, random = problem.start(), problem.num_data, torch.Generator().manual_seed(seed)
    rate = optimal_rate(problem)
    steps = max(1, math.ceil(problem.slow / float(rate.min())))
    pick = problem.picker(random, problem.small)
    for k in range((SNAPSHOTS + 5) * steps):
        (gradient,) = torch.autograd.grad(problem.joint(theta, *pick()).sum(), theta)
        theta.data.sub_(rate[:, None] * gradient)
        if k >= 5 * steps and (k + 1) % steps == 0:
            update(theta, k + 1)
    return (SNAPSHOTS + 5) * steps * problem.small / n


def optimal_rate(problem: Problem) -> Tensor:
    """Mandt, Hoffman & Blei's rate of each chain, [B]."""
    theta = problem.mode[:, None]
    output = (problem.x * theta).sum(-1)
    residual = output.sigmoid() - problem.y if problem.logistic else (output - problem.y) / problem.sigma**2
    gradients = residual[..., None] * problem.x
    trace = (gradients - gradients.mean(1, keepdim=True)).square().mean(1).sum(-1)
    return 2 * problem.small / problem.num_data * problem.mode.shape[1] / trace


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


def posteriors_vi(problem: Problem, seed: int, *, temperature: float | None) -> Result:
    """Adam at 1e-3, as in its documentation, from the default log sd of 0."""
    import posteriors
    import torchopt

    def log_posterior(theta: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -problem.joint(theta, *batch).sum(), torch.tensor([])

    told = {} if temperature is None else {"temperature": temperature}
    transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(lr=1e-3), **told)
    state = transform.init(problem.mode.clone())
    pick = problem.picker(torch.Generator().manual_seed(seed), problem.batch)
    for _ in range(STEPS):
        state, _ = transform.update(state, pick())
    draws = posteriors.vi.diag.sample(state, torch.Size([problem.draws])).detach().movedim(0, 1)
    return Result(draws, STEPS * problem.batch / problem.num_data)


class Logits(nn.Module):
    """Two logits, 0 and xθ: softmax's cross-entropy is then the Bernoulli one."""

    def __init__(self, size: int):
        super().__init__()
        self.linear = nn.Linear(size, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, 2]."""
        output = self.linear(x)
        return torch.cat([torch.zeros_like(output), output], -1)


def laplace(problem: Problem, seed: int, *, structure: str, told: bool) -> Result:
    """At the mode: all weights, one layer. `told` σ and τ, or both left at their default, 1."""
    without_compiled_torchvision()
    from laplace import Laplace
    from torch.utils.data import DataLoader, TensorDataset

    size, draws = problem.mode.shape[1], []
    shared = len(problem.x) == 1
    for k in range(len(problem.x)):
        net = Logits(size).double() if problem.logistic else nn.Linear(size, 1, bias=False).double()
        net.get_parameter("linear.weight" if problem.logistic else "weight").data.copy_(
            problem.mode[k : k + 1]
        )
        kind = "classification" if problem.logistic else "regression"
        laws = {"prior_precision": problem.precision} if told else {}
        laws |= {"sigma_noise": problem.sigma} if told and not problem.logistic else {}
        fitted = Laplace(net, kind, subset_of_weights="all", hessian_structure=structure, **laws)
        y = problem.y[k].long() if problem.logistic else problem.y[k][:, None]
        fitted.fit(DataLoader(TensorDataset(problem.x[k], y), batch_size=problem.num_data))
        count = problem.draws * (problem.chains if shared else 1)
        draws.append(fitted.sample(count).detach().view(-1, problem.draws, size))
    return Result(torch.cat(draws), 1.0)


def ivon(problem: Problem, seed: int, *, weight_decay: float | None, beta2: float | None) -> Result:
    """The README's lr = .1 and ess = N; annealed to 0 by a cosine, as in its authors' experiments."""
    from ivon import IVON

    theta = problem.start()
    told = {} if weight_decay is None else {"weight_decay": weight_decay}
    told |= {} if beta2 is None else {"beta2": beta2}
    optimizer = IVON([theta], lr=0.1, ess=problem.num_data, **told)
    pick = problem.picker(torch.Generator().manual_seed(seed), problem.batch)
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * k / STEPS))
        with optimizer.sampled_params(train=True):
            optimizer.zero_grad()
            problem.nll(theta, *pick()).sum().backward()
        optimizer.step()
    draws = []
    for _ in range(problem.draws):
        with optimizer.sampled_params():
            draws.append(theta.detach().clone())
    return Result(torch.stack(draws, 1), STEPS * problem.batch / problem.num_data)


CONTENDERS: dict[str, Callable[[Problem, int], Result]] = {
    "tu-sgld-default": lambda p, s: uncertainty_sgld(p, s, lr=1e-3, noise_factor=1e-2, weight_decay=0.0),
    "tu-sgld-recipe": lambda p, s: uncertainty_sgld(p, s, lr=1e-2, noise_factor=1e-2, weight_decay=1e-5),
    "tu-sgld-tied": lambda p, s: uncertainty_sgld(
        p, s, lr=p.lr, noise_factor=p.num_data**-0.5, weight_decay=p.precision / p.num_data
    ),
    "tu-sghmc-default": lambda p, s: uncertainty_sghmc(
        p, s, lr=1e-2, burn_in=200, noise_factor=1e-2, weight_decay=0.0
    ),
    "tu-sghmc-recipe": lambda p, s: uncertainty_sghmc(
        p, s, lr=1e-3, burn_in=3525, noise_factor=1e-2, weight_decay=1e-5
    ),
    "tu-sghmc-tied": lambda p, s: uncertainty_sghmc(
        p, s, lr=1e-2, burn_in=200, noise_factor=p.num_data**-0.5, weight_decay=p.precision / p.num_data
    ),
    "tu-swag-recipe": lambda p, s: uncertainty_swag(p, s, recipe=True, scale=1.0),
    "tu-swag-optimal": lambda p, s: uncertainty_swag(p, s, recipe=False, scale=1.0),
    "tu-swag-half": lambda p, s: uncertainty_swag(p, s, recipe=False, scale=0.5),
    "posteriors-sgld-default": lambda p, s: posteriors_sgld(p, s, temperature=None),
    "posteriors-sgld": lambda p, s: posteriors_sgld(p, s, temperature=1 / p.num_data),
    "posteriors-sghmc-default": lambda p, s: posteriors_sghmc(p, s, temperature=1 / p.num_data, alpha=None),
    "posteriors-sghmc": lambda p, s: posteriors_sghmc(
        p, s, temperature=1 / p.num_data, alpha=(1 - MOMENTUM) / math.sqrt(p.lr * (1 - MOMENTUM))
    ),
    "posteriors-vi-default": lambda p, s: posteriors_vi(p, s, temperature=None),
    "posteriors-vi": lambda p, s: posteriors_vi(p, s, temperature=1 / p.num_data),
    "laplace-default": lambda p, s: laplace(p, s, structure="kron", told=False),
    "laplace-kron": lambda p, s: laplace(p, s, structure="kron", told=True),
    "laplace-full": lambda p, s: laplace(p, s, structure="full", told=True),
    "ivon-default": lambda p, s: ivon(p, s, weight_decay=None, beta2=None),
    "ivon-recipe": lambda p, s: ivon(p, s, weight_decay=p.precision / p.num_data, beta2=0.999),
}
PACKAGES = {
    "tu": "torch-uncertainty",
    "posteriors": "posteriors",
    "laplace": "laplace-torch",
    "ivon": "ivon-opt",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", choices=CONTENDERS, nargs="+")
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of problems and draws")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        for case in given.cases:
            kept = kept_file(given.work, name, case)
            if kept.is_file():
                continue
            torch.manual_seed(given.seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the peers', of each other's deprecations
                found = CONTENDERS[name](Problem.load(problem_file(given.work, case)), given.seed)
            apart = math.nan if found.apart is None else found.apart
            version = named(PACKAGES[name.split("-")[0]])
            np.savez(kept, draws=found.draws.numpy(), passes=found.passes, apart=apart, version=version)


if __name__ == "__main__":
    main()
