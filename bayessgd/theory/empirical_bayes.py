r"""Variational EM: SGD's iterates set the precision of the prior.

With q the law of the iterates at a fixed prior precision λ, the bound on the evidence depends on λ through
E_q[log N(θ | 0, λ⁻¹I)] = (D/2) log λ − (λ/2) E_q‖θ‖² + const, whose maximum is the closed M-step

    λ = D / E_q‖θ‖²,     E_q‖θ‖² = ‖mean‖² + Tr Σ

(Mandt, Hoffman & Blei 2017, JMLR 18(134), where it is a gradient step with a decaying rate).
Without the trace this is joint MAP over (θ, λ), which runs off to λ → ∞ at θ = 0: sampling θ is what
prevents it.
"""

from jaxtyping import Float
from torch import Tensor

from bayessgd.theory._matrices import check_semidefinite
from metrics.inputs import check_tensor

__all__ = ["prior_precision_step"]


def prior_precision_step(mean: Float[Tensor, " d"], cov: Float[Tensor, "d d"]) -> Float[Tensor, ""]:
    """λ = D / (‖mean‖² + Tr Σ): the M-step for the precision of a prior N(0, λ⁻¹ I).

    Args:
        mean: The mean of the iterates `[d]`.
        cov: Their covariance `[d, d]`, positive semi-definite.

    Raises:
        TypeError, ValueError: If an argument is not as above, or both are zero.

    >>> import torch
    >>> prior_precision_step(torch.tensor([1.0, 1.0]), torch.eye(2))
    tensor(0.5000)
    """
    centre = check_tensor(mean, "mean", shape="[d]", ndim=1).double()
    sigma = check_semidefinite(cov, "cov", size=len(centre))
    square = centre.square().sum() + sigma.trace()
    if not float(square.detach()) > 0:
        raise ValueError("mean and cov must not both be zero; the precision would be infinite")
    return (len(centre) / square).to(mean.dtype)
