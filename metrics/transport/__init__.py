"""Optimal transport: exact, entropic and sliced."""

from metrics.transport.divergence import SinkhornDivergence, SinkhornDivergenceResult, sinkhorn_divergence
from metrics.transport.exact import wasserstein
from metrics.transport.mind import monge_inception_distance
from metrics.transport.program import transport_cost
from metrics.transport.sinkhorn import SinkhornResult, entropic_cost, sinkhorn
from metrics.transport.sliced import sliced_wasserstein

__all__ = [
    "SinkhornDivergence",
    "SinkhornDivergenceResult",
    "SinkhornResult",
    "entropic_cost",
    "monge_inception_distance",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "transport_cost",
    "wasserstein",
]
