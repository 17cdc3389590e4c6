r"""Where constant SGD settles: its stationary covariance on a quadratic, in discrete and in continuous time.

Near its optimum the mean loss is L(θ) = ½ (θ − θ*)ᵀ A (θ − θ*), and the gradient of a batch of S data drawn
iid is A(θ − θ*) plus noise of covariance C / S, C being the covariance of one datum's gradient. With a
preconditioner H (the learning rate, where it is a number), torch's momentum m and a velocity v = −H·buf the
update is

    v ← m v − H ĝ + ξ,   θ ← θ + v,   Cov(ξ) = Q,                                                          (1)

where Q is the covariance of injected noise (none for SGD; 2H/N for SGLD; 2(1 − m)H/N for SGHMC). Without
momentum this is θ ← θ − H ĝ + ξ. Put W = H C H / S + Q. The stationary covariance Σ of θ then solves,
exactly and at any step size,

    m = 0:   Σ = (I − HA) Σ (I − HA)ᵀ + W                                                                  (2)
    m > 0:   the same equation for the joint state (θ, v), with the map
             [[I − HA, m I], [−HA, m I]] and the noise [[W, W], [W, W]],                                   (3)

provided that every eigenvalue λ of HA (they are real and positive) obeys λ < 2(1 + m). In one dimension,
with H = ε,

    Σ = (ε c / S) (1 + m) / ( a (1 − m) (2(1 + m) − ε a) ).                                                (4)

As the steps shrink at a fixed momentum, (2) and (3) tend to the Ornstein–Uhlenbeck limit

    (1 − m) (HA Σ + Σ AH) = W,                                                                             (5)

for m = 0 and a number H = ε: A Σ + Σ A = (ε / S) C (Mandt, Hoffman & Blei 2017, JMLR 18(134), section 3).
Mandt's friction is μ = 1 − m; his underdamped process has the same Tr(A Σ) = ε Tr C / (2 μ S) as (5).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import (
    check_definite,
    check_momentum,
    check_preconditioner,
    check_problem,
    check_semidefinite,
    narrow,
    rounded_down,
)
from bayessgd.theory._whitening import Whitening
from bayessgd.theory.lyapunov import continuous_lyapunov, solved_discrete
from metrics.inputs import check_count

__all__ = ["largest_stable_rate", "stationary_covariance"]


def transition(A: Tensor, H: Tensor, momentum: float) -> Tensor:
    """Return the map of one step: `[d, d]` for θ, or with momentum `[2d, 2d]` for (θ, v)."""
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    if momentum == 0:
        return eye - H @ A
    drift, memory = H @ A, momentum * eye
    return torch.cat([torch.cat([eye - drift, memory], 1), torch.cat([-drift, memory], 1)])


def state_noise(W: Tensor, momentum: float) -> Tensor:
    """Return the noise of the state that `transition` moves: what enters v enters θ in the same step."""
    return W if momentum == 0 else W.tile(2, 2)


def rates(A: Tensor, H: Tensor) -> Tensor:
    """Return the eigenvalues of HA `[d]`, ascending: how far one step goes in each mode."""
    return torch.linalg.eigvalsh(Whitening(A.detach()).spread(H.detach()))


def refuse_unstable(A: Tensor, H: Tensor, momentum: float) -> None:
    """Raise if the iterates diverge, naming the spectral radius and the edge of the stable steps."""
    modes = rates(A, H)
    limit = 2 * (1 + momentum)
    if float(modes[-1]) < limit:
        return
    half = (1 + momentum - modes) / 2
    root = (half.square() - momentum).to(torch.complex128).sqrt()
    radius = float(torch.stack([half + root, half - root]).abs().max())
    raise ValueError(
        f"preconditioner must give a stable iteration, got a spectral radius of {radius:.4g} (at least 1); "
        f"stay below {rounded_down(limit / float(modes[-1]))} times this preconditioner (as a plain learning rate: "
        f"below {rounded_down(limit / float(torch.linalg.eigvalsh(A.detach())[-1]))})"
    )


def stationary_covariance(
    A: Float[Tensor, "d d"],
    C: Float[Tensor, "d d"],
    *,
    preconditioner: float | int | Tensor,
    batch_size: int,
    momentum: float | int = 0.0,
    discrete: bool = True,
    injected: Float[Tensor, "d d"] | None = None,
) -> Float[Tensor, "d d"]:
    """Σ of constant SGD on a quadratic: equation (2) or (3) of this module, or their limit (5).

    Exact for a quadratic with a constant C and iid batches; differentiable to any order in every tensor.

    Args:
        A: The Hessian of the mean negative log joint `[d, d]`, positive definite.
        C: The covariance of one datum's gradient `[d, d]`, positive semi-definite.
        preconditioner: H: a learning rate, a vector `[d]` of them, or a symmetric positive definite `[d, d]`.
        batch_size: S, the number of data per step, drawn iid with replacement.
        momentum: torch's m in [0, 1), which is one minus Mandt's μ.
        discrete: The exact recursion, or with `False` the Ornstein–Uhlenbeck limit (5).
        injected: Q, the covariance of noise added to the velocity at each step `[d, d]`; none if `None`.

    Returns:
        Σ `[d, d]`, in the type of `A`.

    Raises:
        ValueError: If the discrete iteration is unstable, with its spectral radius and the edge of the stable
            rates.
        TypeError, ValueError: If an argument is not as above.

    >>> one = torch.ones(1, 1)
    >>> stationary_covariance(one, one, preconditioner=0.5, batch_size=10)  # ε c / (S a (2 − ε a))
    tensor([[0.0333]])
    >>> stationary_covariance(one, one, preconditioner=0.5, batch_size=10, discrete=False)  # ε c / (2 S a)
    tensor([[0.0250]])
    >>> stationary_covariance(one, one, preconditioner=0.5, batch_size=10, momentum=0.9)  # equation (4)
    tensor([[0.2879]])
    """
    curvature, noise = check_problem(A, C)
    H = check_preconditioner(preconditioner, curvature)
    m = check_momentum(momentum)
    W = H @ noise @ H / check_count(batch_size, "batch_size")
    if injected is not None:
        # At the boundary of what is feasible Q vanishes up to the rounding of the terms that made it.
        scale = float(W.detach().abs().max())
        W = W + check_semidefinite(injected, "injected", size=len(W), scale=scale)
    return narrow(settled(curvature, H, W, m, discrete=discrete), A.dtype, "the covariance")


def settled(A: Tensor, H: Tensor, W: Tensor, momentum: float, *, discrete: bool = True) -> Tensor:
    """Return the covariance of θ for float64 matrices, or refuse an unstable iteration."""
    if discrete:
        refuse_unstable(A, H, momentum)
        return discrete_covariance(A, H, W, momentum)
    white = Whitening(A)
    return white.back(continuous_lyapunov((1 - momentum) * white.spread(H), white.spread(W)))


def discrete_covariance(A: Tensor, H: Tensor, W: Tensor, momentum: float) -> Tensor:
    """Return the covariance of θ for float64 matrices that are known to be stable."""
    white = Whitening(A)
    step = transition(white.eye, white.spread(H), momentum)
    state = solved_discrete(step, state_noise(white.spread(W), momentum))
    return white.back(state[: len(A), : len(A)])


def largest_stable_rate(A: Float[Tensor, "d d"], *, momentum: float | int = 0.0) -> Float[Tensor, ""]:
    """2(1 + m) / λ_max(A): constant SGD with a learning rate below it has a stationary law on a quadratic.

    Args:
        A: The Hessian of the mean loss `[d, d]`, positive definite.
        momentum: torch's m in [0, 1).

    Raises:
        TypeError, ValueError: If `A` or `momentum` is not as above.

    >>> largest_stable_rate(torch.diag(torch.tensor([1.0, 4.0])), momentum=0.9)
    tensor(0.9500)
    """
    curvature = check_definite(A, "A")
    return (2 * (1 + check_momentum(momentum)) / torch.linalg.eigvalsh(curvature)[-1]).to(A.dtype)
