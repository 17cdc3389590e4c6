"""A Sinkhorn divergence that remembers: for training, where one problem is much like the one before.

The potential f of the last problem is known at its points x; its equation extends it to any y,

    g(y) = −ε log Σ_i a_i exp((f_i − C(x_i, y))/ε),

and so to the next batch, although none of its points has been seen. As long as the distributions move slowly this
replaces the cold start, and saves iterations too. The solution is that of `sinkhorn_divergence` up to its tolerance,
and depends on the past within it: a run that is stopped and resumed without the object is not the same to the bit.
"""

from jaxtyping import Float
from torch import Tensor, nn

from metrics.inputs import check_pair, check_weights
from metrics.precision import full_precision
from metrics.transport.cost import check_powers
from metrics.transport.divergence.result import Options
from metrics.transport.divergence.single import Past, divergence
from metrics.transport.entropic.problem import MEMORY

__all__ = ["SinkhornDivergence"]


class SinkhornDivergence(nn.Module):
    """S_ε(x, y) with a warm start from the call before; arguments as in `sinkhorn_divergence`.

    >>> import torch
    >>> loss = SinkhornDivergence(eps=1.0)
    >>> loss(torch.zeros(4, 2), torch.ones(4, 2)), loss(torch.zeros(4, 2), torch.ones(4, 2) + 1)
    (tensor(2.), tensor(8.))
    """

    def __init__(
        self,
        *,
        eps: float | int | None = None,
        p: float | int = 2,
        tol: float = 3e-4,
        max_iterations: int = 10_000,
        memory: float | int = MEMORY,
    ) -> None:
        super().__init__()
        self.options = Options.checked(eps=eps, p=p, tol=tol, max_iterations=max_iterations, memory=memory)
        self.past: Past | None = None

    @full_precision
    def forward(
        self,
        x: Float[Tensor, "n d"],
        y: Float[Tensor, "m d"],
        weights_x: Float[Tensor, " n"] | None = None,
        weights_y: Float[Tensor, " m"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return S_ε, differentiable once in the clouds and the weights."""
        check_pair(x, y)
        check_powers(x, y, self.options.p)
        a, b = check_weights(weights_x, x, "weights_x"), check_weights(weights_y, y, "weights_y")
        past = self.past
        if past is not None and (past.x.shape[1] != x.shape[1] or past.x.device != x.device):
            past = None
        result, self.past = divergence(x, y, a, b, self.options, past, remember=True)
        return result.value

    def forget(self) -> None:
        """Start the next call cold."""
        self.past = None
