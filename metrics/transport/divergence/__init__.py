"""The Sinkhorn divergence."""

from metrics.transport.divergence.divergence import sinkhorn_divergence
from metrics.transport.divergence.result import SinkhornDivergenceResult
from metrics.transport.divergence.warm import SinkhornDivergence

__all__ = ["SinkhornDivergence", "SinkhornDivergenceResult", "sinkhorn_divergence"]
