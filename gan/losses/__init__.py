"""GAN losses, one idea a file.

A loss is an object that takes exactly its inputs: score losses see the critic's scores (`ScoreLoss`), sample
losses the samples or a learned embedding of them (`SampleLoss`). Penalties are separate, in `gan.penalties`.
"""

from gan.losses.catalogue import NAMES, named
from gan.losses.donsker_varadhan import DonskerVaradhan
from gan.losses.f_divergence import FDivergence
from gan.losses.f_family import (
    KL,
    JensenShannon,
    Neyman,
    NonSaturating,
    Pearson,
    ReverseKL,
    SquaredHellinger,
    TotalVariation,
)
from gan.losses.hinge import Hinge
from gan.losses.kernel import MMD, Energy
from gan.losses.least_squares import LeastSquares
from gan.losses.protocols import RunLoss, SampleLoss, ScoreLoss
from gan.losses.relativistic import RelativisticPairing
from gan.losses.semi_discrete import SemiDiscrete
from gan.losses.transport import Sinkhorn, SlicedWasserstein
from gan.losses.wasserstein import Wasserstein

__all__ = [
    "KL",
    "MMD",
    "NAMES",
    "DonskerVaradhan",
    "Energy",
    "FDivergence",
    "Hinge",
    "JensenShannon",
    "LeastSquares",
    "Neyman",
    "NonSaturating",
    "Pearson",
    "RelativisticPairing",
    "ReverseKL",
    "RunLoss",
    "SampleLoss",
    "ScoreLoss",
    "SemiDiscrete",
    "Sinkhorn",
    "SlicedWasserstein",
    "SquaredHellinger",
    "TotalVariation",
    "Wasserstein",
    "named",
]
