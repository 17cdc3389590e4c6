r"""SGD with batches drawn without replacement, a new permutation every epoch: anti-correlated noise.

`DataLoader(shuffle=True)` does this, and the theory of SGD as a sampler does not hold for it: low
frequencies are missing from its noise (Kühn & Rosenow 2023, arXiv:2306.05300). Let C be the covariance of
one datum's gradient over the N data (the mean of g gᵀ − ḡ ḡᵀ, with N, not N − 1) and b_k the noise of batch
k of an epoch, S data each. For distinct data of a finite population the covariance of two gradients is −C/(N
− 1), so that

    Cov(b_k) = (C/S) (N − S)/(N − 1),      Cov(b_k, b_l) = −C/(N − 1)  for k ≠ l in one epoch,            (1)

and batches of different epochs are independent. With K = N/S the noises of an epoch sum to exactly zero.
Conditioning the law (1) on the past, with r_k = b_0 + … + b_{k−1},

    b_k = −r_k/(K − k) + ζ_k,    Cov(ζ_k) = (C/S) N/(N − 1) · (K − k − 1)/(K − k),   ζ_k uncorrelated,    (2)

so that (state, r, running sum of θ) is a linear Markov chain, whose covariance is followed step by step. If S
does not divide N, the last N − S⌊N/S⌋ data of an epoch are dropped, and (2) holds as it stands.

The covariance of the iterates is then periodic in the epoch: it is fixed by its value at the epoch's end,
Σ₀ = F^K Σ₀ (F^K)ᵀ + (what one epoch adds).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import check_momentum, check_preconditioner, check_problem, narrow
from bayessgd.theory._whitening import Whitening
from bayessgd.theory.lyapunov import solved_discrete
from bayessgd.theory.stationary import refuse_unstable, transition
from metrics.inputs import check_count

__all__ = ["epoch_covariance"]


class _Epochs:
    """The covariance of (state, r, s) under (2): r sums the noises of an epoch, s the iterates."""

    def __init__(
        self, A: Tensor, C: Tensor, H: Tensor, Q: Tensor, *, batch_size: int, num_data: int, momentum: float
    ):
        self.map, self.H, self.Q, self.d = transition(A, H, momentum), H, Q, len(A)
        self.steps, self.ratio = num_data // batch_size, num_data / batch_size
        self.noise = C / batch_size * num_data / (num_data - 1)
        self.size = len(self.map) + 2 * self.d
        # Where the noise enters: −H b moves θ, and with momentum v by the same amount.
        eye = torch.eye(self.d, dtype=A.dtype, device=A.device)
        self.enter = eye.tile(len(self.map) // self.d, 1)

    def step(self, cov: Tensor, k: int) -> Tensor:
        """Return the covariance after batch k of an epoch."""
        n, d = len(self.map), self.d
        left = self.ratio - k
        eye = torch.eye(d, dtype=cov.dtype, device=cov.device)
        push = torch.cat([-self.enter @ self.H, eye, -self.H])
        move = torch.zeros(self.size, self.size, dtype=cov.dtype, device=cov.device)
        move[:n, :n] = self.map
        move[n : n + d, n : n + d] = eye
        move[n + d :, :n] = self.map[:d]
        move[n + d :, n + d :] = eye
        move[:, n : n + d] -= push / left
        extra = torch.cat([self.enter, torch.zeros_like(eye), eye])
        fresh = push @ (self.noise * ((left - 1) / left)) @ push.mT + extra @ self.Q @ extra.mT
        return move @ cov @ move.mT + fresh

    def restart(self, cov: Tensor) -> Tensor:
        """Forget r, which belongs to one epoch."""
        keep = torch.ones(self.size, dtype=cov.dtype, device=cov.device)
        keep[len(self.map) : len(self.map) + self.d] = 0
        return cov * keep[:, None] * keep

    def stationary(self) -> Tensor:
        """Return the covariance at the start of an epoch, with r = s = 0."""
        n = len(self.map)
        cov = torch.zeros(self.size, self.size, dtype=self.map.dtype, device=self.map.device)
        for k in range(self.steps):
            cov = self.step(cov, k)
        start = torch.zeros_like(cov)
        start[:n, :n] = solved_discrete(torch.linalg.matrix_power(self.map, self.steps), cov[:n, :n])
        return start


def shuffled_average(
    A: Tensor,
    C: Tensor,
    H: Tensor,
    Q: Tensor,
    *,
    num_iterates: int,
    batch_size: int,
    num_data: int,
    momentum: float,
) -> Tensor:
    """Return the covariance of the mean of the iterates of a window that starts with an epoch."""
    white = Whitening(A)
    C, H, Q = white.noise(C), white.spread(H), white.spread(Q)
    epochs = _Epochs(white.eye, C, H, Q, batch_size=batch_size, num_data=num_data, momentum=momentum)
    cov = epochs.stationary()
    for t in range(num_iterates):
        k = t % epochs.steps
        cov = epochs.step(epochs.restart(cov) if k == 0 else cov, k)
    return white.back(cov[-len(A) :, -len(A) :] / num_iterates**2)


def epoch_covariance(
    A: Float[Tensor, "d d"],
    C: Float[Tensor, "d d"],
    *,
    preconditioner: float | int | Tensor,
    batch_size: int,
    num_data: int,
    momentum: float | int = 0.0,
) -> Float[Tensor, "steps d d"]:
    """The covariance of θ after each step of an epoch, when every epoch is a new permutation of the data.

    Exact for a quadratic with a constant C. Differentiable to any order in every tensor.

    Args:
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        C: The covariance of one datum's gradient over the data, with N in the denominator `[d, d]`.
        preconditioner: H: a learning rate, a vector `[d]`, or a symmetric positive definite `[d, d]`.
        batch_size: S.
        num_data: N, at least S and 2.
        momentum: torch's m in [0, 1).

    Returns:
        `[⌊N/S⌋, d, d]`: the last entry is the covariance at the end of an epoch.

    Raises:
        ValueError: If the iteration is unstable.
        TypeError, ValueError: If an argument is not as above.

    >>> one = torch.ones(1, 1)
    >>> cov = epoch_covariance(one, one, preconditioner=0.5, batch_size=50, num_data=1000)
    >>> 200 * cov[[0, 9, 19], 0, 0]  # iid batches: 200 · 0.5² / 50 / (1 − 0.25) = 1.3333
    tensor([1.2346, 1.1349, 1.1345])
    """
    curvature, noise = check_problem(A, C)
    H = check_preconditioner(preconditioner, curvature)
    S = check_count(batch_size, "batch_size")
    n, m = check_count(num_data, "num_data", least=max(2, S)), check_momentum(momentum)
    refuse_unstable(curvature, H, m)
    white = Whitening(curvature)
    step, zero = white.spread(H), torch.zeros_like(H)
    epochs = _Epochs(white.eye, white.noise(noise), step, zero, batch_size=S, num_data=n, momentum=m)
    cov, after = epochs.stationary(), []
    for k in range(epochs.steps):
        cov = epochs.step(cov, k)
        after.append(cov[: len(noise), : len(noise)])
    return torch.stack([narrow(white.back(found), A.dtype, "the covariance") for found in after])
