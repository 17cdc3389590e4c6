"""The simulation: chains of every sampler on the same minibatches, and the divergence of what they sample.

A user's loop would read

    for x, y in batches:                                       # [chains, S, d], drawn iid with replacement
        optimizer.zero_grad()
        chains.map(problem.loss, x, y).sum().backward()
        optimizer.step()

and samples the same. Here all samplers see the same batches, so that one product makes the gradients of all of them
(`Problem.gradient`), and differences between samplers have little Monte-Carlo error.
"""

from dataclasses import dataclass
from functools import partial

import torch
from mandt_methods import Method, Problem
from torch import Tensor
from torch.utils.data import TensorDataset
from tqdm import tqdm

from bayessgd import Chains, IterateAverage, iid_loader, theory

__all__ = ["Outcome", "Run", "simulate"]

GROUPS = 50
EVERY = 5


@dataclass(frozen=True)
class Outcome:
    """What a sampler did, beside what theory says of it; divergences from the posterior in nats.

    Attributes:
        method: The sampler.
        continuous: Predicted in continuous time, or for iterate averages in the limit of long windows.
        discrete: Predicted in discrete time.
        simulated, stderr: Of the simulated samples.
        covariance_error: ‖simulated − predicted covariance‖ / ‖predicted‖, Frobenius.
        covariance_noise: What Monte Carlo alone would make of it: the root of the expected square.
        relaxations: Length of the run, in the time that the covariance's slowest direction takes to forget.
        points: The last sample of every chain `[chains, d]`.
    """

    method: Method
    continuous: float
    discrete: float
    simulated: float
    stderr: float
    covariance_error: float
    covariance_noise: float
    relaxations: float
    points: Tensor


class Run:
    """The chains of one sampler, and the moments of what they sample.

    Args:
        problem: The model at its optimum.
        method: The sampler.
        start: Where the chains start, less the optimum `[chains, d]`.
        burn_in: Steps before anything is kept.
        seed: Of the injected noise.
    """

    def __init__(self, problem: Problem, method: Method, start: Tensor, *, burn_in: int, seed: int) -> None:
        self.problem, self.method, self.burn_in, self.steps = problem, method, burn_in, 0
        self.chains = Chains(problem.model, len(start), jitter=0.0)
        (self.weight,) = self.chains.parameters()
        with torch.no_grad():
            self.weight += start[:, None]
        self.optimizer = method.make(self.chains.parameters(), torch.Generator().manual_seed(seed))
        self.average = None
        if method.window:
            self.average = IterateAverage(self.chains, window=method.window)
            self.average.attach(self.optimizer, start=burn_in)
        self.count, d = 0, start.shape[1]
        self.first, self.second = start.new_zeros(len(start), d), start.new_zeros(len(start), d, d)

    @property
    def theta(self) -> Tensor:
        """Where the chains are `[chains, d]`."""
        return self.weight.detach()[:, 0]

    def step(self, gradient: Tensor) -> None:
        """Take one step of every chain along its gradient `[chains, d]`."""
        self.weight.grad = gradient[:, None]
        self.optimizer.step()
        self.steps += 1
        if self.average is None and self.steps > self.burn_in and self.steps % EVERY == 0:
            self._collect(self.theta)

    def _collect(self, theta: Tensor) -> None:
        deviation = theta - self.problem.optimum
        self.count += 1
        self.first += deviation
        self.second.baddbmm_(deviation[:, :, None], deviation[:, None])

    def moments(self) -> tuple[Tensor, Tensor]:
        """The samples' offset from the optimum and their covariance: of all, then without each group of chains in turn.

        Returns:
            `[groups + 1, d]` and `[groups + 1, d, d]`.
        """
        chains = len(self.first)
        groups = min(GROUPS, chains)
        out = torch.zeros(groups + 1, chains, dtype=self.first.dtype)
        out[torch.arange(chains) * groups // chains + 1, torch.arange(chains)] = 1
        weight = (1 - out) / (1 - out).sum(1, keepdim=True) / self.count
        offset = weight @ self.first
        raw = torch.einsum("gc,cij->gij", weight, self.second)
        return offset, raw - offset[:, :, None] * offset[:, None]

    def judge(self) -> Outcome:
        """Compare the samples with the posterior and with the prediction.

        The divergence of an estimated Gaussian is too high by about D(D + 3)/4 over the effective number of samples.
        The delete-a-group jackknife over chains, which are independent, takes that off and gives the standard error.
        """
        points = self.theta
        if self.average is not None:
            draws = self.average.posterior().draws["weight"][:, :, 0]
            points = draws[-1]
            for draw in draws:
                self._collect(draw)
        divergence = partial(theory.kl_to_posterior, A=self.problem.A, num_data=self.problem.num_data)
        offset, cov = self.moments()
        values = torch.stack([divergence(c, offset=o) for o, c in zip(offset, cov, strict=True)])
        others = len(values) - 1
        noise = (others - 1) * cov[1:].var(0, correction=0).sum()
        predicted = self.method.samples
        return Outcome(
            self.method,
            # Rounding may leave a zero below zero.
            continuous=max(0.0, float(divergence(self.method.limit))),
            discrete=max(0.0, float(divergence(predicted))),
            simulated=float(others * values[0] - (others - 1) * values[1:].mean()),
            stderr=float(((others - 1) * values[1:].var(correction=0)).sqrt()),
            covariance_error=float((cov[0] - predicted).norm() / predicted.norm()),
            covariance_noise=float(noise.sqrt() / predicted.norm()),
            relaxations=2 * self.method.rate * self.steps,
            points=points,
        )


def simulate(
    problem: Problem,
    methods: list[Method],
    *,
    chains: int,
    steps: int,
    at_optimum: bool,
    seed: int,
    bar: bool,
) -> list[Outcome]:
    """Run all samplers side by side on the same minibatches, and judge them.

    Args:
        problem: The model at its optimum.
        methods: The samplers.
        chains: Chains of each.
        steps: Steps of each; the first quarter is burn-in.
        at_optimum: Start there, rather than from draws of each sampler's predicted law.
        seed: Of batches, starts and injected noise.
        bar: Show progress.
    """
    task = problem.task
    generator = torch.Generator().manual_seed(seed)
    normals = torch.randn(chains, problem.dim, dtype=torch.float64, generator=generator)
    runs = []
    for k, method in enumerate(methods):
        start = 0 * normals if at_optimum else normals @ torch.linalg.cholesky(method.iterates).mT
        runs.append(Run(problem, method, start, burn_in=steps // 4, seed=seed + 1 + k))
    data = TensorDataset(torch.cat([task.x, task.y], 1))
    batches = iid_loader(data, batch_size=chains * task.batch_size, num_batches=steps, generator=generator)
    for (batch,) in tqdm(batches, desc=task.name, disable=None if bar else True, leave=False):
        rows = batch.unflatten(0, (chains, task.batch_size))
        theta = torch.stack([run.theta for run in runs], 2)
        gradients = problem.gradient(theta, rows[..., :-1], rows[..., -1:])
        for run, gradient in zip(runs, gradients.unbind(2), strict=True):
            run.step(gradient)
    return [run.judge() for run in runs]
