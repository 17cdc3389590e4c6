r"""The samplers of Mandt, Hoffman & Blei (2017) and the library's own: what each steps with, and what theory says.

Near the optimum the mean negative log joint of N data has the curvature A, and a batch of S data drawn iid has a
gradient noise of covariance C/S. Every sampler here is

    θ ← θ − H ĝ + ξ,    Cov(ξ) = Q,

    SGD             H = ε* = (2S/N) D/Tr C                             the closest learning rate
    SGD-d, SGD-f    H = (2S/N) diag(C)⁻¹,  (2S/N) C⁻¹                  the paper's preconditioners
    SGLD            H = ε*,  Q = 2H/N
    SGFS-d, -f      H = ε*K,  Q = ε* K EEᵀ K,                          K = (2/N)(ε* C/S + EEᵀ)⁻¹, or by diagonals
    SGD-d optimal   H diagonal                                         minimises the divergence in discrete time
    SGD-f exact     H = 2 (A + N C/S)⁻¹                                no bias on a quadratic
    corrected       H = c A⁻¹,  Q = (2H − HAH)/N − HCH/S               no bias; c is half of what is feasible
    IASG            means of T = N/S iterates of SGD with H = 1/λ_max(A)
    IASG-f          the same with H = (4/T) A⁻¹, which forgets in a quarter of the window in every direction

The paper leaves SGLD's rate and SGFS's E open. SGLD has SGD's rate here, and EEᵀ is 1 % of the mean gradient noise
ε* Tr C/(S D) = 2/N, with which SGFS-d comes out near the paper's on Wine. SGFS has the C of all data here, like the
others, so that `PreconditionedSGD` runs it; `bayessgd.optim.SGFS` estimates C as it goes.

In a linear regression C depends on θ and the theory knows how (`bayessgd.theory.LinearRegression`): the predictions in
discrete time are exact, and the exact preconditioner and the corrected sampler use C at the posterior. In continuous
time, for the paper's samplers and in a logistic regression, C is that at the optimum.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from mandt_data import Task
from torch import Tensor, nn

from bayessgd import likelihoods, noise, theory
from bayessgd.optim import SGLD, PreconditionedSGD

__all__ = ["Method", "Problem", "methods"]

Optimizer = torch.optim.Optimizer
Maker = Callable[[Iterable[nn.Parameter], torch.Generator], Optimizer]

PRIOR_PRECISION = 1.0
# SGFS's injected noise as a share of the mean noise of the gradient.
SHARE = 0.01


class Problem:
    """A generalized linear model at its optimum: the model, its loss, θ*, A and C.

    Attributes:
        model: `nn.Linear` without a bias, at θ*.
        A: The Hessian of the mean negative log joint at θ* `[d, d]`.
        C: The covariance of one datum's gradient at θ* `[d, d]`.
        scale: The noise's standard deviation in a linear regression, that of the residuals of least squares.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.num_data, self.dim = task, *task.x.shape
        # The normal equations: the last bits of torch.linalg.lstsq depend on where its buffers lie.
        residual = task.y - task.x @ torch.linalg.solve(task.x.mT @ task.x, task.x.mT @ task.y)
        self.scale = 1.0 if task.logistic else float(residual.square().mean().sqrt())
        self.likelihood = likelihoods.Bernoulli() if task.logistic else likelihoods.Gaussian(self.scale)
        self.prior = likelihoods.GaussianPrior(PRIOR_PRECISION)
        self.model = nn.Linear(self.dim, 1, bias=False, dtype=torch.float64)
        self.loss = partial(
            likelihoods.mean_negative_log_joint,
            likelihood=self.likelihood,
            prior=self.prior,
            num_data=self.num_data,
        )
        self.A = self._descend()
        self.C = noise.gradient_noise(
            self.model, self._datum, task.x, task.y, correction=0, chunk_size=2**14
        ).covariance
        self.regression = None
        if not task.logistic:
            self.regression = theory.LinearRegression(
                task.x,
                task.y[:, 0],
                noise_precision=self.scale**-2,
                prior_precision=PRIOR_PRECISION,
            )

    @property
    def optimum(self) -> Tensor:
        """θ* `[d]`."""
        return self.model.weight.detach()[0]

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of the batches' mean negative log joint, for many chains and many samplers of each at once.

        It is what `chains.map(problem.loss, x, y).sum().backward()` finds, written out: all samplers share a batch, and
        one product serves them all.

        Args:
            theta: `[chains, d, samplers]`.
            x: `[chains, S, d]`.
            y: `[chains, S, 1]`.
        """
        output = x @ theta
        residual = (output.sigmoid_() if self.task.logistic else output).sub_(y)
        likelihood = x.mT @ residual / (x.shape[1] * self.scale**2)
        return likelihood + PRIOR_PRECISION / self.num_data * theta

    def stationary(self, H: Tensor, Q: Tensor | None = None) -> Tensor:
        """The covariance of the iterates in discrete time, exact for a linear regression `[d, d]`."""
        S = self.task.batch_size
        if self.regression is not None:
            return self.regression.stationary_covariance(preconditioner=H, batch_size=S, injected=Q)
        return theory.stationary_covariance(self.A, self.C, preconditioner=H, batch_size=S, injected=Q)

    def noise(self, cov: Tensor) -> Tensor:
        """C where the iterates have a covariance; for a logistic regression that at the optimum `[d, d]`."""
        return self.C if self.regression is None else self.regression.noise(cov)

    def _datum(self, output: Tensor, y: Tensor) -> Tensor:
        return -self.likelihood.log_prob(output, y)

    def _descend(self) -> Tensor:
        """Go to the optimum by Newton's method and return the Hessian there."""
        weight = self.model.weight
        nn.init.zeros_(weight)
        curvature = partial(noise.hessian, self.model, self._datum, self.task.x, self.task.y)
        damping = PRIOR_PRECISION / self.num_data
        for _ in range(50):
            value = self.loss(self.model, dict(self.model.named_parameters()), self.task.x, self.task.y)
            (slope,) = torch.autograd.grad(value, weight)
            A = curvature(damping=damping, chunk_size=2**14).matrix()
            step = torch.linalg.solve(A, slope[0])
            weight.data -= step
            if float(step.abs().max()) <= 1e-10 * float(weight.detach().abs().max()):
                return A
        raise ValueError(f"{self.task.name}: Newton's method did not converge in 50 steps; check the data")


@dataclass(frozen=True)
class Method:
    """One sampler and what theory says of it.

    Attributes:
        make: From the stacked parameters of the chains to the optimizer that moves them.
        iterates: The covariance of the iterates in discrete time, from which the chains start `[d, d]`.
        samples: The covariance of the samples in discrete time: the iterates, or for IASG their means.
        limit: The same as the paper has it: in continuous time, or for IASG in the limit of long windows.
        rate: How much of the slowest direction a step forgets: the smallest eigenvalue of HA.
        window: T, for iterate averaging.
        ours: Whether it is not in the paper.
    """

    name: str
    make: Maker
    iterates: Tensor
    samples: Tensor
    limit: Tensor
    rate: float
    window: int | None = None
    ours: bool = False

    @property
    def label(self) -> str:
        """The name, with a star if it is not in the paper."""
        return self.name + " *" * self.ours


def methods(problem: Problem) -> list[Method]:
    """Every sampler of the table, for one problem."""
    A, C, S, N = problem.A, problem.C, problem.task.batch_size, problem.num_data
    eye = torch.eye(problem.dim, dtype=torch.float64)
    optimal = partial(theory.optimal_preconditioner, num_data=N, batch_size=S)
    fisher = partial(theory.sgfs_preconditioner, C, num_data=N, batch_size=S)
    build = partial(_iterates, problem)
    rate = float(theory.optimal_learning_rate(C, num_data=N, batch_size=S))
    EEt = SHARE * 2 / N * eye
    H_d = torch.diag(fisher(EEt.sqrt(), learning_rate=rate, kind="diagonal"))
    H_f = fisher(EEt.sqrt(), learning_rate=rate, kind="full")

    inverse = torch.cholesky_inverse(torch.linalg.cholesky(A))
    C_posterior = problem.noise(inverse / N)
    feasible = 2 / float(torch.linalg.eigvals(inverse @ (A + N / S * C_posterior)).real.max())
    H_c = feasible / 2 * inverse
    Q_c = theory.injected_noise(A, C_posterior, preconditioner=H_c, num_data=N, batch_size=S)
    window = round(N / S)
    return [
        build("SGD", rate * eye, make=lambda params, _: torch.optim.SGD(params, lr=rate)),
        build("SGD-d", torch.diag(optimal(C, kind="diagonal"))),
        build("SGD-f", optimal(C)),
        build("SGLD", rate * eye, 2 / N * rate * eye, make=partial(_sgld, lr=rate, num_data=N)),
        build("SGFS-d", rate * H_d, rate * H_d @ EEt @ H_d),
        build("SGFS-f", rate * H_f, rate * H_f @ EEt @ H_f),
        build("SGD-d optimal", torch.diag(optimal(C, A=A, kind="diagonal")), ours=True),
        build("SGD-f exact", optimal(C_posterior, A=A), ours=True),
        build("corrected", H_c, Q_c, ours=True),
        _averages(problem, "IASG", eye / torch.linalg.eigvalsh(A)[-1], window, ours=False),
        _averages(problem, "IASG-f", 4 / window * inverse, window, ours=True),
    ]


def _iterates(
    problem: Problem,
    name: str,
    H: Tensor,
    Q: Tensor | None = None,
    *,
    make: Maker | None = None,
    ours: bool = False,
) -> Method:
    """A sampler whose samples are its iterates."""
    cov = problem.stationary(H, Q)
    limit = theory.stationary_covariance(
        problem.A,
        problem.C,
        preconditioner=H,
        batch_size=problem.task.batch_size,
        injected=Q,
        discrete=False,
    )
    make = make or partial(_preconditioned, H=H, Q=Q)
    return Method(name, make, iterates=cov, samples=cov, limit=limit, rate=_slowest(H, problem.A), ours=ours)


def _averages(problem: Problem, name: str, H: Tensor, T: int, *, ours: bool) -> Method:
    """A sampler whose samples are the means of T iterates."""
    cov = problem.stationary(H)
    average = partial(
        theory.iterate_average_covariance, problem.A, num_iterates=T, batch_size=problem.task.batch_size
    )
    # Exact for a linear regression: its drift is linear, so that only the mean noise C(Σ) enters.
    samples, limit = average(problem.noise(cov), preconditioner=H), average(problem.C)
    make = partial(_preconditioned, H=H, Q=None)
    return Method(name, make, cov, samples, limit, _slowest(H, problem.A), window=T, ours=ours)


def _slowest(H: Tensor, A: Tensor) -> float:
    return float(torch.linalg.eigvals(H @ A).real.min())


def _preconditioned(
    params: Iterable[nn.Parameter], generator: torch.Generator, *, H: Tensor, Q: Tensor | None
) -> Optimizer:
    return PreconditionedSGD(params, preconditioner=H, noise_covariance=Q, stacked=True, generator=generator)


def _sgld(
    params: Iterable[nn.Parameter], generator: torch.Generator, *, lr: float, num_data: int
) -> Optimizer:
    return SGLD(params, lr, num_data=num_data, generator=generator)
