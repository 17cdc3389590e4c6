"""Peers of the league that fit: SWAG, variational inference, IVON and Laplace's approximation.

A chain is a fit of its own, with its own batches, and its draws are the fit's; Laplace fits data that all share once.
"""

import math
from collections.abc import Callable

import torch
from league_walk import Problem, Result
from peer_imports import without_compiled_torchvision
from torch import Tensor, nn

__all__ = ["ivon", "laplace", "optimal_rate", "posteriors_vi", "uncertainty_swag"]

STEPS = 6000
"""Of variational methods."""
SNAPSHOTS = 100
"""Of SWAG at the optimal rate."""


def uncertainty_swag(problem: Problem, seed: int, *, recipe: bool, scale: float) -> Result:
    """By its recipe, or of SGD at the optimal rate; a SWAG for each chain."""
    without_compiled_torchvision()
    from torch_uncertainty.methods import SWAG

    # In float32, which is all that its low-rank draws can do.
    nets = [nn.Linear(problem.mode.shape[1], 1, bias=False) for _ in range(problem.chains)]
    swags = [SWAG(net, cycle_start=0, cycle_length=1, scale=scale, num_estimators=0) for net in nets]

    def update(theta: Tensor, epoch: int) -> None:
        for net, swag, own in zip(nets, swags, theta.detach(), strict=True):
            net.weight.data.copy_(own)
            swag.update_wrapper(epoch)

    passes = recipe_sgd(problem, seed, update) if recipe else optimal_sgd(problem, seed, update)
    draws = [[swag.sample(scale).weight.detach()[0] for _ in range(problem.draws)] for swag in swags]
    return Result(torch.stack([torch.stack(of_one) for of_one in draws]).double(), passes)


def recipe_sgd(problem: Problem, seed: int, update: Callable[[Tensor, int], None]) -> float:
    """75 passes, shuffled; after ten a snapshot every five, at lr .01, Nesterov's momentum .9, weight decay 5e-4."""
    random = torch.Generator().manual_seed(seed)
    theta, n, chains = problem.start(), problem.num_data, problem.chains
    x, y = (t.expand(chains, *t.shape[1:]) for t in (problem.x, problem.y))
    optimizer = torch.optim.SGD([theta], lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for epoch in range(1, 76):
        order = torch.rand(chains, n, generator=random).argsort(1)
        for rows in order.split(problem.batch, 1):
            each = torch.arange(chains)[:, None]
            theta.grad = problem.gradient(theta.detach(), x[each, rows], y[each, rows], prior=False)
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
        theta.data.sub_(rate[:, None] * problem.gradient(theta.detach(), *pick()))
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


def posteriors_vi(problem: Problem, seed: int, *, lr: float, log_sd: float | None) -> Result:
    """Adam at `lr`, T = 1/N; the log standard deviation starts at `log_sd` or its default, 0."""
    import posteriors
    import torchopt

    def log_posterior(theta: Tensor, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return -problem.joint(theta, *batch).sum(), torch.tensor([])

    told = {"temperature": 1 / problem.num_data} | ({} if log_sd is None else {"init_log_sds": log_sd})
    transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(lr=lr), **told)
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
            theta.grad = problem.gradient(theta.detach(), *pick(), prior=False)
        optimizer.step()
    draws = []
    for _ in range(problem.draws):
        with optimizer.sampled_params():
            draws.append(theta.detach().clone())
    return Result(torch.stack(draws, 1), STEPS * problem.batch / problem.num_data)
