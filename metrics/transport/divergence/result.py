"""What the divergence returns beside its value, and what can be asked of it."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from metrics.inputs import check_count, check_positive
from metrics.transport.cost import check_exponent

__all__ = ["Options", "SinkhornDivergenceResult"]


@dataclass(frozen=True)
class SinkhornDivergenceResult:
    """A Sinkhorn divergence and how it was reached; of a batch of problems [b], all but `iterations` are [b].

    Attributes:
        value: S_ε, in units of the cost; differentiable once.
        converged: Whether all three problems were solved as well as `tol` asks.
        iterations: Updates of both potentials between x and y.
        marginal_error: The L1 distance between the plans' marginals and the weights, the largest of the three.
        eps: The ε of the solution, in units of the cost.
    """

    value: Float[Tensor, "*b"]
    converged: bool | Bool[Tensor, " b"]
    iterations: int
    marginal_error: float | Float[Tensor, " b"]
    eps: float | Float[Tensor, " b"]


@dataclass(frozen=True)
class Options:
    """What can be asked of the divergence, as `sinkhorn_divergence` describes it."""

    eps: float | None
    p: float
    tol: float
    max_iterations: int
    memory: float
    sharp: bool

    @classmethod
    def checked(
        cls,
        *,
        eps: object,
        p: object,
        tol: object,
        max_iterations: object,
        memory: object,
        sharp: bool = False,
    ) -> "Options":
        """Refuse what cannot be asked for."""
        return cls(
            None if eps is None else check_positive(eps, "eps"),
            check_exponent(p),
            check_positive(tol, "tol"),
            check_count(max_iterations, "max_iterations"),
            check_positive(memory, "memory"),
            sharp,
        )
